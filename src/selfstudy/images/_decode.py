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
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from selfstudy.images import _tiff
from selfstudy.images._colours import Unusable, eight_bits, grey_or_rgb, with_checked_channels
from selfstudy.images._file import Encoded, File, Stack
from selfstudy.images._imageset import Skipped
from selfstudy.images._names import printable
from selfstudy.images._squares import Picture, Recipe, as_many_channels, square, square_of

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
        found.append((content, Picture(square_of(array, array.shape[1::-1], recipe))))
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


def _whole(file: File, content: bytes, recipe: Recipe) -> np.ndarray:
    """Uint8 [S, S] or [S, S, C]: the picture made square."""
    if isinstance(file, Stack):
        values = _stacked(content, recipe.levels)
        return square_of(with_checked_channels(values, recipe.channels), values.shape[1::-1], recipe)
    if _through_tifffile(content, recipe.channels):
        values = with_checked_channels(eight_bits(_tiff.read(content, recipe.channels), recipe.levels), recipe.channels)
        return square_of(values, values.shape[1::-1], recipe)
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        reduced = image.draft(None, (REDUCING_GAP * recipe.most,) * 2)  # libjpeg halves while it decodes
        extent = reduced[1][2:] if reduced else image.size
        made = square(grey_or_rgb(image, recipe.levels), extent, recipe.most, recipe.fit)
        turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        pixels = np.asarray(made if turn is None else made.transpose(turn))
    return as_many_channels(pixels, recipe.channels)


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
            pixels = square_of(piece, piece.shape[1::-1], Recipe(most=min(tiles.side, recipe.most), fit=recipe.fit))
            if pixels.std() / 255 >= tiles.blank:
                found.append(Picture(as_many_channels(pixels, recipe.channels), place))
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
            with_checked_channels(eight_bits(_tiff.read(content, recipe.channels), recipe.levels), recipe.channels)
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
    return eight_bits(stacked, levels) if levels or stacked.dtype == np.uint8 else stacked


def _through_tifffile(content: bytes, channels: int) -> bool:
    """Whether Pillow would refuse this TIFF, or read less of it than is wanted."""
    return _tiff.is_tiff(content) and (channels > 1 or not _tiff.pillow_can(content))
