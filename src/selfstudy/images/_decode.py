"""From files or arrays to square uint8 pictures, with the hash of what they were made from.

Alpha       is laid over white, as paper and product photographs are.
Depth       more than 8 bits are cut to 8 by the levels of the whole set (images/_levels.py), never picture by picture, so
            brightness compares. Without levels 65535 becomes 255.
Animations  and many-page files give their first picture, unless a number of channels is asked for.
Resizing    is bicubic, and antialiased when it shrinks.
"""

import hashlib
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from selfstudy.encoder import Fit, Tiles
from selfstudy.images import _tiff
from selfstudy.images._imageset import Skipped
from selfstudy.images._source import Encoded, File, Stack, printable

# Views crop out of a little more than they show, so that the second resize costs little sharpness.
STORED_SCALE = 1.15
REDUCING_GAP = 3  # decoding at this many times the wanted side looks the same; Pillow's documentation of Image.resize
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
_KINDS = "jpg jpeg jpe jfif png gif bmp dib tif tiff webp pbm pgm ppm pnm jp2 j2k avif tga heic heif"
SUFFIXES = frozenset(f".{kind}" for kind in _KINDS.split())  # heic and heif are refused in words, not overlooked
_UPRIGHT = {  # Exif 2.32, tag 274: what undoes the way the camera was held
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises, besides OSError, when the bytes of a file contradict each other.
_DAMAGE = (
    RuntimeError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings of odd metadata, and of large pictures that are not too large. Not within threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


class Unusable(ValueError):
    """The picture is sound, but of a kind that cannot be used. The message says why."""


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


def largest_side(image_size: int) -> int:
    """Pixels a side beyond which nothing is stored."""
    return math.ceil(STORED_SCALE * image_size)


def content_of(data: bytes) -> str:
    """20 hexadecimal digits that name a picture, wherever it lies."""
    return hashlib.blake2b(data, digest_size=10).hexdigest()


def read_bytes(file: File) -> bytes:
    """What is hashed and decoded; of a stack its files one after the other, each with its length before it."""
    match file:
        case Encoded():
            return file.read()
        case Stack():
            parts = [path.read_bytes() for path in file.files]
            return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        case Path():
            return file.read_bytes()


def from_arrays(arrays: np.ndarray, recipe: Recipe) -> list[tuple[str, Picture]]:
    """Content and picture of every row of uint8 [N, H, W] or [N, H, W, C]."""
    found = []
    for array in arrays:
        content = content_of(f"{array.shape}".encode() + array.tobytes())
        found.append((content, Picture(_square_of(array, array.shape[1::-1], recipe))))
    return found


def decode(file: File, recipe: Recipe) -> tuple[str, list[Picture]] | Skipped:
    """The content of a file and the pictures made of it: one, or the tiles of a page. Or why it cannot be used."""
    content = b""
    try:
        content = read_bytes(file)
        pictures = _tiles(content, recipe) if recipe.tiles else [Picture(_whole(file, content, recipe))]
        return content_of(content), pictures
    except FileNotFoundError as error:
        reason = f"lacks {printable(error.filename)}" if isinstance(file, Stack) else "does not exist"
    except IsADirectoryError:
        reason = "is a folder"
    except PermissionError:
        reason = "may not be read"
    except UnidentifiedImageError:
        reason = f"is none of {', '.join(FORMATS)}" if content else "is empty (0 bytes)"
    except Image.DecompressionBombError:
        reason = "has too many pixels (above 179 million): a damaged file, or one to shrink first"
    except Unusable as error:
        reason = str(error)
    except MemoryError:
        reason = "needs more memory to decode than there is"
    except OSError as error:
        failed = f"cannot be read: {error.strerror}"  # the disk; Pillow's own errors have no number
        reason = failed if error.errno else f"is damaged or cut short: {printable(error)}"
    except _DAMAGE as error:
        reason = f"cannot be decoded: {printable(error)}"
    return Skipped(name_of(file), reason)


def name_of(file: File) -> str:
    """For people."""
    match file:
        case Encoded():
            return printable(file.name)
        case Stack():
            return printable(file.files[0])
        case Path():
            return printable(file)


def deep_values(file: File, channels: int) -> np.ndarray | None:
    """The values [H, W, C] of a picture of more than 8 bits, as they are; None if it has no more, or cannot be read."""
    try:
        content = read_bytes(file)
        values: np.ndarray | None
        if isinstance(file, Stack):
            values = _stacked(content, ())
        elif _through_tifffile(content, channels):
            values = _tiff.read(content)
        else:
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                values = np.asarray(image)[:, :, None] if image.mode.startswith("I") or image.mode == "F" else None
    except (OSError, Image.DecompressionBombError, Unusable, MemoryError, *_DAMAGE):
        return None
    return None if values is None or values.dtype == np.uint8 else values


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


def _whole(file: File, content: bytes, recipe: Recipe) -> np.ndarray:
    """Uint8 [S, S] or [S, S, C]: the picture made square."""
    if isinstance(file, Stack):
        values = _stacked(content, recipe.levels)
        return _square_of(_checked(values, recipe.channels), values.shape[1::-1], recipe)
    if _through_tifffile(content, recipe.channels):
        values = _checked(_eight_bits(_tiff.read(content, recipe.channels), recipe.levels), recipe.channels)
        return _square_of(values, values.shape[1::-1], recipe)
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        reduced = image.draft(None, (REDUCING_GAP * recipe.most,) * 2)  # libjpeg halves while it decodes
        extent = reduced[1][2:] if reduced else image.size
        square = _square(grey_or_rgb(image, recipe.levels), extent, recipe.most, recipe.fit)
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        pixels = np.asarray(square if turn is None else square.transpose(turn))
    return _pixels(pixels, recipe.channels)


def _tiles(content: bytes, recipe: Recipe) -> list[Picture]:
    """The tiles of a page that are not blank, at most `Tiles.most`, in an order that its content decides."""
    assert recipe.tiles is not None
    tiles, side = recipe.tiles, round(recipe.tiles.side / recipe.tiles.scale)  # on the page as it is
    with _page(content, recipe) as page:
        columns, rows = max(1, page.width // side), max(1, page.height // side)
        left, top = (page.width - columns * side) // 2, (page.height - rows * side) // 2  # what is left over is margin
        found: list[Picture] = []
        seed = int.from_bytes(hashlib.blake2b(content, digest_size=8, person=b"tiles").digest(), "little")
        for place in np.random.default_rng(seed).permutation(columns * rows).tolist():
            row, column = divmod(place, columns)
            box = (max(0, left + column * side), max(0, top + row * side))
            piece = page.crop(box[0], box[1], min(side, page.width), min(side, page.height))
            pixels = _square_of(piece, piece.shape[1::-1], Recipe(most=min(tiles.side, recipe.most), fit=recipe.fit))
            if pixels.std() / 255 >= tiles.blank:
                found.append(Picture(_pixels(pixels, recipe.channels), place))
            if len(found) == tiles.most:
                break
    if not found:
        raise Unusable(f"is blank: no tile of it deviates by {tiles.blank:g} of black to white")
    return sorted(found, key=lambda picture: picture.tile)


def _page(content: bytes, recipe: Recipe) -> _tiff.Page:
    """A page of which pieces can be asked for; a large TIFF is not read as a whole where its format allows that."""
    if _tiff.is_tiff(content) and recipe.channels in (0, 1) and (page := _tiff.in_pieces(content, recipe.levels)):
        return page
    if _through_tifffile(content, recipe.channels):
        return _tiff.Page.of(
            _checked(_eight_bits(_tiff.read(content, recipe.channels), recipe.levels), recipe.channels)
        )
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        found = grey_or_rgb(image, recipe.levels)
        return _tiff.Page.of(np.asarray(found if turn is None else found.transpose(turn)))


def _stacked(content: bytes, levels: Sequence[tuple[float, float]]) -> np.ndarray:
    """[H, W, C] of a stack's files. With levels uint8, else as they are."""
    channels: list[np.ndarray] = []
    while content:
        end = 8 + int.from_bytes(content[:8], "little")
        part, content = content[8:end], content[end:]
        if _tiff.is_tiff(part):
            values = _tiff.read(part)
        else:
            with Image.open(BytesIO(part), formats=FORMATS) as image:
                values = np.asarray(image if image.mode.startswith("I") or image.mode == "F" else grey_or_rgb(image))
        values = values[:, :, None] if values.ndim == 2 else values
        if values.shape[2] != 1:
            raise Unusable(
                f"has {values.shape[2]} channels in its file {len(channels) + 1}, but each file of a stack is one"
            )
        if channels and values.shape != channels[0].shape:
            raise Unusable("has files of different sizes")
        channels.append(values)
    stacked = np.concatenate(channels, axis=2)
    return _eight_bits(stacked, levels) if levels or stacked.dtype == np.uint8 else stacked


def _through_tifffile(content: bytes, channels: int) -> bool:
    """Whether Pillow would refuse this TIFF, or read less of it than is wanted."""
    return _tiff.is_tiff(content) and (channels > 1 or not _tiff.pillow_can(content))


def _eight_bits(values: np.ndarray, levels: Sequence[tuple[float, float]]) -> np.ndarray:
    """[H, W, C] of any depth to uint8, by the levels of each channel or else by the range of the type."""
    if values.dtype == np.uint8:
        return values
    if not levels:
        white = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
        levels = [(0.0, float(white))]
    if len(levels) not in (1, values.shape[2]):
        raise Unusable(f"has {values.shape[2]} channels, but the set's levels are of {len(levels)}")
    low, high = np.asarray(levels, dtype=np.float64).T
    scaled = (values.astype(np.float64) - low) / np.maximum(high - low, 1e-12)
    if not np.isfinite(scaled).all():
        raise Unusable("has values that are NaN or infinite")
    return np.round(scaled.clip(0, 1) * 255).astype(np.uint8)


def _checked(values: np.ndarray, channels: int) -> np.ndarray:
    """[H, W, C] with the number of channels that is asked for; with 0, grey or colour."""
    found = values.shape[2]
    if channels == 0 and found in (2, 4):  # alpha, laid over white
        share = values[:, :, -1:].astype(np.float64) / 255
        values = np.round(values[:, :, :-1] * share + 255 * (1 - share)).astype(np.uint8)
    elif channels == 0 and found not in (1, 3):
        raise Unusable(f"has {found} channels: say so with channels: {found}")
    elif channels not in (0, found):
        raise Unusable(f"has {found} channels instead of {channels}")
    return values


def grey_or_rgb(image: Image.Image, levels: Sequence[tuple[float, float]] = ()) -> Image.Image:
    """Any mode to L or RGB."""
    if image.has_transparency_data and not image.mode.startswith("I"):
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    match image.mode:
        case "L" | "RGB":
            return image
        case "1":
            return image.convert("L")
        case "P" | "CMYK" | "YCbCr" | "HSV" | "RGBX":
            return image.convert("RGB")
        case "I" | "I;16" | "I;16L" | "I;16B" | "I;16N":
            return _from_deep_grey(np.asarray(image).astype(np.int64), levels or [(0, 65535)], bool(levels))
        case "F":
            return _from_deep_grey(np.asarray(image), levels or [(0, 1)], bool(levels))
    raise Unusable(f"has pixels of the kind {image.mode}, which cannot be read as colours")


def _from_deep_grey(values: np.ndarray, levels: Sequence[tuple[float, float]], clip: bool) -> Image.Image:
    """Black and white are the levels; beyond them is clipped where they were measured, and refused where they were not."""
    low, high = levels[0]
    if not (clip or (values.min() >= low and values.max() <= high)):  # so written that NaN fails
        raise Unusable(f"has grey values from {values.min()} to {values.max()}; expected {low:g} to {high:g}")
    return Image.fromarray(_eight_bits(values[:, :, None], levels)[:, :, 0])


def _square_of(array: np.ndarray, extent: tuple[float, float], recipe: Recipe) -> np.ndarray:
    """Uint8 [H, W] or [H, W, C] to [S, S] or [S, S, C]; channel by channel where they are neither grey nor colour."""
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        channels = [np.ascontiguousarray(array[:, :, channel]) for channel in range(array.shape[2])]
        squares = [_square(Image.fromarray(channel), extent, recipe.most, recipe.fit) for channel in channels]
        return np.stack([np.asarray(square) for square in squares], axis=2)
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else np.ascontiguousarray(array))
    return _pixels(np.asarray(_square(image, extent, recipe.most, recipe.fit)), recipe.channels)


def _square(image: Image.Image, extent: tuple[float, float], most: int, fit: Fit) -> Image.Image:
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


def _pixels(pixels: np.ndarray, channels: int) -> np.ndarray:
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
