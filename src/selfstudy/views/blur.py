"""Blur: a Gaussian blur of random width.

Source  SimCLR, arXiv:2002.05709, App. A: a kernel of a tenth of the side, sigma uniform in [0.1, 2]. The edges are
        mirrored without repeating the last pixel, as in torchvision.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation, check_range
from selfstudy.views._products import two_products


@dataclass(frozen=True, kw_only=True)
class Blur(Operation):
    """A Gaussian blur of random width."""

    p: float = 0.5  # SimCLR, App. A
    sigma: tuple[float, float] = (0.1, 2.0)  # in pixels

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("sigma", self.sigma, 0.0)
        if self.sigma[0] == 0.0:
            raise ValueError("sigma must be above 0 pixels; for images left sharp lower p instead")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return (draws.fork("sigma").uniform(1, *self.sigma)[:, 0],)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        (sigma,) = tables
        return blur(images, sigma, radius_for(min(images.shape[2:])))


def radius_for(side: int) -> int:
    """Pixels on each side of the kernel's middle: SimCLR's kernel is a tenth of the side, at least three pixels."""
    return min(max(1, side // 10 // 2), side - 1)


def blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blur float32 [N, C, H, W] with Gaussians of width sigma [N], cut off beyond `radius` pixels."""
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    weights = F.softmax(-0.5 * (offset / sigma[:, None]) ** 2, dim=1)
    weights = F.threshold(weights, 1e-12, 0.0)  # denormal numbers would slow the products down a hundredfold
    vertical, horizontal = (
        (weights @ _bands(side, radius, images.device)).view(-1, side, side) for side in images.shape[2:]
    )
    return two_products(vertical, images, horizontal)


@lru_cache(maxsize=8)
def _bands(side: int, radius: int, device: torch.device) -> Tensor:
    """[2 radius + 1, side * side]: per offset the matrix that fetches each pixel's neighbour at that offset."""
    pixel = torch.arange(side)
    bands = torch.zeros(2 * radius + 1, side, side)
    for row, offset in enumerate(range(-radius, radius + 1)):
        mirrored = (side - 1) - ((side - 1) - (pixel + offset).abs()).abs()
        bands[row, pixel, mirrored] = 1.0
    return bands.flatten(1).to(device)
