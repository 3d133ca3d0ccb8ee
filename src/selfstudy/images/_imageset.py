"""ImageSet: rows of square uint8 pictures of one size, with ids made from content, groups and labels."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from selfstudy.encoder import Feed, Fit, Tiles, match_channels
from selfstudy.images._order import order_of, rows_of_a_shard, spread
from selfstudy.images._pixels import LazyPixels, histogram_of
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Pixels

STATISTICS_ROWS = 2048  # of a streamed set: their mean is within 0.01 of the set's, as pictures' means deviate by 0.15


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be used, and why, in words."""

    path: str
    reason: str


def left_out(skipped: Sequence[Skipped]) -> str:
    """A sentence about files that cannot be used, of which there is at least one."""
    first = f"{skipped[0].path} {skipped[0].reason}"
    return (
        f"{len(skipped):,} files cannot be read and are left out; the first: {first}"
        if len(skipped) > 1
        else f"1 file cannot be read and is left out: {first}"
    )


@dataclass(frozen=True)
class ImageSet:
    """Row i is one picture. Never changed after it is made; rows made by `load` are in the order of their ids."""

    name: str  # the source as the user wrote it
    images: Pixels  # uint8 [N, C, S', S'], S' >= image_size, in memory or on the disk; C is 1 if every picture is grey
    image_size: int  # pixels a side of what an encoder will see
    ids: np.ndarray  # str [N], from content (streamed: from the place in a shard), unique; they name the row for ever
    groups: np.ndarray  # str [N]: page, product, person; by default the content, so that copies stay together
    paths: np.ndarray  # str [N]: where each came from, for people; decides nothing
    labels: Tensor | None = (
        None  # int64 [N] of classes, or int8 [N, A] of attributes (1 has it, 0 not); -1 where missing
    )
    classes: tuple[str, ...] = ()  # the names of the classes, or of the attributes
    parts: np.ndarray | None = None  # str [N] in {"train", "test", "unlabelled"} where the source dictates a split
    pages: np.ndarray | None = None  # str [N]: the picture that each row was cut from; None where a row is a picture
    folds: tuple[np.ndarray, ...] = ()  # published draws of labels: the ids of each
    looks: np.ndarray | None = None  # int64 [N]: perceptual hashes, where near-duplicates may be among the rows
    shards: np.ndarray | None = None  # int64 [N]: where pictures are streamed, the shard that each lies in
    fit: Fit = "crop"  # how pictures that are not square were made square
    tiles: Tiles | None = None  # how pages were cut
    levels: tuple[tuple[float, float], ...] = ()  # of each channel: what became black and white, above 8 bits
    notes: tuple[str, ...] = ()  # what whoever reads the results should know of these images
    skipped: Sequence[Skipped] = ()  # of streamed pictures it grows as they are read
    ignored: int = 0  # hidden files, and files that are no pictures by their names

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether a picture has any number of attributes rather than one class."""
        return self.labels is not None and self.labels.ndim == 2

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def is_streamed(self) -> bool:
        """Whether pictures are decoded each time they are asked for, so that it pays to ask before they are needed."""
        return self.shards is not None and isinstance(self.images, LazyPixels)

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
        if len(self.format) > 3:
            content["format"] = self.format
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    @property
    def format(self) -> list[object]:
        """How pictures became rows of this size, as far as their ids do not say it; JSON values."""
        cut = [] if self.tiles is None else [asdict(self.tiles)]
        depth = [[list(pair) for pair in self.levels]] if self.levels else []
        return [list(self.images.shape[1:]), self.image_size, self.fit, *cut, *depth]

    def at(self, rows: Tensor) -> Batch:
        """The batch at int64 positions `rows`; its index is those positions."""
        labels = None if self.labels is None else self.labels[rows]
        return Batch(self.images[rows], rows, labels)

    def order(self, rng: Rng) -> Tensor:
        """Int64 [N]: every row once, at random; where pictures are streamed, from few shards at a time."""
        return rng.permutation(len(self)) if self.shards is None else order_of(self.shards, rng)

    def expect(self, rows: Tensor) -> None:
        """Be told the order in which pictures will be asked for from now on: the next shards are fetched meanwhile."""
        if self.shards is not None and isinstance(self.images, LazyPixels):
            self.images.expect(rows[: self._rows_of_a_shard].numpy())

    @cached_property
    def _rows_of_a_shard(self) -> int:
        return 0 if self.shards is None else rows_of_a_shard(self.shards)

    def select(self, rows: np.ndarray) -> "ImageSet":
        """The set of the rows at int64 positions `rows`, in that order. Classes stay, so labels mean the same."""
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        positions = torch.from_numpy(rows)
        return replace(
            self,
            images=self.images.take(rows) if isinstance(self.images, LazyPixels) else self.images[positions],
            ids=self.ids[rows],
            groups=self.groups[rows],
            paths=self.paths[rows],
            labels=None if self.labels is None else self.labels[positions],
            parts=None if self.parts is None else self.parts[rows],
            pages=None if self.pages is None else self.pages[rows],
            looks=None if self.looks is None else self.looks[rows],
            shards=None if self.shards is None else self.shards[rows],
        )

    def with_channels(self, channels: int) -> "ImageSet":
        """The same with grey repeated to `channels`. Raises UserError for what cannot be."""
        if self.channels == channels:
            return self
        if isinstance(self.images, LazyPixels) and (self.channels == 1 or self.shards is not None):
            return replace(self, images=self.images.with_channels(channels))
        return replace(self, images=match_channels(self.images[:], channels))


def feed_for(feed: Feed, images: ImageSet) -> Feed:
    """A feed that says how these images became squares, so that others can be made squares alike."""
    return replace(feed, fit=images.fit, tiles=images.tiles, levels=images.levels)


def channel_statistics(images: ImageSet, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the rows' pixels, with values in [0, 1].

    Sums are exact integers from a histogram, so the result depends neither on the order of the rows nor on the device.
    A constant channel gets the deviation of one grey level (1/255), so that dividing by it is safe. Of streamed pictures a
    sample is read.
    """
    if images.shards is not None:
        rows = spread(images.shards, rows, STATISTICS_ROWS)
    counts = (
        images.images.histogram(rows) if isinstance(images.images, LazyPixels) else histogram_of(images.images, rows)
    )
    means, deviations = [], []
    for histogram in counts.tolist():
        number = sum(histogram)
        total = sum(value * count for value, count in enumerate(histogram))
        squares = sum(value * value * count for value, count in enumerate(histogram))
        means.append(total / number / 255)
        deviations.append(max(1.0, ((number * squares - total * total) / number**2) ** 0.5) / 255)
    return tuple(means), tuple(deviations)
