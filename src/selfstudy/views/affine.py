"""Affine: the image turned, moved, scaled and sheared by random amounts.

Source  torchvision's RandomAffine: the same ranges and the same matrix (rotation · scale · shear about the middle,
        then translation). Two differences: translations are not rounded to whole pixels, and images are read
        bilinearly, without the antialiasing that scales far below 1 would need.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._operation import Operation, check_range
from selfstudy.views._warp import warp


@dataclass(frozen=True, kw_only=True)
class Affine(Operation):
    """Turn, move, scale and shear."""

    degrees: float = 10.0  # rotation, uniform in [-degrees, degrees]
    translate: float = 0.1  # in image sides, along both axes, uniform in [-translate, translate]
    scale: tuple[float, float] = (0.9, 1.1)  # size of the result, uniform; above 1 enlarges
    shear: float = 10.0  # in degrees, along x, uniform in [-shear, shear]
    fill: float = 0.0  # what lies outside of the image: 0 black, 1 white

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("scale", self.scale, 0.0)
        if self.scale[0] == 0.0:
            raise ValueError("scale must be above 0: an image of no size shows nothing")
        if not 0.0 <= self.degrees <= 180.0:
            raise ValueError("degrees must be from 0 to 180; the rotation goes both ways")
        if not 0.0 <= self.translate <= 1.0:
            raise ValueError("translate must be a share of the image's side, from 0 to 1")
        if not 0.0 <= self.shear < 90.0:
            raise ValueError("shear must be from 0 to below 90 degrees")
        if not 0.0 <= self.fill <= 1.0:
            raise ValueError("fill must be a brightness, from 0 (black) to 1 (white)")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        angle, x, y, shear = draws.fork("angle, place, shear").uniform(4, -1.0, 1.0).unbind(dim=1)
        translate = self.translate * torch.stack([x * width, y * height], dim=1)
        scale = draws.fork("scale").uniform(1, *self.scale)[:, 0]
        return angle * self.degrees, translate, scale, shear * self.shear

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        degrees, translate, scale, shear = tables
        return affine(images, degrees, translate, scale, shear, self.fill)


def affine(
    images: Tensor, degrees: Tensor, translate: Tensor, scale: Tensor, shear: Tensor, fill: float = 0.0
) -> Tensor:
    """Move the content of float32 [N, C, H, W] by one affine map per image.

    degrees, scale, shear [N]: clockwise rotation, factor, degrees along x; translate [N, 2]: pixels to the right and
    down. Every pixel of the result is read where the inverse map puts it.
    """
    height, width = images.shape[2:]
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    tan = torch.deg2rad(shear).tan()
    forward = torch.stack([cos, -cos * tan - sin, sin, cos - sin * tan], dim=1)  # determinant 1 before scaling
    a, b, c, d = (forward / scale[:, None])[:, :, None].unbind(dim=1)
    x = (torch.arange(width, device=images.device) - (width - 1) / 2)[None, :] - translate[:, :1]
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[None, :] - translate[:, 1:]
    places = torch.empty(len(images), 2, height, width, device=images.device)
    torch.add((d * x * (2 / width))[:, None, :], (-b * y * (2 / width))[:, :, None], out=places[:, 0])
    torch.add((-c * x * (2 / height))[:, None, :], (a * y * (2 / height))[:, :, None], out=places[:, 1])
    return warp(images, places, fill)
