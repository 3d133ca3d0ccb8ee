"""Elastic: the image bent by a smooth random displacement of its pixels.

Source  Simard, Steinkraus, Platt, ICDAR 2003: uniform noise in [-1, 1], smoothed by a Gaussian of width sigma and
        multiplied by alpha, once per axis.
Scale   alpha is the standard deviation of the displacement in pixels. Simard's factor multiplies the smoothed noise
        instead: a factor f there is f / (2 sqrt(3 pi) sigma) pixels here; the paper's 34 with sigma 4 is 1.4 pixels.
How     Smoothed noise holds nothing finer than sigma, so the noise stands on a grid of that spacing, not on pixels.
        Two matrix products smooth and enlarge it at once. Their rows have length 1, which makes the standard
        deviation alpha at every pixel, edges included; it ripples by exp(-pi^2), less than a thousandth, between nodes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._fields import field_seeds, uniform_field
from selfstudy.views._operation import Operation
from selfstudy.views._warp import warp

_MARGIN = 2  # nodes beyond each edge: the next one would weigh exp(-9 / 2) there


@dataclass(frozen=True, kw_only=True)
class Elastic(Operation):
    """Bend the image smoothly."""

    alpha: float = 1.4  # standard deviation of the displacement, in pixels; Simard et al., §2, for 29 px digits
    sigma: float = 4.0  # width of the smoothing Gaussian, in pixels; Simard et al., §2
    fill: float = 0.0  # what lies outside of the image: 0 black, 1 white

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.alpha < math.inf:
            raise ValueError("alpha must be above 0 pixels")
        if not 0.5 <= self.sigma < math.inf:
            raise ValueError("sigma must be 0.5 pixels or more: below, pixels are scattered, not bent")
        if not 0.0 <= self.fill <= 1.0:
            raise ValueError("fill must be a brightness, from 0 (black) to 1 (white)")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return (field_seeds(draws.fork("noise")),)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        (seeds,) = tables
        rows, columns = (len(nodes(side, self.sigma)) for side in images.shape[2:])
        noise = uniform_field(seeds, 2 * rows * columns).view(-1, 2, rows, columns)
        return elastic(images, noise, self.alpha, self.sigma, self.fill)


def nodes(side: int, sigma: float) -> Tensor:
    """Float32 [G]: where along a side of pixels 0 .. side - 1 the noise stands: sigma apart, about the middle."""
    half = math.ceil((side - 1) / 2 / sigma) + _MARGIN
    return (side - 1) / 2 + sigma * torch.arange(-half, half + 1)


def displacement(noise: Tensor, height: int, width: int, alpha: float, sigma: float) -> Tensor:
    """Noise [N, 2, G, G'] on the nodes, uniform in [-1, 1], to pixels right and down [N, 2, height, width]."""
    vertical, horizontal = (_smoothing(side, sigma, noise.device) for side in (height, width))
    return vertical @ (noise @ (alpha * math.sqrt(3.0) * horizontal.T))  # uniform in [-1, 1] has variance 1 / 3


@lru_cache(maxsize=8)
def _smoothing(side: int, sigma: float, device: torch.device) -> Tensor:
    """[side, G]: Gaussian weights of the nodes at every pixel, each row of length 1."""
    distance = torch.arange(side)[:, None] - nodes(side, sigma)
    weights = F.threshold(torch.exp(-0.5 * (distance / sigma) ** 2), 1e-12, 0.0)  # denormal numbers would be slow
    return (weights / weights.norm(dim=1, keepdim=True)).to(device)


def elastic(images: Tensor, noise: Tensor, alpha: float, sigma: float, fill: float = 0.0) -> Tensor:
    """Bend float32 [N, C, H, W]: every pixel of the result is read at its own place plus the displacement there."""
    height, width = images.shape[2:]
    x = (2 * torch.arange(width, device=images.device) + 1) / width - 1
    y = (2 * torch.arange(height, device=images.device) + 1) / height - 1
    places = displacement(noise, height, width, alpha, sigma)
    places[:, 0].mul_(2 / width).add_(x)
    places[:, 1].mul_(2 / height).add_(y[:, None])
    return warp(images, places, fill)
