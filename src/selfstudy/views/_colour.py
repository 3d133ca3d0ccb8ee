"""What operations on colours share."""

from torch import Tensor

# ITU-R BT.601-7, §2.5.1, as Pillow and torchvision round it; torchvision's 0.2989 is Matlab's rounding of 0.299.
_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114


def luma(images: Tensor) -> Tensor:
    """Float [N, 3 or 1, H, W] to its brightness [N, H, W], a tensor of its own."""
    if images.shape[1] == 1:
        return images[:, 0].clone()
    red, green, blue = images.unbind(dim=1)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)
