"""Flip: the mirror image, left to right or upside down."""

from dataclasses import dataclass

from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation


@dataclass(frozen=True, kw_only=True)
class Flip(Operation):
    """The mirror image."""

    p: float = 0.5  # a flip of every image would be no variation
    vertical: bool = False  # True: upside down instead of left to right

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return ()

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return images.flip(2 if self.vertical else 3)
