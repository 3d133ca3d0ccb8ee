"""TIFF files through tifffile: those that Pillow cannot read, and pages so large that only pieces of them should be.

Source  Gohlke, tifffile. A TIFF lies in strips or tiles, each compressed by itself; `TiffPage.decode` gives one of them.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    import tifffile

_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, either order of bytes
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274  # TIFF 6.0, tags
_MOST_VALUES = 2 * 89_478_485 * 4  # as Pillow, twice its limit of pixels, of four channels
_KEPT_PIECES = 64  # strips or tiles kept decoded: a row of tiles of the page, so that each is decoded about once
_IN_PIECES_FROM = 4_000_000  # pixels; a smaller page is as quickly read as a whole


def is_tiff(content: bytes) -> bool:
    return content[:4] in _MARKS


def pillow_can(content: bytes) -> bool:
    """Whether Pillow reads all of these pixels: it cuts the depth of 16-bit colour, and knows no unusual channels."""
    try:
        with Image.open(BytesIO(content), formats=("TIFF",)) as image:
            assert isinstance(image, TiffImageFile)
            depths = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))
            return max(depths) <= 8 or len(depths) == 1
    except (UnidentifiedImageError, SyntaxError, OSError, ValueError, LookupError, TypeError, struct.error):
        return False


def read(content: bytes, channels: int = 0) -> np.ndarray:
    """[H, W, C] of a TIFF's first series, whether its channels lie as samples, as planes or as pages.

    `channels`, if not 0, tells which axis they are. Raises ValueError for what has more axes than that.
    """
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            if np.prod(file.series[0].shape, dtype=np.float64) > _MOST_VALUES:
                raise Image.DecompressionBombError
            values = np.squeeze(file.series[0].asarray())
    except (tifffile.TiffFileError, IndexError, struct.error) as error:
        raise UnidentifiedImageError(str(error)) from None
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or not values.size:
        raise ValueError(f"a TIFF of the axes {values.shape}; expected height, width and channels")
    first_is_channels = values.shape[0] == channels or (
        values.shape[2] != channels and values.shape[0] < values.shape[2]
    )
    return np.moveaxis(values, 0, 2) if first_is_channels else values


@dataclass
class Page:
    """A page of which pieces can be asked for."""

    width: int
    height: int
    piece: Callable[[int, int, int, int], np.ndarray]  # left, top, width, height to uint8 [h, w] or [h, w, C]
    close: Callable[[], None] = field(default=lambda: None)

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Page":
        """A page that is in memory, uint8 [H, W] or [H, W, C]."""
        return cls(pixels.shape[1], pixels.shape[0], lambda left, top, w, h: pixels[top : top + h, left : left + w])

    def crop(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        return self.piece(left, top, width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_pieces(content: bytes, levels: Sequence[tuple[float, float]]) -> Page | None:
    """A large 8-bit grey or colour page of which only the strips or tiles that a piece needs are decoded; None if it is small or of another kind."""
    import tifffile

    try:
        file = tifffile.TiffFile(BytesIO(content))
        page = file.pages.first
    except (tifffile.TiffFileError, IndexError, struct.error, ValueError):
        return None
    ordinary = (
        page.dtype == np.uint8 and page.planarconfig == 1 and page.samplesperpixel in (1, 3)
        and page.photometric in (1, 2) and page.imagedepth == 1 and not levels and _upright(page) and _decodable(page)
    )  # fmt: skip
    if not ordinary or page.imagewidth * page.imagelength < _IN_PIECES_FROM:
        file.close()
        return None
    pieces = _Pieces(file, page)
    return Page(page.imagewidth, page.imagelength, pieces.crop, file.close)


def _upright(page: "tifffile.TiffPage") -> bool:
    return page.tags.valueof(_ORIENTATION, default=1) == 1


def _decodable(page: "tifffile.TiffPage") -> bool:
    """Compressions that tifffile decodes with what Python and NumPy have: none, deflate (two numbers), packed bits."""
    return int(page.compression) in (1, 8, 32946) and not page.is_subsampled


class _Pieces:
    """The segments of a page, the last of them kept."""

    def __init__(self, file: "tifffile.TiffFile", page: "tifffile.TiffPage") -> None:
        self.handle, self.page = file.filehandle, page
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.width, self.height = (
            (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
        )
        self.columns = -(-page.imagewidth // self.width)

    def crop(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Uint8 [h, w] or [h, w, 3], put together from the segments that it touches."""
        samples = self.page.samplesperpixel
        found = np.empty((height, width, samples), dtype=np.uint8)
        for row in range(top // self.height, -(-(top + height) // self.height)):
            for column in range(left // self.width, -(-(left + width) // self.width)):
                segment = self._segment(row * self.columns + column)
                y, x = row * self.height, column * self.width
                y0, y1 = max(top, y), min(top + height, y + segment.shape[0])
                x0, x1 = max(left, x), min(left + width, x + segment.shape[1])
                found[y0 - top : y1 - top, x0 - left : x1 - left] = segment[y0 - y : y1 - y, x0 - x : x1 - x]
        return found[:, :, 0] if samples == 1 else found

    def _segment(self, number: int) -> np.ndarray:
        if number in self.kept:
            self.kept.move_to_end(number)
            return self.kept[number]
        self.handle.seek(self.page.dataoffsets[number])
        data = self.handle.read(self.page.databytecounts[number])
        segment = self.page.decode(data, number)[0]
        if segment is None:
            raise ValueError(f"its segment {number} is missing")
        self.kept[number] = segment[0]
        if len(self.kept) > _KEPT_PIECES:
            self.kept.popitem(last=False)
        return segment[0]
