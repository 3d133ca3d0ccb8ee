"""Random boxes in an image: the part that a crop keeps, the part that erasing covers."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from selfstudy.rng import Draws

_TRIES = 10  # torchvision's RandomResizedCrop and RandomErasing


class Boxes(NamedTuple):
    """One box per image in whole pixels, each int64 [N]."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def random_boxes(
    draws: Draws, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Boxes, Tensor]:
    """Boxes of random area (uniform share of the image) and aspect (width / height, log-uniform) at random places.

    Source: Szegedy et al. 2015, arXiv:1409.4842, §6, in torchvision's form: the first of ten tries that fits into the
    image. The second value, bool [N], is False where none did (such a box covers the whole image).
    """
    share, aspect, corner = draws.uniform(2 * _TRIES + 2).split((_TRIES, _TRIES, 2), dim=1)
    pixels = height * width * (area[0] + (area[1] - area[0]) * share)
    aspect = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * aspect).exp()
    widths, heights = (pixels * aspect).sqrt().round(), (pixels / aspect).sqrt().round()
    fits = (widths >= 1) & (widths <= width) & (heights >= 1) & (heights <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    box_height = torch.where(found, heights.gather(1, first)[:, 0], height)
    box_width = torch.where(found, widths.gather(1, first)[:, 0], width)
    top = (corner[:, 0] * (height - box_height + 1)).floor().minimum(height - box_height)
    left = (corner[:, 1] * (width - box_width + 1)).floor().minimum(width - box_width)
    return Boxes(top.long(), left.long(), box_height.long(), box_width.long()), found
