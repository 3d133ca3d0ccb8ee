"""What a data source is: settings in, a listing of pictures out. Nothing is decoded here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from selfstudy.images._file import File
from selfstudy.images._imageset import Skipped
from selfstudy.images._stream import Streamed

# Names of parts as people write them. Choices are made by cross-validation inside the label budget, so a validation
# part is there to learn from.
PARTS = {
    **dict.fromkeys(("train", "training", "val", "valid", "validation", "dev"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source found. Row i of every field is picture i; an empty field: the source has no such thing."""

    # Uint8 [N, H, W] or [N, H, W, 3], or the files, or what makes the former for an image size; or places in shards
    pictures: np.ndarray | Sequence[File] | Callable[[int], np.ndarray] | Streamed
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
