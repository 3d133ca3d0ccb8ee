"""Reading an image at places of one's own choice."""

import torch.nn.functional as F
from torch import Tensor


def warp(images: Tensor, places: Tensor, fill: float) -> Tensor:
    """Float32 [N, C, H, W] read bilinearly at `places` [N, 2, H, W], with `fill` all around it.

    Places are x and y from the image's middle, in half image sides: -1 and 1 are the outer edges of the edge pixels.
    """
    grid = places.permute(0, 2, 3, 1)
    if fill == 0.0:
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False).clamp_(0.0, 1.0)
    shifted = F.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False)
    return shifted.add_(fill).clamp_(0.0, 1.0)
