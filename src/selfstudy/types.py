"""The few frozen records that cross borders between rooms. N images, C channels, S pixels a side, D width."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from selfstudy.rng import Rng

Tensors = Mapping[str, Tensor]


class Pixels(Protocol):
    """Stored images, uint8 [N, C, S', S']: a torch tensor, or images on the disk of which only what is asked for is read."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor | slice, /) -> Tensor: ...

    def split(self, size: int, /) -> Iterable[Tensor]: ...


@dataclass(frozen=True, slots=True)
class DataCard:
    """What a method may know of the data before it is built: counts and sizes, never pixels."""

    num_images: int
    channels: int
    image_size: int  # pixels a side of the views, the working size
    num_classes: int | None = None  # None unless the method uses labels


@dataclass(frozen=True, slots=True)
class Batch:
    """Stored images, as they lie in the set."""

    images: Tensor  # uint8 [N, C, S', S'], S' >= S
    index: Tensor  # int64 [N], position in the set the method trains on
    labels: Tensor | None = None  # int64 [N]; None unless the method says uses_labels

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> "Batch":
        labels = None if self.labels is None else self.labels.to(device, non_blocking=True)
        return Batch(self.images.to(device, non_blocking=True), self.index.to(device, non_blocking=True), labels)


@dataclass(frozen=True, slots=True)
class Views:
    """What the method sees of a batch. Dimension 0 of every tensor is the image, so a slice is a smaller batch."""

    index: Tensor  # int64 [N]
    tensors: Tensors

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> "Views":
        return Views(self.index[start:stop], {name: value[start:stop] for name, value in self.tensors.items()})

    def chunks(self, size: int) -> Iterator["Views"]:
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


Embedded = Tensors  # what `embed` returns: like Views, dimension 0 of every tensor is the image


@dataclass(frozen=True, slots=True)
class Step:
    """Where training stands. `scheduled` holds the method's schedules at this step as 0-d float32 tensors."""

    number: int  # optimiser steps done so far
    epoch: int
    starts_epoch: bool
    progress: float  # in [0, 1): number / total
    rng: Rng  # for masks and random directions; already keyed by the step
    scheduled: Tensors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """What one call of a method gives back to the loop."""

    loss: Tensor  # 0-d, differentiable
    carry: Tensors = field(default_factory=dict)  # detached: what after_step needs
    watch: Tensors = field(
        default_factory=dict
    )  # [rows, D] embeddings watched for collapse: z of the projector, h kept
    watched_views: int = 1  # how many views of the same images lie in the watched rows, one whole view after the other
    metrics: Tensors = field(default_factory=dict)  # 0-d, detached: logged beside the loss


@dataclass(frozen=True, slots=True)
class Scores:
    """What a protocol found with one set of labels. T pictures tested: images, or pages where images are cut from pages."""

    metrics: Mapping[str, float]  # on the test part, each in [0, 1], by the names of evaluation/_metrics.py
    predictions: Tensor  # int64 [T], class of each, or [T, A]: 1 where it has the attribute, else 0
    chosen: Mapping[str, float | int | str]  # hyper-parameters, and how they were chosen
    seconds: float
    costs: Mapping[str, float] = field(default_factory=dict)  # of a protocol that trains: named as in run.json
    probabilities: Tensor | None = None  # float32 [T, K] of the classes, or [T, A] of the attributes
    details: Mapping[str, object] = field(default_factory=dict)  # JSON values: what the predictions do not tell
