"""Solarise: invert the bright pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation


@dataclass(frozen=True, kw_only=True)
class Solarise(Operation):
    """Invert every value from the threshold up."""

    p: float = 0.2  # BYOL, arXiv:2006.07733, App. B, of the second view
    threshold: float = 0.5  # BYOL, App. B

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError("threshold must be a brightness, from 0 (black) to 1 (white)")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return ()

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return solarise(images, self.threshold)


def solarise(images: Tensor, threshold: float) -> Tensor:
    """Float32 [N, C, H, W] in [0, 1] with 1 - x in place of each x >= threshold."""
    # A float mask: on the CPU `torch.where` on a boolean one costs ten times as much.
    bright = torch.ge(images, threshold, out=torch.empty_like(images))
    return torch.lerp(images, 1.0 - images, bright)
