"""Separable linear operations (resizing, blurring) as two matrix products per image."""

import torch
from torch import Tensor


def two_products(vertical: Tensor, images: Tensor, horizontal: Tensor) -> Tensor:
    """`vertical[n] @ images[n, c] @ horizontal[n].T` for every image and channel, clamped to [0, 1].

    vertical [N, h, H], images [N, C, H, W] of any dtype, horizontal [N, w, W]; float32 [N, C, h, w], contiguous.
    """
    count, channels, height, width = images.shape
    # Rows of all channels side by side: one product per image instead of one per channel, in both directions.
    rows_first = images.permute(0, 2, 1, 3).contiguous().float().view(count, height, channels * width)
    product = torch.bmm(vertical, rows_first).view(count, -1, width)
    product = torch.bmm(product, horizontal.transpose(1, 2))
    product = product.view(count, vertical.shape[1], channels, horizontal.shape[1]).transpose(1, 2)
    return torch.clamp(product, 0.0, 1.0, out=torch.empty(product.shape, device=product.device))
