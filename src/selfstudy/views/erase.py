"""Erase: a random box covered by one value or by random pixels.

Source  Zhong et al., AAAI 2020, arXiv:1708.04896 (algorithm 1); the aspect is log-uniform, as in torchvision, so that
        flat and tall boxes are as frequent.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._boxes import Boxes, random_boxes
from selfstudy.views._fields import field_seeds, uniform_field
from selfstudy.views._operation import Operation, check_range, per_image


@dataclass(frozen=True, kw_only=True)
class Erase(Operation):
    """Cover a random box."""

    p: float = 0.5  # Zhong et al., §4.1
    area: tuple[float, float] = (0.02, 0.4)  # the box's share of the image; Zhong et al., §4.1
    ratio: tuple[float, float] = (0.3, 1 / 0.3)  # width / height of the box; Zhong et al., §4.1
    value: float | Literal["random"] = "random"  # one brightness, or every value its own; the paper found "random" best

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("area", self.area, 0.0, 1.0)
        check_range("ratio", self.ratio, 0.0)
        if self.area[1] == 0.0 or self.ratio[0] == 0.0:
            raise ValueError("area and ratio must be above 0: a box of no area covers nothing")
        if self.value != "random" and not 0.0 <= float(self.value) <= 1.0:
            raise ValueError('value must be "random" or a brightness, from 0 (black) to 1 (white)')

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        boxes, found = random_boxes(draws.fork("box"), height, width, self.area, self.ratio)
        boxes = boxes._replace(height=boxes.height * found)  # no box of ten fitted: cover nothing
        return *boxes, field_seeds(draws.fork("pixels"))

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        *boxes, seeds = tables
        if self.value != "random":
            return erase(images, Boxes(*boxes), images.new_full((), float(self.value)))
        cover = uniform_field(seeds, images.shape[1:].numel()).mul_(0.5).add_(0.5)
        return erase(images, Boxes(*boxes), cover.view(images.shape))


def erase(images: Tensor, boxes: Boxes, cover: Tensor) -> Tensor:
    """Float32 [N, C, H, W] with `cover` (of a shape that broadcasts to it) inside the boxes."""
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    top, left, height, width = (per_image(side) for side in boxes)
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    return torch.where(inside, cover, images)
