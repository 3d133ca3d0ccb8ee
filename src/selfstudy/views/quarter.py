"""Quarter: the image turned by a random number of quarter turns: for pictures without an up, of cells or from above."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation, per_image


@dataclass(frozen=True, kw_only=True)
class Quarter(Operation):
    """Turn by 90, 180 or 270 degrees, anticlockwise; an image that is not square by 180."""

    p: float = 0.75  # with the quarter that stays as it is, every turn comes as often

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        turns = draws.fork("turns").integers(1, 4)[:, 0]
        return (turns if height == width else torch.full_like(turns, 2),)

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return turn(images, *tables)


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Float32 [N, C, H, W] by int64 [N] quarter turns anticlockwise; odd ones need H = W."""
    halves = torch.where(per_image(turns >= 2), images.flip((2, 3)), images)
    if images.shape[2] != images.shape[3]:
        return halves
    return torch.where(per_image(turns % 2 == 1), halves.rot90(1, (2, 3)), halves)
