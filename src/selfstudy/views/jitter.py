"""Jitter: brightness, contrast, saturation and hue changed by random factors, in random order.

Source  Howard 2013, arXiv:1312.5402, in the form and with the arithmetic of torchvision's ColorJitter, which SimCLR
        (arXiv:2002.05709, App. A) uses; every step is clamped to [0, 1].
How     Brightness, contrast and saturation blend the image with black, with its mean grey and with its own grey. So
        all images take the same three blends, each with factors of its own, whatever order it drew. On a GPU the hue
        comes once, between three blends of which those that follow it are idle and three of which those that precede it
        are: no branch, no wait for the device. A CPU takes images with the same place of the hue together instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._colour import are_colours, luma
from selfstudy.views._operation import Operation, per_image

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = tuple(permutations(range(4)))

_TINY = 1e-12  # stands for a chroma of 0, where the hue is free; far below the spacing of pixel values


@dataclass(frozen=True, kw_only=True)
class Jitter(Operation):
    """Random brightness, contrast, saturation and hue. Grey images have no saturation and hue to change."""

    p: float = 0.8  # SimCLR, App. A, and the four strengths
    brightness: float = 0.8  # factors are uniform in [max(0, 1 - b), 1 + b]
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2  # in turns of the colour circle: uniform in [-hue, hue]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 (no change) or more")
        if not 0.0 <= self.hue <= 0.5:
            raise ValueError("hue must be from 0 to 0.5: half a turn reaches every colour")

    def draw(self, draws: Draws, height: int, width: int) -> tuple[Tensor, ...]:
        *uniform, turn = draws.fork("factors").uniform(4).unbind(dim=1)
        lowest = [max(0.0, 1.0 - strength) for strength in (self.brightness, self.contrast, self.saturation)]
        highest = [1.0 + strength for strength in (self.brightness, self.contrast, self.saturation)]
        factors = [low + (high - low) * u for low, high, u in zip(lowest, highest, uniform, strict=True)]
        shift = (2.0 * turn - 1.0) * self.hue
        return torch.stack(factors, dim=1), shift, draws.fork("order").integers(0, len(ORDERS))[:, 0]

    def ways(self, *tables: Tensor) -> Tensor:
        order = tables[2]
        return _orders(order.device)[1][order]

    def apply(self, images: Tensor, *tables: Tensor) -> Tensor:
        return jitter(images, *tables)

    def refusal(self, channels: int) -> str:
        if are_colours(channels) or self.hue == self.saturation == 0.0:
            return ""
        return f"images of {channels} channels have no hue and saturation: set both to 0, or use intensity instead"


def jitter(images: Tensor, factors: Tensor, shift: Tensor, order: Tensor) -> Tensor:
    """Apply given changes to float32 [N, C, H, W] in [0, 1], in place. Where C is not 3 the hue stays, and where it is 1 the saturation.

    factors [N, 3] of brightness, contrast and saturation; shift [N] of the hue, in turns; order int64 [N] into ORDERS.
    """
    kinds, place = (table[order] for table in _orders(images.device))
    factors = factors.gather(1, kinds)
    if images.shape[1] == 1:
        factors = torch.where(kinds == SATURATION, 1.0, factors)
        return _blend(images, factors, kinds, range(3))
    if images.shape[1] != 3:  # the saturation has no strength there, see `refusal`
        return _blend(images, factors, kinds, range(3))
    way = run_by_run if images.device.type == "cpu" else all_at_once
    return way(images, factors, kinds, shift, place)


def run_by_run(images: Tensor, factors: Tensor, kinds: Tensor, shift: Tensor, place: Tensor) -> Tensor:
    """For each run of images with the same place of the hue, int64 [N] in 0 .. 3: the blends before it, the hue, the rest."""
    start = 0
    for now, count in zip(*(run.tolist() for run in place.unique_consecutive(return_counts=True)), strict=True):
        rows = slice(start, start := start + count)
        _blend(images[rows], factors[rows], kinds[rows], range(now))
        _turn_hue(images[rows], shift[rows])
        _blend(images[rows], factors[rows], kinds[rows], range(now, 3))
    return images


def all_at_once(images: Tensor, factors: Tensor, kinds: Tensor, shift: Tensor, place: Tensor) -> Tensor:
    """The same without asking the device for anything: idle blends have a factor of 1."""
    before = torch.arange(3, device=images.device) < place[:, None]
    _blend(images, torch.where(before, factors, 1.0), kinds, range(3))
    _turn_hue(images, shift)
    return _blend(images, torch.where(before, 1.0, factors), kinds, range(3))


@lru_cache(maxsize=8)
def _orders(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each of ORDERS: the three blends, int64 [24, 3], and how many of them come before the hue, int64 [24]."""
    blends = [[kind for kind in order if kind != HUE] for order in ORDERS]
    return torch.tensor(blends, device=device), torch.tensor([order.index(HUE) for order in ORDERS], device=device)


def _blend(images: Tensor, factors: Tensor, kinds: Tensor, columns: Iterable[int]) -> Tensor:
    """Blends in place, one for each of `columns` of [N, 3] `factors` and their `kinds`."""
    rest = 1.0 - factors
    tables = (factors, rest * (kinds == CONTRAST), rest * (kinds == SATURATION))
    grey = torch.empty_like(images[:, :1])
    for column in columns:
        of_image, of_mean, of_grey = (per_image(table[:, column]) for table in tables)
        offset = luma(images, out=grey).mean(dim=(1, 2, 3), keepdim=True).mul_(of_mean)
        torch.addcmul(grey.mul_(of_grey).add_(offset), images, of_image, out=images).clamp_(0.0, 1.0)
    return images


def _turn_hue(images: Tensor, shift: Tensor) -> None:
    """Turn the hue of [N, 3, H, W] by [N] turns in place, keeping a pixel's largest and smallest channel, as HSV does.

    On the CPU memory decides: all that lies between stands in one scratch tensor, and comparisons fill float masks by
    which `lerp_`, exact at 0 and 1, selects; boolean masks and `torch.where` take ten times as long.
    """
    red, green, blue = images.unbind(dim=1)
    value, least, chroma, hue, other, mask = red.new_empty(6, *red.shape)
    torch.maximum(torch.maximum(red, green, out=value), blue, out=value)
    torch.minimum(torch.minimum(red, green, out=least), blue, out=least)
    torch.sub(value, least, out=chroma)
    torch.sub(red, green, out=hue).add_(chroma, alpha=4.0)  # in sixths of a turn, times the chroma
    torch.sub(blue, red, out=other).add_(chroma, alpha=2.0)
    hue.lerp_(other, torch.eq(value, green, out=mask))
    hue.lerp_(torch.sub(green, blue, out=other), torch.eq(value, red, out=mask))
    hue.div_(chroma.mul_(6.0).clamp_(min=_TINY)).add_((shift + 1.0)[:, None, None]).frac_().mul_(6.0)
    # How far a channel is from one end of the span to the other is a trapezium of the hue: red 1 at 0, 0 from 2 to 4.
    from_value, from_least = (value, least), (least, value)
    for channel, middle, ends in ((red, 3.0, from_least), (green, 2.0, from_value), (blue, 4.0, from_value)):
        torch.lerp(*ends, torch.sub(hue, middle, out=other).abs_().sub_(1.0).clamp_(0.0, 1.0), out=channel)
