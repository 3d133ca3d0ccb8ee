"""Separable linear operations (resizing, blurring) as two matrix products per image."""

import torch
from torch import Tensor


def two_products(vertical: Tensor, images: Tensor, horizontal: Tensor) -> Tensor:
    """`vertical[n] @ images[n, c] @ horizontal[n].T` for every image and channel, clamped to [0, 1].

    vertical [N, h, H], images [N, C, H, W] of any dtype, horizontal [N, w, W]; float32 [N, C, h, w], contiguous.
    """
    count, channels, height, width = images.shape
    # The rows of all channels take part in one product; the columns need one per channel, which costs less than moving
    # the channels between the rows and back.
    narrowed = torch.bmm(images.float().reshape(count, channels * height, width), horizontal.transpose(1, 2))
    vertical = vertical[:, None].expand(-1, channels, -1, -1).reshape(count * channels, -1, height)
    product = torch.bmm(vertical, narrowed.view(count * channels, height, -1))
    return product.clamp_(0.0, 1.0).view(count, channels, *product.shape[1:])
