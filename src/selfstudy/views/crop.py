"""Crop: a random part of the image, resized to the working size without aliasing.

Source  Szegedy et al. 2015, arXiv:1409.4842, §6 (the boxes), in torchvision's form; the resizing filter is the one of
        Pillow and of torchvision with antialias, so a result equals crop-then-resize there.
How     Resizing is separable, so an image's crop is two matrix products: rows · image · columnsᵀ. A row of weights
        holds the filter of one output pixel, is zero outside the box and sums to 1. There is no loop over images, no
        wait for the device, and one code for every box.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._blocks import in_blocks, one_thread
from selfstudy.views._boxes import Boxes, random_boxes
from selfstudy.views._operation import Operation, check_range
from selfstudy.views._products import two_products

Interpolation = Literal["bilinear", "bicubic"]

_LARGEST_TABLE = 2**22  # weights kept for all boxes of a side: 16 MiB, enough for stored images of up to 55 px


@dataclass(frozen=True, kw_only=True)
class Crop(Operation):
    """A random box of the image, brought to the working size."""

    scale: tuple[float, float] = (0.08, 1.0)  # the box's share of the image's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the box
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("scale", self.scale, 0.0, 1.0)
        check_range("ratio", self.ratio, 0.0)
        if self.scale[0] == 0.0 or self.ratio[0] == 0.0:
            raise ValueError("scale and ratio must be above 0: a crop of no area shows nothing")
        if self.p != 1.0:
            raise ValueError("p must be 1: every image has to be brought to the working size")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return self.boxes(draws, height, width)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return self.resize(images, images.shape[2], images.shape[3], *tables)

    def to_size(self, images: Tensor, draws: Draws, size: int) -> Tensor:
        """Uint8 or float [0, 1] [N, C, H, W] to float32 [N, C, size, size] in [0, 1]."""
        with one_thread():
            tables = self.draw(draws, *images.shape[2:])
        return in_blocks(lambda some, *own: self.resize(some, size, size, *own), images, tables, (size, size))

    def resize(self, images: Tensor, height: int, width: int, *tables: Tensor) -> Tensor:
        """Uint8 or float [0, 1] [N, C, H, W] to float32 [N, C, height, width], given what `draw` made."""
        whole = self.scale == (1.0, 1.0) and self.ratio == (1.0, 1.0) and images.shape[2] == images.shape[3]
        if whole and images.shape[2:] == (height, width):
            return images.float() / 255.0 if images.dtype == torch.uint8 else images
        return crop(images, Boxes(*tables), height, width, self.interpolation)

    def boxes(self, draws: Draws, height: int, width: int) -> Boxes:
        """One box per image of this size; where none of ten fitted, the largest one in the middle."""
        boxes, found = random_boxes(draws.fork("box"), height, width, self.scale, self.ratio)
        most_wide = min(width, round(height * self.ratio[1]))
        most_high = min(height, round(width / self.ratio[0]))
        middle = ((height - most_high) // 2, (width - most_wide) // 2, most_high, most_wide)
        return Boxes(*(torch.where(found, drawn, fixed) for drawn, fixed in zip(boxes, middle, strict=True)))


def crop(images: Tensor, boxes: Boxes, height: int, width: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """Cut one box from each image [N, C, H, W] and resize it: float32 [N, C, height, width] in [0, 1]."""
    vertical = _filters(boxes.top, boxes.height, images.shape[2], height, interpolation)
    horizontal = _filters(boxes.left, boxes.width, images.shape[3], width, interpolation)
    if images.dtype == torch.uint8:
        vertical = vertical / 255.0
    return two_products(vertical, images, horizontal)


def _filters(start: Tensor, length: Tensor, side: int, size: int, interpolation: Interpolation) -> Tensor:
    """Float32 [N, size, side]: the weights that bring pixels start .. start + length - 1 of a side to `size` pixels."""
    if side * (side + 1) // 2 * size * side > _LARGEST_TABLE:
        return filter_rows(start, length, side, size, interpolation)
    row = (length - 1) * (side + 1) - length * (length - 1) // 2 + start  # the order of _filter_table
    return _filter_table(side, size, interpolation, start.device).index_select(0, row)


@lru_cache(maxsize=8)
def _filter_table(side: int, size: int, interpolation: Interpolation, device: torch.device) -> Tensor:
    """The weights of every box of a side, by length and within a length by start."""
    boxes = [(start, length) for length in range(1, side + 1) for start in range(side - length + 1)]
    start, length = torch.tensor(boxes, dtype=torch.float64).T
    return filter_rows(start, length, side, size, interpolation).float().to(device)


def filter_rows(start: Tensor, length: Tensor, side: int, size: int, interpolation: Interpolation) -> Tensor:
    """Weights [N, size, side] of an antialiasing filter, widened where the box shrinks; each row sums to 1."""
    dtype = start.dtype if start.is_floating_point() else torch.float32
    start, length = start.to(dtype)[:, None, None], length.to(dtype)[:, None, None]
    pixel = torch.arange(side, device=start.device, dtype=dtype) + 0.5 - start
    centre = (torch.arange(size, device=start.device, dtype=dtype)[:, None] + 0.5) * (length / size)
    kernel = _triangle if interpolation == "bilinear" else _cubic
    weights = kernel((pixel - centre).abs() / (length / size).clamp(min=1.0))
    weights = weights * ((pixel > 0) & (pixel < length))
    return weights / weights.sum(dim=2, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1.0 - distance).clamp(min=0.0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981 with a = -1/2, as Pillow and torchvision's antialiased bicubic have it."""
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return torch.where(distance < 1.0, near, torch.where(distance < 2.0, far, 0.0))
