"""What an operation is: one random change to a batch of images, drawn for every image on its own.

It has two halves. `draw` makes small tables of what is random, one row per image, for a whole batch. `apply` carries the
change out for any rows of it. So a chain draws once, and on a CPU works a block of images at a time through all its
operations, which keeps every intermediate image in cache.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from selfstudy import catalog
from selfstudy.rng import Draws
from selfstudy.views._blocks import in_blocks, one_thread


@dataclass(frozen=True, kw_only=True)
class Operation(ABC):
    """One random operation on a batch. Each image is drawn for on its own: N in a batch equal N batches of one."""

    p: float = 1.0  # the share of images it is applied to

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError("p must be a share of the images, from 0 to 1")

    @abstractmethod
    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        """What is random about it, for images of this size: tables of N rows, row i made from row i of `draws`."""

    @abstractmethod
    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        """Float32 [M, C, H, W] in [0, 1] and the same M rows of what `draw` made, to the same shape and range.

        Every image is treated by itself. May overwrite `images`: the caller gives them away.
        """

    def ways(self, *tables: Tensor) -> Tensor | None:
        """Int64 [N]: images with equal numbers take the same way through `apply`, None: all do. Only speed hangs on it."""
        return None

    def refusal(self, channels: int) -> str:
        """Why it makes no sense for images of so many channels, and what to do, in a clause; "" where it does."""
        return ""

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Apply to every image, whatever `p`."""
        with one_thread():
            tables = self.draw(draws, *images.shape[2:])
            way = self.ways(*tables)
        return in_blocks(self.apply, images, tables, images.shape[2:], sort_by=() if way is None else (way,))

    @property
    def name(self) -> str:
        return catalog.name_of(type(self))

    def to_json(self) -> dict[str, object]:
        return {self.name: asdict(self)}


def draw_with_choice(operation: Operation, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
    """The tables of `apply_to_some`: which images are chosen, bool [N], then the operation's own."""
    everyone = torch.ones_like(draws.index, dtype=torch.bool)
    chosen = everyone if operation.p == 1.0 else draws.fork("whether").bernoulli(operation.p)
    return chosen, *operation.draw(draws, height, width)


def apply_to_some(operation: Operation, images: Tensor, chosen: Tensor, *tables: Tensor) -> Tensor:
    """Apply to the images `chosen` (bool [N], a share `operation.p` of all); the others pass through unchanged.

    May overwrite `images`: the caller gives them away.
    """
    if operation.p == 1.0:
        return operation.apply(images, *tables)
    way = pick_rows if images.device.type == "cpu" else choose_results
    return way(operation, images, chosen, *tables)


def pick_rows(operation: Operation, images: Tensor, chosen: Tensor, *tables: Tensor) -> Tensor:
    """`apply_to_some`, computing no more than is needed."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return operation.apply(images, *tables)
    some = operation.apply(images.index_select(0, rows), *(table.index_select(0, rows) for table in tables))
    return images.index_copy_(0, rows, some)


def choose_results(operation: Operation, images: Tensor, chosen: Tensor, *tables: Tensor) -> Tensor:
    """`apply_to_some` without asking the device which rows are chosen: waiting for that costs more than computing all."""
    return torch.where(per_image(chosen), operation.apply(images.clone(), *tables), images)


def per_image(table: Tensor) -> Tensor:
    """[N] to [N, 1, 1, 1], which broadcasts over an image's channels and pixels."""
    return table[:, None, None, None]


def check_range(name: str, pair: tuple[float, float], least: float, most: float = math.inf) -> None:
    """Refuse a range that does not lie in [least, most] with the smaller number first."""
    if not least <= pair[0] <= pair[1] <= most or math.isinf(pair[1]):
        limits = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be two numbers {limits}, the smaller first")
