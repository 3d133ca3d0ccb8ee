"""Random numbers by the pixel, made from one seed per image. `Draws` makes a number of 64 bits, here 16 or 32 do."""

import math

import torch
from torch import Tensor

from selfstudy.rng import Draws


def field_seeds(draws: Draws) -> Tensor:
    """Int64 [N]: what a field is made from, wherever and whenever that is."""
    return draws.bits(1)[:, 0]


def uniform_field(seeds: Tensor, count: int) -> Tensor:
    """Float32 [N, count], uniform in (-1, 1) in steps of 2^-15."""
    words = Draws(0, seeds).bits(-(-count // 4)).view(torch.int16)
    return words[:, :count].float().add_(0.5).mul_(2.0**-15)


def normal_field(seeds: Tensor, count: int) -> Tensor:
    """Float32 [N, count], standard normal: both values of Box and Muller 1958 from 31 and 32 bits, |x| below 6.7."""
    words = Draws(0, seeds).bits(-(-count // 2)).view(torch.int32).view(len(seeds), -1, 2)
    radius = ((words[..., 0] & 0x7FFFFFFF).float() + 0.5).mul_(2.0**-31).log_().mul_(-2.0).sqrt_()
    angle = words[..., 1].float().mul_(math.pi * 2.0**-31)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]
