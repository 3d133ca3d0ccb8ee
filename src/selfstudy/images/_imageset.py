"""ImageSet: rows of square uint8 pictures of one size, with ids made from content, groups and labels."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from selfstudy.encoder import Fit
from selfstudy.types import Batch, DataCard


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be used, and why, in words."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImageSet:
    """Row i is one picture. Never changed after it is made; rows made by `load` are in the order of their ids."""

    name: str  # the source as the user wrote it
    images: Tensor  # uint8 [N, C, S', S'], S' >= image_size; C is 1 if every picture is grey
    image_size: int  # pixels a side of what an encoder will see
    ids: np.ndarray  # str [N], from content, unique; they name the row for ever
    groups: np.ndarray  # str [N]: page, product, person; by default the content, so that copies stay together
    paths: np.ndarray  # str [N]: where each came from, for people; decides nothing
    labels: Tensor | None = None  # int64 [N], -1 where missing
    classes: tuple[str, ...] = ()
    parts: np.ndarray | None = None  # str [N] in {"train", "test"} where the source dictates a split
    fit: Fit = "crop"  # how pictures that are not square were made square
    skipped: Sequence[Skipped] = ()
    ignored: int = 0  # hidden files, and files that are no pictures by their names

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def card(self) -> DataCard:
        """What a method may know of these images before it is built."""
        return DataCard(num_images=len(self), channels=self.channels, image_size=self.image_size)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of what the rows are, in order: equal content, equal fingerprint, wherever it lies."""
        content = {
            "ids": self.ids.tolist(),
            "groups": self.groups.tolist(),
            "labels": None if self.labels is None else self.labels.tolist(),
            "classes": self.classes,
            "parts": None if self.parts is None else self.parts.tolist(),
            "stored": list(self.images.shape[1:]),
            "image_size": self.image_size,
            "fit": self.fit,
        }
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    def at(self, rows: Tensor) -> Batch:
        """The batch at int64 positions `rows`; its index is those positions."""
        labels = None if self.labels is None else self.labels[rows]
        return Batch(self.images[rows], rows, labels)

    def select(self, rows: np.ndarray) -> "ImageSet":
        """The set of the rows at int64 positions `rows`, in that order. Classes stay, so labels mean the same."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        positions = torch.from_numpy(rows)
        return replace(
            self,
            images=self.images[positions],
            ids=self.ids[rows],
            groups=self.groups[rows],
            paths=self.paths[rows],
            labels=None if self.labels is None else self.labels[positions],
            parts=None if self.parts is None else self.parts[rows],
        )


def channel_statistics(images: ImageSet, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the rows' pixels, with values in [0, 1].

    Sums are exact integers from a histogram, so the result depends neither on the order of the rows nor on the device.
    A constant channel gets the deviation of one grey level (1/255), so that dividing by it is safe.
    """
    counts = np.zeros((images.channels, 256), dtype=np.int64)
    for chunk in np.array_split(np.ascontiguousarray(rows, dtype=np.int64), max(1, len(rows) // 1024)):
        pixels = images.images[torch.from_numpy(chunk)]
        for channel in range(images.channels):
            counts[channel] += torch.bincount(pixels[:, channel].flatten(), minlength=256).numpy()
    means, deviations = [], []
    for histogram in counts.tolist():
        number = sum(histogram)
        total = sum(value * count for value, count in enumerate(histogram))
        squares = sum(value * value * count for value, count in enumerate(histogram))
        means.append(total / number / 255)
        deviations.append(max(1.0, ((number * squares - total * total) / number**2) ** 0.5) / 255)
    return tuple(means), tuple(deviations)
