"""Features: one cached pass of an encoder over a set, and their standardisation. N images, D width."""

import torch
from torch import Tensor

from selfstudy.encoder import Encoder
from selfstudy.errors import RunError
from selfstudy.images import ImageSet

# A column whose deviation is this small beside its mean is constant but for float32 rounding (2^-23, and a few
# operations on it): scaled to unit deviation, the rounding would pass for information.
_ROUNDING = 16 * torch.finfo(torch.float32).eps
BATCH = 512  # images in one pass of an encoder


def features(encoder: Encoder, images: ImageSet, device: torch.device | str, batch_size: int) -> Tensor:
    """Float32 [N, D] on the CPU: what the encoder makes of every image, in eval mode, without augmentation.

    Raises RunError if any of them is NaN or infinite.
    """
    return encode(encoder, images, torch.arange(len(images)), device, batch_size)


def encode(
    encoder: Encoder, images: ImageSet, rows: Tensor, device: torch.device | str, batch_size: int = BATCH
) -> Tensor:
    """The same of the rows at int64 positions `rows`, float32 [len(rows), D]; the images may lie on the disk."""
    parts = [encoder(images.images[part], batch_size=batch_size, device=device) for part in rows.split(batch_size)]
    values = torch.cat(parts) if parts else torch.empty(0, encoder.dim)
    require_finite(values)
    return values


def require_finite(values: Tensor) -> None:
    """Raises RunError if features [N, D] hold NaN or infinity, and says of how many images."""
    broken = ~torch.isfinite(values).all(dim=1)
    if broken.any():
        raise RunError(
            f"the encoder gives NaN or infinite features for {int(broken.sum())} of {len(values)} images, "
            f"so it cannot be evaluated; its training diverged: try a smaller learning rate"
        )


def standardise(values: Tensor, pool_rows: Tensor, rows: Tensor) -> Tensor:
    """Float32 [len(rows), D]: those rows with zero mean and unit deviation, both measured over `pool_rows`.

    The pool is all the training images, labelled or not. No label is used, so this costs none; and the deviation of
    ten labelled images alone would be mostly noise. A constant column becomes zero.
    """
    mean, scale = location_and_scale(values, pool_rows)
    return (values[rows] - mean) / scale


def location_and_scale(values: Tensor, pool_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over `pool_rows` of every column, [D] each; the deviation of a constant column is given as 1."""
    std, mean = torch.std_mean(values[pool_rows], dim=0, correction=0)
    return mean, torch.where(std > _ROUNDING * mean.abs(), std, torch.ones_like(std))
