"""Jitter: brightness, contrast, saturation and hue changed by random factors, in random order.

Source  Howard 2013, arXiv:1312.5402, in the form and with the arithmetic of torchvision's ColorJitter, which SimCLR
        (arXiv:2002.05709, App. A) uses; every step is clamped to [0, 1].
How     Brightness, contrast and saturation blend the image with black, with its mean grey and with its own grey. So
        all images can take the same three blends, each with factors of its own, whatever order it drew; hue comes once,
        between those blends that precede it and those that follow. No branch, no sorting, no wait for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.rng import Draws
from selfstudy.views._colour import luma
from selfstudy.views._operation import Operation, in_blocks, per_image

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # what `order` holds

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

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        uniform = draws.fork("factors").uniform(4)
        strengths = (self.brightness, self.contrast, self.saturation)
        ranges = torch.tensor([(max(0.0, 1.0 - s), 1.0 + s) for s in strengths]).to(images.device, non_blocking=True)
        factors = torch.lerp(ranges[:, 0], ranges[:, 1], uniform[:, :3])
        shift = (2.0 * uniform[:, 3] - 1.0) * self.hue
        order = draws.fork("order").permutation(3)
        hue_after = draws.fork("hue").integers(0, 4)[:, 0]
        return jitter(images, factors, order, shift, hue_after)


def jitter(images: Tensor, factors: Tensor, order: Tensor, shift: Tensor, hue_after: Tensor) -> Tensor:
    """Apply given changes to float32 [N, C, H, W] in [0, 1].

    factors   [N, 3]: of brightness, contrast and saturation
    order     int64 [N, 3]: a permutation of BRIGHTNESS, CONTRAST, SATURATION, the first to be applied first
    shift     [N]: of the hue, in turns
    hue_after int64 [N]: how many of the three come before the hue
    """
    factors = factors.gather(1, order)
    if images.shape[1] == 1:
        factors = torch.where(order == SATURATION, 1.0, factors)
        return in_blocks(lambda images, *tables: _blends(images.clone(), *tables), images, factors, order)
    before = torch.arange(3, device=images.device) < hue_after[:, None]
    first, second = torch.where(before, factors, 1.0), torch.where(before, 1.0, factors)

    def block(images: Tensor, order: Tensor, first: Tensor, second: Tensor, shift: Tensor) -> Tensor:
        return _blends(_turn_hue(_blends(images.clone(), first, order), shift), second, order)

    return in_blocks(block, images, order, first, second, shift)


def _blends(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Three blends in place: column k of [N, 3] `factors` belongs to the kind in column k of `order`; 1 changes nothing."""
    rest = 1.0 - factors
    of_mean = rest * (order == CONTRAST)
    of_grey = rest * (order == SATURATION)
    for k in range(3):
        grey = luma(images)
        mean = grey.mean(dim=(1, 2)) * of_mean[:, k]
        reference = grey.mul_(of_grey[:, k, None, None]).add_(mean[:, None, None])
        images.mul_(per_image(factors[:, k])).add_(reference[:, None]).clamp_(0.0, 1.0)
    return images


def _turn_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of [N, 3, H, W] by [N] turns in place, keeping a pixel's largest and smallest channel, as HSV does.

    Comparisons fill float masks and `lerp_`, exact at 0 and 1, selects by them: on the CPU boolean masks and
    `torch.where` take ten times as long.
    """
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(red, green).maximum(blue)
    least = torch.minimum(red, green).minimum(blue)
    chroma6 = (value - least).mul_(6.0)
    is_red, is_green = (torch.eq(value, channel, out=torch.empty_like(value)) for channel in (red, green))
    hue = (red - green).add_(chroma6, alpha=4 / 6)
    hue.lerp_((blue - red).add_(chroma6, alpha=2 / 6), is_green).lerp_(green - blue, is_red)
    hue.div_(chroma6.clamp(min=_TINY)).add_((shift + 1.0)[:, None, None]).frac_()
    # With t the hue in turns, red is least + chroma * clamp(|6 t - 3| - 1, 0, 1); green and blue likewise.
    least.sub_(chroma6, alpha=1 / 6)
    value.add_(chroma6, alpha=1 / 6)
    for channel, middle in ((red, 1 / 2), (green, 1 / 3), (blue, 2 / 3)):
        torch.sub(hue, middle, out=channel).abs_().clamp_(1 / 6, 1 / 3).mul_(chroma6)
    red.add_(least)
    torch.sub(value, green, out=green)
    torch.sub(value, blue, out=blue)
    return images.clamp_(0.0, 1.0)
