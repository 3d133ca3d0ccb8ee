"""What a data source is: settings in, a listing of pictures out. Nothing is decoded here."""

import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from selfstudy.images._imageset import Skipped

if TYPE_CHECKING:
    from selfstudy.images._stream import Streamed

# Names of parts as people write them. Choices are made by cross-validation inside the label budget, so a validation
# part is there to learn from.
PARTS = {
    **dict.fromkeys(("train", "training", "val", "valid", "validation", "dev"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture that is no file of its own: a member of an archive, a cell of a table."""

    name: str  # for people
    stamp: str  # changes when the bytes may have changed: where it lies, the size and time of the file it lies in
    read: Callable[[], bytes]  # the bytes of an image file, from any thread
    place: tuple[int, int] = (0, 0)  # of a member of a shard: its first byte there, and how many


@dataclass(frozen=True, slots=True)
class Stack:
    """A picture of several files of one size: one channel each, in this order."""

    files: tuple[Path, ...]


File = Path | Encoded | Stack


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source found. Row i of every field is picture i; an empty field: the source has no such thing."""

    # Uint8 [N, H, W] or [N, H, W, 3], or the files, or what makes the former for an image size; or places in shards
    pictures: "np.ndarray | Sequence[File] | Callable[[int], np.ndarray] | Streamed"
    labels: Sequence[str] = ()  # one class each; "" where missing
    attributes: Sequence[str] = ()  # instead of labels: the names of A attributes, each of which a picture has or not
    marks: np.ndarray | None = None  # int8 [N, A] beside `attributes`: 1 has it, 0 has it not, -1 unknown
    groups: Sequence[str] = ()  # "" where a picture is a group of its own
    parts: Sequence[str] = ()  # "train", "test", or "unlabelled": only ever to pretrain on
    folds: Sequence[Sequence[int]] = ()  # published draws of labels: the pictures of each
    has_copies: bool = True  # whether near-duplicates may be among them; False for curated sets
    skipped: Sequence[Skipped] = ()
    ignored: int = 0  # files that are no pictures by their names


class Source(ABC):
    """A frozen dataclass in images/NAME.py; that file is all a new source needs.

    Its fields are its settings. A field of the source's own name is the place where it lies: `NAME:PLACE` sets it.
    """

    argument: ClassVar[str] = "PATH"  # what stands for the place in a message

    @abstractmethod
    def listing(self, labelled: bool) -> Listing:
        """Find the pictures. With `labelled`, their classes too; else labels stay unread."""


def expand(path: str | Path) -> Path:
    """`~` to the home folder; an unknown `~user` stays, and will then not be found."""
    return Path(os.path.expanduser(path))


def printable(text: object) -> str:
    """One line of plain text for any path: bytes that are no text and control characters are written as escapes."""
    valid = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    if valid.isprintable():
        return valid
    return "".join(repr(letter)[1:-1] if unicodedata.category(letter) == "Cc" else letter for letter in valid)


def class_name(text: str) -> str:
    """A class as results name it: composed Unicode, as macOS decomposes the names of folders."""
    return unicodedata.normalize("NFC", printable(text).strip())


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sorting key under which "page 9" comes before "page 10"."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name
