"""load: from what a user writes as a data source to an ImageSet."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from selfstudy import catalog, config
from selfstudy.encoder import Fit
from selfstudy.errors import UserError, nearest
from selfstudy.images import _decode
from selfstudy.images._imageset import ImageSet, Skipped
from selfstudy.images._source import Listing, Source, expand, natural_order, printable


def load(
    source: str | Path | Mapping[str, object],
    *,
    image_size: int,
    labelled: bool = False,
    fit: Fit = "crop",
    most_unreadable: float = 0.05,
) -> ImageSet:
    """Read a named set, a folder, `NAME:PATH` or the settings of a source, such as {table: FILE, label: Kind}.

    Pictures are stored square at up to 1.15 x `image_size`. An id is the hash of the file's bytes (or of the array), so
    neither path nor image size decides it; exact copies get a suffix and share their group. Files that cannot be read
    are in `.skipped`. Raises UserError if their share is above `most_unreadable`, and for any mistake in the source.
    """
    if image_size < 1:
        raise UserError(f"image_size is {image_size}, but must be at least 1 pixel")
    if fit not in get_args(Fit):
        raise UserError(f'there is no fit "{fit}".{nearest(str(fit), get_args(Fit))}')
    name = printable(f"{_word(source)}:{source[_word(source)]}" if isinstance(source, Mapping) else source)
    listing = find(source).listing(labelled)
    if labelled and not any(listing.labels):
        raise UserError(f"{name} has no labels")
    pictures = listing.pictures(image_size) if callable(listing.pictures) else listing.pictures
    rows, skipped = [], list(listing.skipped)
    columns = zip_longest(listing.groups, listing.parts, listing.labels, _names(name, pictures), fillvalue="")
    for picture, facts in zip(_decode.read_all(pictures, image_size, fit), columns, strict=True):
        if isinstance(picture, Skipped):
            skipped.append(picture)
        else:
            rows.append(_Row(picture.content, *facts, picture))
    _check_readable(name, len(rows), skipped, most_unreadable)
    return _assemble(name, rows, listing, image_size, labelled, fit, skipped)


class _Row(NamedTuple):
    content: str
    group: str
    part: str
    label: str
    path: str
    picture: _decode.Picture


def find(source: str | Path | Mapping[str, object]) -> Source:
    """The source a user means; a named set wins over a folder of its name. Raises UserError with the nearest name."""
    known = catalog.names("images")
    if isinstance(source, Mapping):
        return _make(_word(source), source)
    text = str(source)
    word, colon, place = text.partition(":")
    if isinstance(source, str) and word in known:
        return _make(word, {word: place} if colon else {})
    if not text.strip():
        raise UserError(f"data is empty.{nearest(text, known)}")
    path = expand(text)
    if os.path.isdir(path):  # unlike Path.is_dir it bears names too long for the system
        return _make("folder", {"folder": path})
    if os.path.isfile(path):
        raise UserError(f"{printable(text)} is a file: for a table write table:FILE, for pictures give their folder")
    if isinstance(source, Path) or text.startswith(("~", ".")) or any(mark in text for mark in "/\\"):
        raise UserError(f"the folder {printable(text)} does not exist")
    raise UserError(f'there is no data source and no folder "{printable(text)}".{nearest(word, known)}')


def _word(source: Mapping[str, object]) -> str:
    """The one key of the settings that names the source."""
    known = catalog.names("images")
    words = [key for key in source if key in known]
    if len(words) != 1:
        keys = ", ".join(map(str, source))
        raise UserError(f"data has the settings {keys}, but must name exactly one source: {', '.join(known)}")
    return words[0]


def _make(word: str, settings: Mapping[str, object]) -> Source:
    kind = catalog.find("images", word, Source)
    takes_place = word in kind.__dataclass_fields__  # type: ignore[attr-defined]
    if takes_place and not settings.get(word):
        raise UserError(f"{word} needs a {kind.argument.lower()}: write {word}:{kind.argument}")
    if not takes_place and settings:
        if settings.get(word):
            raise UserError(f"{word} comes with selfstudy and takes no path: write {word}")
        settings = {key: value for key, value in settings.items() if key != word}
    return config.validate(kind, settings, "data")


def _names(name: str, pictures: np.ndarray | Sequence[Path]) -> list[str]:
    if isinstance(pictures, np.ndarray):
        return [f"{name}/{position}" for position in range(len(pictures))]
    return [printable(path) for path in pictures]


def _check_readable(name: str, num_read: int, skipped: list[Skipped], most_unreadable: float) -> None:
    total = num_read + len(skipped)
    if total == 0:
        raise UserError(f"{name} lists no pictures")
    first = f"; the first: {skipped[0].path} {skipped[0].reason}" if skipped else ""
    if num_read == 0:
        raise UserError(f"none of the {total} pictures of {name} can be read{first}")
    if len(skipped) > most_unreadable * total:
        raise UserError(
            f"{len(skipped)} of the {total} pictures of {name} cannot be read, "
            f"more than most_unreadable={most_unreadable} allows{first}"
        )


def _assemble(
    name: str, rows: list[_Row], listing: Listing, image_size: int, labelled: bool, fit: Fit, skipped: list[Skipped]
) -> ImageSet:
    """Rows in the order of their content: renaming files changes nothing. Paths only tell equal rows apart."""
    rows = sorted(rows, key=lambda row: row[:5])
    classes = tuple(sorted({row.label for row in rows if row.label}, key=natural_order)) if labelled else ()
    if labelled and len(classes) < 2:
        found = f'only one class, "{classes[0]}"' if classes else "no readable picture with a label"
        raise UserError(f"{name} has {found}; two classes are needed")
    number = {label: position for position, label in enumerate(classes)}
    copies: Counter[str] = Counter()
    ids = []
    for row in rows:
        copies[row.content] += 1
        ids.append(row.content if copies[row.content] == 1 else f"{row.content}-{copies[row.content]}")
    return ImageSet(
        name=name,
        images=_decode.to_common_size([row.picture for row in rows], image_size),
        image_size=image_size,
        ids=np.array(ids),
        groups=np.array([row.group or row.content for row in rows]),
        paths=np.array([row.path for row in rows]),
        labels=torch.tensor([number.get(row.label, -1) for row in rows]) if labelled else None,
        classes=classes,
        parts=np.array([row.part or "train" for row in rows]) if any(listing.parts) else None,
        fit=fit,
        skipped=tuple(skipped),
        ignored=listing.ignored,
    )
