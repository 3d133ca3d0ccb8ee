"""A convolutional decoder from a feature vector to an image of any size."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionalDecoder(nn.Module):
    """[N, dim] to [N, channels, size, size] in [0, 1].

    A linear layer makes a small grid; each stage doubles it by nearest-neighbour and convolves (Odena et al. 2016: no
    checkerboard, which transposed convolutions leave), halving the width; what exceeds `size` is cut off.
    """

    def __init__(self, dim: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        stages = max(0, (size - 1).bit_length() - 3)  # so that the first grid is 4 to 8 pixels a side
        self.size, self.width = size, width
        self.grid = -(-size // 2**stages)
        self.start = nn.Linear(dim, width * self.grid**2)
        widths = [max(width // 2**stage, min(width, 16)) for stage in range(stages + 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(wide, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)
            )
            for wide, narrow in itertools.pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        grid = F.relu(self.start(latent)).view(-1, self.width, self.grid, self.grid)
        for stage in self.stages:
            grid = stage(F.interpolate(grid, scale_factor=2.0))
        return torch.sigmoid(self.last(grid))[:, :, : self.size, : self.size]
