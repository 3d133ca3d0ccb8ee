"""Tiles of images, cut so that only their content tells where they lay, and a head that reads several of them.

What else would tell: edges that continue in the next tile (countered by gaps and jitter), brightness and contrast
(countered by `standardise`), the lens's fringes of colour (countered by shifting the channels, and by grey images).
N images, T tiles each, of t pixels a side. Sources: Doersch et al. 2015, arXiv:1505.05192, §3.1; Noroozi and Favaro 2016,
arXiv:1603.09246.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfstudy.encoder import BackboneSpec
from selfstudy.rng import Draws

SMALLEST_TILE = 8  # pixels a side: the least that all of our backbones take
GREY_LEVEL = 1 / 255  # a tile that varies less is blank; standardising it would only magnify rounding


@dataclass(frozen=True)
class Layout:
    """A square grid of tiles: each lies up to `jitter` pixels right of and below its own node, in pixels."""

    grid: int  # tiles a side
    tile: int  # a side of a tile
    pitch: int  # from one node to the next
    jitter: int  # most that a tile is moved, along each axis

    def __post_init__(self) -> None:
        assert self.pitch >= self.tile + self.jitter, "tiles would overlap"

    @property
    def count(self) -> int:
        return self.grid**2

    @property
    def extent(self) -> int:
        """A side of the square that all tiles lie in, wherever they are moved."""
        return self.pitch * (self.grid - 1) + self.tile + self.jitter


def cut(images: Tensor, layout: Layout, draws: Draws, channel_shift: int = 0) -> Tensor:
    """[N, C, S, S] to [N, T, C, t, t], row by row of the grid: tiles at random places that never overlap.

    The grid's place and every tile's place in it are random. Each channel of a tile is read up to `channel_shift`
    pixels beside the tile's place, but never outside of the tile's own cell.
    """
    n, channels, size = len(images), images.shape[1], images.shape[2]
    side = torch.arange(layout.grid, device=images.device) * layout.pitch
    origin = draws.fork("grid").integers(0, size - layout.extent + 1, 2)[:, None]  # [N, 1, 2]: down, right
    nodes = origin + torch.cartesian_prod(side, side)  # [N, T, 2]
    moved = draws.fork("tiles").integers(0, layout.jitter + 1, 2 * layout.count).view(n, layout.count, 1, 2)
    if channel_shift > 0:
        shift = draws.fork("channels").integers(-channel_shift, channel_shift + 1, 2 * layout.count * channels)
        moved = (moved + shift.view(n, layout.count, channels, 2)).clamp(0, layout.jitter)
    corners = nodes[:, :, None] + moved  # [N, T, 1 or C, 2]
    pixel = torch.arange(layout.tile, device=images.device)
    down, right = corners[..., :1, None] + pixel[:, None], corners[..., 1:, None] + pixel
    image = torch.arange(n, device=images.device).view(-1, 1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(-1, 1, 1)
    return images[image, channel, down, right]


def standardise(tiles: Tensor) -> Tensor:
    """[..., t, t] to mean 0 and deviation 1 over the pixels of each tile and channel; blank ones to 0."""
    centred = tiles - tiles.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt().clamp(min=GREY_LEVEL)


class PixelScale(nn.Module):
    """Standardised tiles to pixel values that the backbone's own normalisation turns back into standardised tiles.

    So tiles in training and whole images afterwards reach the first convolution on one scale, which BatchNorm's running
    statistics hold fast.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        return tiles * self.std + self.mean


class Fusion(nn.Module):
    """Features of several tiles, side by side, to class scores: Linear, BatchNorm, ReLU, dropout, Linear.

    [N, G, width] to [N, G, num_classes], for G groups of tiles of each image. What is dropped depends on the draws and
    on the image alone, so that a step can be repeated; an image's groups lose the same units.
    """

    def __init__(self, width: int, hidden_dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden_dim, bias=False)
        self.norm = nn.BatchNorm1d(hidden_dim)
        self.classify = nn.Linear(hidden_dim, num_classes)
        self.dropout = dropout

    def forward(self, groups: Tensor, draws: Draws) -> Tensor:
        hidden = self.norm(self.hidden(groups.flatten(0, 1))).relu().unflatten(0, groups.shape[:2])
        if self.training and self.dropout > 0:
            kept = draws.uniform(hidden.shape[2]) >= self.dropout
            hidden = hidden * (kept / (1 - self.dropout))[:, None].to(hidden.dtype)
        return self.classify(hidden)
