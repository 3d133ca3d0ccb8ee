"""Noise: Gaussian noise of random strength, for each pixel and channel on its own."""

from dataclasses import dataclass

from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._fields import normal_field
from selfstudy.views._operation import Operation, check_range, in_blocks, per_image


@dataclass(frozen=True, kw_only=True)
class Noise(Operation):
    """Add Gaussian noise, clamped to [0, 1]."""

    std: tuple[float, float] = (0.0, 0.1)  # an image's own is uniform; 1 is the span from black to white

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("std", self.std, 0.0, 1.0)
        if self.std[1] == 0.0:
            raise ValueError("std must reach above 0: noise of no strength changes nothing")

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        std = draws.fork("std").uniform(1, *self.std)[:, 0]

        def block(images: Tensor, index: Tensor, std: Tensor) -> Tensor:
            field = normal_field(Draws(draws.key, index).fork("pixels"), images.shape[1:].numel())
            return add_noise(images, field.view(images.shape), std)

        return in_blocks(block, images, draws.index, std)


def add_noise(images: Tensor, field: Tensor, std: Tensor) -> Tensor:
    """Float32 [N, C, H, W] plus std [N] times a field of its shape, clamped to [0, 1]."""
    return (field * per_image(std)).add_(images).clamp_(0.0, 1.0)
