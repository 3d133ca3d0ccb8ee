"""The mean of all images that were to be drawn: what a decoder draws that has seen nothing of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from selfstudy.types import Tensors

HALF_A_LEVEL = 0.5 / 255  # no pixel is ever held to be surely black or white, which would make one surprise infinite


class MeanImage(nn.Module):
    """Running mean [1, C, S, S] of the images drawn so far, and the loss of drawing it for the last batch of them."""

    mean: Tensor
    count: Tensor  # batches in the mean
    loss: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, size, size))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("loss", torch.zeros(()))

    @torch.no_grad()
    def carry(self, images: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensors:
        """For after_step, from images [N, C, S, S] in [0, 1] and the method's loss(drawn, images)."""
        seen = images.float().mean(0, keepdim=True)
        drawn = torch.where(self.count > 0, self.mean, seen).clamp(HALF_A_LEVEL, 1 - HALF_A_LEVEL)
        return {"mean_image": seen, "loss_of_mean_image": loss(drawn.expand_as(images).to(images.dtype), images)}

    def update(self, carry: Tensors) -> None:
        self.count.add_(1)
        self.mean.lerp_(carry["mean_image"], 1.0 / self.count.float())
        self.loss.copy_(carry["loss_of_mean_image"])
