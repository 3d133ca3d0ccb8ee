"""From files or arrays to square uint8 pictures of one common size, with the hash of what they were made from.

Alpha       is laid over white, as paper and product photographs are.
16-bit grey keeps its full range: 65535 becomes 255. Nothing is stretched picture by picture, so brightness compares.
Animations  and many-page files give their first picture.
Resizing    is bicubic, and antialiased when it shrinks.
"""

import hashlib
import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from selfstudy.encoder import Fit
from selfstudy.images._imageset import Skipped
from selfstudy.images._source import printable

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


class _Unusable(ValueError):
    """The picture is sound, but of a kind that cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture at most `largest_side(image_size)` pixels a side, not yet at the common size of its set."""

    content: str  # 20 hexadecimal digits: the hash of the file, or of the array
    pixels: np.ndarray  # uint8 [S, S] if grey, else [S, S, 3]


def largest_side(image_size: int) -> int:
    """Pixels a side beyond which nothing is stored."""
    return math.ceil(STORED_SCALE * image_size)


def read_all(pictures: np.ndarray | Sequence[Path], image_size: int, fit: Fit) -> list[Picture | Skipped]:
    """Every picture in order, or why it cannot be used. Files are decoded on as many threads as torch uses."""
    most = largest_side(image_size)
    if isinstance(pictures, np.ndarray):
        return [_from_array(array, most, fit) for array in pictures]
    with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata; large pictures that are not too large
        return list(threads.map(lambda path: _from_file(path, most, fit), pictures))


def to_common_size(pictures: Sequence[Picture], image_size: int) -> Tensor:
    """Uint8 [N, C, S', S']: as large as the largest picture, at least `image_size`; C is 1 if every picture is grey.

    So a set is magnified only up to its own largest picture or to the size an encoder sees.
    """
    every = [picture.pixels for picture in pictures]
    side = max(image_size, *(len(pixels) for pixels in every))
    channels = max(1 if pixels.ndim == 2 else 3 for pixels in every)
    images = torch.empty(len(every), channels, side, side, dtype=torch.uint8)
    for row, pixels in enumerate(every):
        if len(pixels) != side:
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        images[row] = torch.from_numpy(pixels.copy() if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
    return images


def _from_array(array: np.ndarray, most: int, fit: Fit) -> Picture:
    digest = hashlib.blake2b(f"{array.shape}".encode() + array.tobytes(), digest_size=10).hexdigest()
    image = Image.fromarray(array)
    return Picture(digest, _pixels(_square(image, image.size, most, fit)))


def _from_file(path: Path, most: int, fit: Fit) -> Picture | Skipped:
    try:
        content = path.read_bytes()
        digest = hashlib.blake2b(content, digest_size=10).hexdigest()
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            reduced = image.draft(None, (REDUCING_GAP * most, REDUCING_GAP * most))  # libjpeg halves while it decodes
            extent = reduced[1][2:] if reduced else image.size
            square = _square(grey_or_rgb(image), extent, most, fit)
            turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            return Picture(digest, _pixels(square if turn is None else square.transpose(turn)))
    except FileNotFoundError:
        reason = "does not exist"
    except IsADirectoryError:
        reason = "is a folder"
    except PermissionError:
        reason = "may not be read"
    except UnidentifiedImageError:
        reason = f"is none of {', '.join(FORMATS)}" if content else "is empty (0 bytes)"
    except Image.DecompressionBombError:
        reason = "has too many pixels (above 179 million): a damaged file, or one to shrink first"
    except _Unusable as error:
        reason = str(error)
    except MemoryError:
        reason = "needs more memory to decode than there is"
    except OSError as error:
        failed = f"cannot be read: {error.strerror}"  # the disk; Pillow's own errors have no number
        reason = failed if error.errno else f"is damaged or cut short: {printable(error)}"
    except _DAMAGE as error:
        reason = f"cannot be decoded: {printable(error)}"
    return Skipped(printable(path), reason)


def grey_or_rgb(image: Image.Image) -> Image.Image:
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
            return _from_deep_grey(np.asarray(image).astype(np.int64), 65535)
        case "F":
            return _from_deep_grey(np.asarray(image), 1)
    raise _Unusable(f"has pixels of the kind {image.mode}, which cannot be read as colours")


def _from_deep_grey(values: np.ndarray, white: int) -> Image.Image:
    if not (values.min() >= 0 and values.max() <= white):  # so written that NaN fails
        raise _Unusable(f"has grey values from {values.min()} to {values.max()}; expected 0 to {white}")
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))


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


def _pixels(image: Image.Image) -> np.ndarray:
    """Uint8 [S, S], also of a colour picture whose channels are all alike, else [S, S, 3]."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, 0])
    return pixels
