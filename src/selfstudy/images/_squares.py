"""From pictures of any shape to square ones of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selfstudy.encoder import Fit, Tiles
from selfstudy.images._colours import Unusable


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides, beside its bytes, what is stored of a picture."""

    most: int  # pixels a side at most
    fit: Fit = "crop"
    tiles: Tiles | None = None
    channels: int = 0  # 0: grey or colour, whatever each picture is
    levels: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A square picture at most `Recipe.most` pixels a side, not yet at the common size of its set."""

    pixels: np.ndarray  # uint8 [S, S] if grey, else [S, S, C]
    tile: int = 0  # its place on the page, counted row by row


def square_of(array: np.ndarray, extent: tuple[float, float], recipe: Recipe) -> np.ndarray:
    """Uint8 [H, W] or [H, W, C] to [S, S] or [S, S, C]; channel by channel where they are neither grey nor colour."""
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        channels = [np.ascontiguousarray(array[:, :, channel]) for channel in range(array.shape[2])]
        squares = [square(Image.fromarray(channel), extent, recipe.most, recipe.fit) for channel in channels]
        return np.stack([np.asarray(square) for square in squares], axis=2)
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else np.ascontiguousarray(array))
    return as_many_channels(np.asarray(square(image, extent, recipe.most, recipe.fit)), recipe.channels)


def square(image: Image.Image, extent: tuple[float, float], most: int, fit: Fit) -> Image.Image:
    """A square of the picture's own side, at most `most` pixels: the short side if cropped, else the long one.

    `extent` is width and height in pixels of `image`; after a reduced decoding they are no whole numbers.
    """
    width, height = extent
    if fit == "crop":
        short = min(width, height)
        left, top = (width - short) / 2, (height - short) / 2
        return _resize(image, min(int(short), most), min(int(short), most), (left, top, left + short, top + short))
    long = max(width, height)
    side = min(int(long), most)
    if fit == "squash":
        return _resize(image, side, side, (0, 0, width, height))
    small_width, small_height = max(1, round(width * side / long)), max(1, round(height * side / long))
    small = _resize(image, small_width, small_height, (0, 0, width, height))
    canvas = Image.new(small.mode, (side, side), _border_colour(np.asarray(small)))
    canvas.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return canvas


def _resize(image: Image.Image, width: int, height: int, box: tuple[float, float, float, float]) -> Image.Image:
    if (width, height) == (box[2] - box[0], box[3] - box[1]):
        left, top = int(box[0]), int(box[1])
        return image.crop((left, top, left + width, top + height))
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _border_colour(pixels: np.ndarray) -> int | tuple[int, ...]:
    """The median of the outermost pixels: padding then goes on with the paper, or with the dark."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).astype(int)
    return tuple(colour.tolist()) if colour.ndim else int(colour)


def as_many_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Uint8 [S, S], also of a colour picture whose channels are all alike, else [S, S, C]; or as many as are asked for."""
    if channels == 0 and pixels.ndim == 3 and pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, 0])
    if channels == 1 and pixels.ndim == 3:
        return np.asarray(Image.fromarray(pixels).convert("L"))
    if channels == 3 and pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    if channels not in (0, 1) and pixels.shape[2:] != (channels,):
        raise Unusable(f"has {pixels.shape[2] if pixels.ndim == 3 else 1} channels instead of {channels}")
    return pixels


def to_common_size(pictures: Sequence[Picture], image_size: int) -> Tensor:
    """Uint8 [N, C, S', S']: as large as the largest picture, at least `image_size`; C is 1 if every picture is grey.

    So a set is magnified only up to its own largest picture or to the size an encoder sees.
    """
    every = [picture.pixels for picture in pictures]
    side = max(image_size, *(len(pixels) for pixels in every))
    channels = max(1 if pixels.ndim == 2 else pixels.shape[2] for pixels in every)
    images = torch.empty(len(every), channels, side, side, dtype=torch.uint8)
    for row, pixels in enumerate(every):
        images[row] = torch.from_numpy(magnified(pixels, side))
    return images


def magnified(pixels: np.ndarray, side: int) -> np.ndarray:
    """Uint8 [S, S] or [S, S, C] to [1, side, side] or [C, side, side]."""
    if len(pixels) != side:
        layers = [pixels] if pixels.ndim == 2 or pixels.shape[2] == 3 else list(np.moveaxis(pixels, 2, 0))
        size = (side, side)
        resized = [np.asarray(Image.fromarray(layer).resize(size, Image.Resampling.BICUBIC)) for layer in layers]
        pixels = resized[0] if len(resized) == 1 else np.stack(resized, axis=2)
    return pixels[None].copy() if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy()
