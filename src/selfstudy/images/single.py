"""single: thousands of small crops of one single picture: a control. What they teach, no second picture was needed for.

Source  Asano, Rupprecht, Vedaldi, ICLR 2020, arXiv:1904.13132, and their script: each crop is a random box of a random
        half-sized square of the picture (so that its middle is not shown most), turned and slanted, and half of the
        crops have their colours changed. They make as many crops as the compared set has images: 50,000 of 32 px,
        1.3 million of 256 px. A picture full of detail, such as a busy street, teaches far more than a plain one.
How     The script fills with black what turning moves into sight; corners would then give the turn away. Here what lies
        beside the box is seen instead, and beyond the picture's edge its mirror image. Crop i is made from the seed, i,
        the picture and the working size alone.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from selfstudy.errors import UserError
from selfstudy.images._colours import grey_or_rgb
from selfstudy.images._decode import FORMATS, REDUCING_GAP, decode, quietly
from selfstudy.images._imageset import Skipped
from selfstudy.images._names import expand, printable
from selfstudy.images._source import Listing, Source
from selfstudy.images._squares import Recipe
from selfstudy.rng import Rng

# All from the authors' script.
_AREA, _ASPECT = (1 / 500, 1.0), (3 / 4, 4 / 3)  # of a box: share of the half-sized square; width / height
_DEGREES, _SHEAR = 30.0, 30.0  # largest turn, and slant along x
_SHOWN = math.sqrt(0.5)  # share of the box's sides that the crop shows: the rest is margin for the turn
_JITTER, _HUE = 0.4, 0.1  # strength of brightness, contrast, saturation; turns of the colour circle
# How far from the middle, in crop sides / 2, the corners come at most: |cos - sin t| + |cos t + sin| for a turn of 15
# degrees, where t is the tangent of the largest slant.
_REACH = math.sqrt(2 + 2 * math.tan(math.radians(_SHEAR)) ** 2)


@dataclass(frozen=True, kw_only=True)
class Single(Source):
    """`single:PATH` of one picture, at least twice as large as the encoder's input. No labels."""

    single: Path
    crops: int = 5000  # as many as there are real images to compare with
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crops < 1:
            raise ValueError(f"crops is {self.crops}, but must be 1 or more")

    def listing(self, labelled: bool) -> Listing:
        return Listing(pictures=self.make)

    def make(self, image_size: int) -> np.ndarray:
        """Uint8 [N, S, S] of a grey picture, else [N, S, S, 3]."""
        picture = _read(expand(self.single), image_size)
        pixels, half = np.asarray(picture), min(picture.size) // 2
        side = math.ceil(_REACH * image_size) + 2  # with a pixel to interpolate with
        scale = side / (image_size / _SHOWN)  # of the box, to hold what a turn may show
        border = math.ceil((scale - 1) / 2 * half) + 1
        widths = [(border, border), (border, border), (0, 0)][: pixels.ndim]
        mirrored = Image.fromarray(np.pad(pixels, widths, "symmetric"))
        rng = Rng.from_seed(self.seed).fork("single")

        def crop(position: int) -> np.ndarray:
            draws = rng.fork(position).numpy()
            left, top, width, height = random_box(*picture.size, half, draws)
            x, y = border + left + width / 2, border + top + height / 2
            box = (x - scale * width / 2, y - scale * height / 2, x + scale * width / 2, y + scale * height / 2)
            seen = mirrored.resize((side, side), Image.Resampling.BICUBIC, box, REDUCING_GAP)
            turned = turn(seen, image_size, *draws.uniform((-_DEGREES, -_SHEAR), (_DEGREES, _SHEAR)))
            return np.asarray(jitter(turned, draws) if draws.random() < 0.5 else turned)

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            return np.stack(list(threads.map(crop, range(self.crops))))


def _read(path: Path, image_size: int) -> Image.Image:
    """The picture upright, grey or RGB, at its full size."""
    with quietly():
        found = decode(path, Recipe(most=image_size))  # knows how to say what is wrong with a file
        if isinstance(found, Skipped):
            raise UserError(f"the picture {found.path} {found.reason}")
        with Image.open(path, formats=FORMATS) as image:
            picture = grey_or_rgb(ImageOps.exif_transpose(image))
    if min(picture.size) < 2 * image_size:
        raise UserError(
            f"the picture {printable(path)} is {picture.width} x {picture.height} pixels, but for crops of {image_size} pixels "
            f"its shorter side must have at least {2 * image_size}"
        )
    return picture


def random_box(width: int, height: int, half: int, draws: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels of a box inside a random square of `half` pixels of the picture.

    Boxes that do not fit are drawn again: a fixed one in their place would come too often.
    """
    left, top = draws.integers(0, (width - half, height - half), endpoint=True)
    while True:
        area = half**2 * draws.uniform(*_AREA)
        aspect = math.exp(draws.uniform(*np.log(_ASPECT)))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 1 <= wide <= half and 1 <= high <= half:
            x, y = draws.integers(0, (half - wide, half - high), endpoint=True)
            return int(left + x), int(top + y), wide, high


def turn(image: Image.Image, size: int, degrees: float, shear: float) -> Image.Image:
    """The middle `size` pixels of a square image turned clockwise, after a slant along x, read bilinearly."""
    cos, sin, tan = math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), math.tan(math.radians(shear))
    # Where a pixel comes from: the inverse of turn times slant, whose determinant is 1, about both middles.
    rows = ((cos - sin * tan, cos * tan + sin), (-sin, cos))
    inverse = [value for a, b in rows for value in (a, b, image.width / 2 - (a + b) * size / 2)]
    return image.transform((size, size), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)


def jitter(image: Image.Image, draws: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue by random factors in random order. Grey has neither of the last two."""
    brightness, contrast, saturation = draws.uniform(1 - _JITTER, 1 + _JITTER, 3).tolist()
    turns = draws.uniform(-_HUE, _HUE)
    steps = (
        lambda image: ImageEnhance.Brightness(image).enhance(brightness),
        lambda image: ImageEnhance.Contrast(image).enhance(contrast),
        lambda image: ImageEnhance.Color(image).enhance(saturation),
        lambda image: turn_hue(image, turns),
    )
    for position in draws.permutation(len(steps)):
        image = steps[position](image)
    return image


def turn_hue(image: Image.Image, turns: float) -> Image.Image:
    """Every hue moved on by `turns` of the colour circle."""
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    moved = hue.point([(level + round(turns * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, saturation, value)).convert("RGB")
