"""Whatever a picture's pixels are, to 8 bits of grey, of colour, or of as many channels as are asked for."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


class Unusable(ValueError):
    """The picture is sound, but of a kind that cannot be used. The message says why."""


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
    return Image.fromarray(eight_bits(values[:, :, None], levels)[:, :, 0])


def eight_bits(values: np.ndarray, levels: Sequence[tuple[float, float]]) -> np.ndarray:
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


def with_checked_channels(values: np.ndarray, channels: int) -> np.ndarray:
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
