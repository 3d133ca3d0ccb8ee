"""Grey: the image without its colours, in as many channels as before."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._colour import are_colours, luma
from selfstudy.views._operation import Operation


@dataclass(frozen=True, kw_only=True)
class Grey(Operation):
    """The image without its colours."""

    p: float = 0.2  # SimCLR, arXiv:2002.05709, App. A

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        return ()

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return grey(images)

    def refusal(self, channels: int) -> str:
        return "" if are_colours(channels) else f"{channels} channels are no colours to take away: leave it out"


def grey(images: Tensor) -> Tensor:
    """Float32 [N, C, H, W] to its luma in all C channels, in place. One channel is grey already."""
    return images.copy_(luma(images, out=torch.empty_like(images[:, :1])))
