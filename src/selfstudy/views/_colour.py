"""What operations on colours share."""

import torch
from torch import Tensor

# ITU-R BT.601-7, §2.5.1, as Pillow and torchvision have it; 0.2989 is Matlab's rounding of 0.299.
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114


def luma(images: Tensor, out: Tensor) -> Tensor:
    """Float32 [N, 3 or 1, H, W] to its brightness, written to `out` [N, 1, H, W]; of C other channels their mean."""
    if images.shape[1] == 1:
        return out.copy_(images)
    if images.shape[1] != 3:
        return torch.mean(images, dim=1, keepdim=True, out=out)
    red, green, blue = images.split(1, dim=1)
    return torch.mul(red, _RED, out=out).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def are_colours(channels: int) -> bool:
    """Whether images of so many channels are grey or red, green and blue."""
    return channels in (1, 3)
