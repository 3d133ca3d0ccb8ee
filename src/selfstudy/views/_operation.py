"""What an operation is: one random change to a batch of images, drawn for every image on its own."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws

# 0.75 MB of float32: with two intermediates of its size it stays in the 2 MB second-level cache of current cores,
# which made the colour jitter of 512 images of 32 px twice as fast as the whole batch at once (benchmarks/views.md).
_BLOCK_VALUES = 3 * 2**15


@dataclass(frozen=True, kw_only=True)
class Operation(ABC):
    """One random operation on a batch. Each image is drawn for on its own: N in a batch equal N batches of one."""

    p: float = 1.0  # the share of images it is applied to

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError("p must be a share of the images, from 0 to 1")

    @abstractmethod
    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Float32 [M, C, H, W] in [0, 1] to the same shape and range; row i uses row i of `draws`. Ignores `p`."""

    @property
    def name(self) -> str:
        return type(self).__module__.rsplit(".", 1)[-1]

    def to_json(self) -> dict[str, object]:
        return {self.name: asdict(self)}


def apply_to_some(operation: Callable[[Tensor, Draws], Tensor], images: Tensor, draws: Draws, p: float) -> Tensor:
    """Apply to a share `p` of the images, chosen per image; the others pass through unchanged."""
    if p >= 1.0:
        return operation(images, draws)
    if p <= 0.0:
        return images
    chosen = draws.fork("whether").bernoulli(p)
    if images.device.type != "cpu":  # picking rows would wait for the device; computing all of them is cheaper
        return torch.where(chosen[:, None, None, None], operation(images, draws), images)
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    return images.index_copy(0, rows, operation(images.index_select(0, rows), draws.rows(rows)))


def in_blocks(function: Callable[..., Tensor], images: Tensor, *tables: Tensor) -> Tensor:
    """`function(images, *tables)`, on the CPU a block of images at a time, so that what lies between stays in cache.

    Row i of every table belongs to image i, and `function` treats images one by one, so blocks change no result.
    """
    rows = max(1, _BLOCK_VALUES // max(1, images.shape[1:].numel()))
    if images.device.type != "cpu" or len(images) <= rows:
        return function(images, *tables)
    starts = range(0, len(images), rows)
    return torch.cat([function(*(table[start : start + rows] for table in (images, *tables))) for start in starts])


def per_image(table: Tensor) -> Tensor:
    """[N] to [N, 1, 1, 1], which broadcasts over an image's channels and pixels."""
    return table[:, None, None, None]


def check_range(name: str, pair: tuple[float, float], least: float, most: float = math.inf) -> None:
    """Refuse a range that does not lie in [least, most] with the smaller number first."""
    if not least <= pair[0] <= pair[1] <= most or math.isinf(pair[1]):
        limits = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be two numbers {limits}, the smaller first")
