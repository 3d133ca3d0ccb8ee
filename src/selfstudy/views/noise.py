"""Noise: Gaussian noise of random strength, for each pixel and channel on its own."""

from dataclasses import dataclass

from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._fields import field_seeds, normal_field
from selfstudy.views._operation import Operation, check_range, per_image


@dataclass(frozen=True, kw_only=True)
class Noise(Operation):
    """Add Gaussian noise, clamped to [0, 1]."""

    std: tuple[float, float] = (0.0, 0.1)  # an image's own is uniform; 1 is the span from black to white

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("std", self.std, 0.0, 1.0)
        if self.std[1] == 0.0:
            raise ValueError("std must reach above 0: noise of no strength changes nothing")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return draws.fork("std").uniform(1, *self.std)[:, 0], field_seeds(draws.fork("pixels"))

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        std, seeds = tables
        return add_noise(images, normal_field(seeds, images.shape[1:].numel()).view(images.shape), std)


def add_noise(images: Tensor, field: Tensor, std: Tensor) -> Tensor:
    """Float32 [N, C, H, W] plus std [N] times a field of its shape, clamped to [0, 1]."""
    return (field * per_image(std)).add_(images).clamp_(0.0, 1.0)
