"""Fixed codes for the places of patches."""

import torch
from torch import Tensor


def sin_cos_positions(grid: int, width: int) -> Tensor:
    """Float32 [grid * grid, width], patches row by row: where each lies, as sines and cosines of its column and row.

    Vaswani et al. 2017, arXiv:1706.03762, §3.5, for two axes as MAE's code has them (He et al. 2022, App. A.1): the first
    half of a row encodes the column, the second half the row, each as width / 4 sines, then as many cosines, of
    frequencies 10000^(-i / (width / 4)). MoCo v3 alternates the axes in another order; weights do not carry over.
    """
    assert width % 4 == 0, "two axes with a sine and a cosine each"
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, width / 2]
    column, row = axis.repeat(grid, 1), axis.repeat_interleave(grid, 0)
    return torch.cat([column, row], dim=1).float()
