"""What one picture is read from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


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
