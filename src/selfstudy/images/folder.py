"""folder: pictures in a folder and all folders below it, in any mixture of formats."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfstudy.errors import UserError
from selfstudy.images._decode import SUFFIXES
from selfstudy.images._file import File, Stack
from selfstudy.images._imageset import Skipped
from selfstudy.images._names import class_name, expand, natural_order, printable
from selfstudy.images._source import PARTS, Listing, Source


@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """Sub-folders are classes only when labels are asked for; deeper folders belong to the class above them.

    If all sub-folders are named like parts (train, test; val counts as train), the classes lie one deeper.
    Pictures outside every class have no label. Hidden files and files of other kinds are counted, not read.
    """

    folder: Path
    stack: str = ""  # pictures of several files, one per channel, by their names: "{picture}_w{channel}.tif"

    def __post_init__(self) -> None:
        if self.stack and not ("{picture}" in self.stack and "{channel}" in self.stack):
            raise ValueError(
                f'stack is "{self.stack}", but must name {{picture}} and {{channel}}, as "{{picture}}_w{{channel}}.tif"'
            )

    def listing(self, labelled: bool) -> Listing:
        root = expand(self.folder)
        if not root.is_dir():
            raise UserError(f"the folder {printable(root)} {'is a file' if root.exists() else 'does not exist'}")
        pictures, skipped, ignored = _walk(root)
        if not pictures and not skipped:
            seen = f"no picture among its {ignored} files" if ignored else "no file"
            raise UserError(f"the folder {printable(root)} holds {seen}; pictures end in {', '.join(sorted(SUFFIXES))}")
        found: Sequence[File] = pictures
        if self.stack:
            stacks, incomplete = _stacks(pictures, self.stack, root)
            found = stacks
            skipped += incomplete
            pictures = [stack.files[0] for stack in stacks]  # tells where the picture lies
        if not labelled:
            return Listing(pictures=found, skipped=skipped, ignored=ignored)
        places = [path.relative_to(root).parts[:-1] for path in pictures]
        tops = {place[0].lower() for place in places if place}
        if not tops:
            raise UserError(
                f"the folder {printable(root)} has no sub-folders to be classes; for a table use table:FILE"
            )
        split_above = "train" in tops and tops <= PARTS.keys()
        return Listing(
            pictures=found,
            labels=[class_name(place[split_above]) if len(place) > split_above else "" for place in places],
            parts=[PARTS[place[0].lower()] if place else "train" for place in places] if split_above else (),
            skipped=skipped,
            ignored=ignored,
        )


def _stacks(files: Sequence[Path], pattern: str, root: Path) -> tuple[list[Stack], list[Skipped]]:
    """Files that are channels of one picture, in the order of the channels' names; and pictures that lack some."""
    parts = [re.escape(part) for part in re.split(r"(\{picture\}|\{channel\})", pattern)]
    expression = (
        "".join(parts).replace(r"\{picture\}", "(?P<picture>.+)", 1).replace(r"\{channel\}", "(?P<channel>.+?)", 1)
    )
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in files:
        if match := re.fullmatch(expression, path.name):
            found.setdefault((path.parent, match["picture"]), {})[match["channel"]] = path
    if not found:
        raise UserError(
            f'no file below {printable(root)} is named as stack says: "{pattern}"; the first is {printable(files[0].name)}'
        )
    channels = sorted({channel for picture in found.values() for channel in picture}, key=natural_order)
    stacks, skipped = [], []
    for picture in found.values():
        if len(picture) == len(channels):
            stacks.append(Stack(tuple(picture[channel] for channel in channels)))
        else:
            reason = f"lacks channels: it has {len(picture)} of {len(channels)}"
            skipped.append(Skipped(printable(next(iter(picture.values()))), reason))
    return stacks, skipped


def _walk(root: Path) -> tuple[list[Path], list[Skipped], int]:
    """Pictures in sorted order, unreadable folders, and the number of other files.

    Links are followed after everything else and each folder is entered once: loops end, and real names win over links.
    """
    pictures: list[Path] = []
    skipped: list[Skipped] = []
    ignored = 0
    folders, links, entered = [root], list[Path](), set[str]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        identity = os.path.realpath(folder)
        if identity in entered:
            continue
        entered.add(identity)
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            skipped.append(Skipped(printable(folder), f"the folder cannot be opened: {error.strerror}"))
            continue
        for path in found:
            if path.name.startswith("."):
                ignored += 1
            elif os.path.isdir(path):
                (links if path.is_symlink() else folders).append(path)
            elif path.suffix.lower() not in SUFFIXES:
                ignored += 1
            elif path.is_file() or path.is_symlink():  # a link that leads nowhere is reported when it is read
                pictures.append(path)
            else:  # a pipe or a device: reading might never end
                skipped.append(Skipped(printable(path), "is not a file"))
    return sorted(pictures), skipped, ignored
