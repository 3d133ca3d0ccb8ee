"""Colour as a network can name it: CIE Lab, and its colours a and b in bins of 10 by 10.

Source  Lab: CIE 15 for white D65, from sRGB (IEC 61966-2-1) by way of light, not of pixel values. Bins, soft targets and
        weights: Zhang, Isola, Efros, ECCV 2016, arXiv:1603.08511, §2.1-2.3, and its code.
Bins    the cells that sRGB reaches: 261. The paper's list has 313; no simple rule gives it, so ours is stored with a run.
Shapes  colours are [..., 2] (a, b); Q bins.
"""

import torch
from torch import Tensor

from selfstudy.encoder import cie_root, lightness, linear_light
from selfstudy.nn.precision import in_float32

SPACING = 10.0  # of the bins; §2.1
NEIGHBOURS, SIGMA = 10, 5.0  # bins that a colour is shared among, and the width of its Gaussian: the paper's code
ANNEALING = 0.38  # temperature of the decoded mean; §2.3
GREY_BELOW = 5.0  # an image without any |a| or |b| above it is grey: the paper's code

# Of sRGB's colours to X, Y, Z of white D65, each relative to white's, so rows sum to 1 and grey is a = b = 0 exactly.
_X, _Z = (0.4339499, 0.3762098, 0.1898403), (0.0177566, 0.1094680, 0.8727754)
_FROM_LIGHT = (  # X, Y, Z, relative to white's, back to sRGB's colours
    (3.0799556, -1.5371391, -0.5428164), (-0.9212588, 1.8760110, 0.0452478), (0.0528874, -0.2040259, 1.1511385),
)  # fmt: skip


def rgb_to_lab(images: Tensor) -> Tensor:
    """[N, 3, H, W] of sRGB values in [0, 1] to Lab: L 0 to 100, a -86.2 to 98.2, b -107.9 to 94.5."""
    red, green, blue = linear_light(images).split(1, dim=1)  # products by hand: a matrix product may run in 16 bits
    x, z = (cie_root(row[0] * red + row[1] * green + row[2] * blue) for row in (_X, _Z))
    light = 100 * lightness(images)
    y = (light + 16) / 116
    return torch.cat([light, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse, [N, 3, H, W]; colours that sRGB does not reach are moved to its edge."""
    light, a, b = lab.split(1, dim=1)
    y = (light + 16) / 116
    x, y, z = (_cube(root) for root in (y + a / 500, y, y - b / 200))
    linear = torch.cat([row[0] * x + row[1] * y + row[2] * z for row in _FROM_LIGHT], dim=1).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


def _cube(root: Tensor) -> Tensor:
    knee = 6 / 29
    return torch.where(root > knee, root**3, 3 * knee**2 * (root - 4 / 29))


def gamut_bins() -> Tensor:
    """Float32 [Q, 2]: the centres, multiples of SPACING, of all cells that hold a colour of sRGB; Q = 261.

    Of a lattice with 65 steps for each of red, green and blue: as many cells as all 256 levels reach.
    """
    level = torch.linspace(0, 1, 65, dtype=torch.float64)
    colours = rgb_to_lab(torch.cartesian_prod(level, level, level).T[None, :, None])[0, 1:, 0].T
    return ((colours / SPACING).round().unique(dim=0) * SPACING).float()


def soft_encode(colours: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
    """[..., 2] to the NEIGHBOURS nearest of [Q, 2] bins, nearest first, and their shares: [..., 10] each, shares sum to 1."""
    squared = (colours[..., :1] - bins[:, 0]).square() + (colours[..., 1:] - bins[:, 1]).square()
    distance, nearest = squared.topk(NEIGHBOURS, largest=False)
    return nearest, (-distance / (2 * SIGMA**2)).softmax(-1)


@in_float32
def decode(scores: Tensor, bins: Tensor, temperature: float = ANNEALING) -> Tensor:
    """Scores [..., Q] to colours [..., 2]: the mean of the bins by softmax of scores / temperature.

    Towards 0 it is the likeliest bin, vivid and patchy; at 1 it is the mean, which is pale.
    """
    return (scores / temperature).softmax(-1) @ bins


def rebalancing(frequency: Tensor, uniform_share: float) -> Tensor:
    """Weights [Q] of the bins from how frequent they are, [Q], of sum 1: rare colours count more, the mean weight is 1.

    w ~ 1 / ((1 - uniform_share) * frequency + uniform_share / bins seen), scaled so that the sum of frequency * w is 1.
    A bin that was never seen weighs as much as one that was almost never.
    """
    uniform = 1 / (frequency > 0).sum()
    weights = 1 / ((1 - uniform_share) * frequency + uniform_share * uniform)
    return weights / (frequency * weights).sum()
