"""Intensity: every channel brightened, stretched and bent by random amounts of its own; for channels that are no colours.

Source  The form of jitter's brightness and contrast, channel by channel, and the gamma of nnU-Net's augmentation (Isensee et
        al., Nature Methods 2021, supplement): stains and lamps vary from slide to slide, each on its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation

_MOST_CHANNELS = 64  # drawn for, whatever the image has: what one channel gets does not hang on how many there are


@dataclass(frozen=True, kw_only=True)
class Intensity(Operation):
    """Random brightness, contrast and gamma of each channel."""

    p: float = 0.8  # as jitter's
    brightness: float = 0.2  # a factor, uniform in [1 - b, 1 + b]
    contrast: float = 0.2  # about the channel's mean, uniform in [1 - c, 1 + c]
    gamma: float = 0.3  # the exponent is 2 to a power uniform in [-gamma, gamma]; nnU-Net's 0.7 to 1.5 is about 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from 0 (no change) to 1")
        if not 0.0 <= self.gamma <= 4.0:
            raise ValueError("gamma must be from 0 (no change) to 4, in doublings of the exponent")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        amounts = draws.fork("channels").uniform(3 * _MOST_CHANNELS, -1.0, 1.0).view(-1, _MOST_CHANNELS, 3)
        brightness, contrast, bend = amounts.unbind(dim=2)
        return 1 + self.brightness * brightness, 1 + self.contrast * contrast, 2 ** (self.gamma * bend)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return change_intensity(images, *(table[:, : images.shape[1]] for table in tables))

    def refusal(self, channels: int) -> str:
        return "" if channels <= _MOST_CHANNELS else f"it is made for at most {_MOST_CHANNELS} channels"


def change_intensity(images: Tensor, brightness: Tensor, contrast: Tensor, exponent: Tensor) -> Tensor:
    """Float32 [N, C, H, W] in [0, 1] with [N, C] factors and exponents: x^g, then about the mean, then the factor; clamped."""
    brightness, contrast, exponent = (table[:, :, None, None] for table in (brightness, contrast, exponent))
    bent = images.clamp(0.0, 1.0) ** exponent
    mean = bent.mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean, bent, contrast).mul_(brightness).clamp_(0.0, 1.0)
