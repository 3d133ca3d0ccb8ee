"""Dilation: strokes of ink made thicker by a random number of pixels."""

from dataclasses import dataclass

from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._morphology import Ink, window_extreme
from selfstudy.views._operation import Operation


@dataclass(frozen=True, kw_only=True)
class Dilation(Operation):
    """Make strokes thicker: every pixel takes the value in a square window around it that holds the most ink."""

    p: float = 0.5
    size: int = 5  # pixels a side of the largest window; an image's own is uniform in 2 .. size
    ink: Ink = "bright"  # "dark" for dark ink on bright paper

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 2:
            raise ValueError("size must be 2 pixels or more: a window of one pixel changes nothing")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return (draws.fork("size").integers(2, self.size + 1)[:, 0],)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        (sizes,) = tables
        return window_extreme(images, sizes, self.size, brightest=self.ink == "bright")
