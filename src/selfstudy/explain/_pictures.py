"""Sheets: small pictures in rows and columns, each with a line of text below, on a transparent ground.

Heat: the picture in pale grey, orange where an attribution speaks for the answer and blue where it speaks against it;
the two differ for every kind of colour blindness (Okabe and Ito 2008: vermilion and blue).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FOR, AGAINST = np.array([213.0, 94.0, 0.0]), np.array([0.0, 114.0, 178.0])
CELL_PIXELS = 72  # a side of a picture, at least; a phone's width shows five
GAP_PIXELS = 6
TEXT_PIXELS, FONT_PIXELS = 17, 12  # height of the line below a picture, and of its letters
TEXT_GREY = (125, 130, 138, 255)  # 4:1 against the page's white and its black, as on the sheets of views
NAME_PIXELS = 92  # of the column of names; holds "integrated" and most names of rows
STRONG = 99.0  # percentile of a map that is drawn in full colour: single pixels would leave all others pale
PALE = 0.3  # how much of the picture's contrast is left below the heat


@dataclass(frozen=True)
class Tile:
    """A picture on a sheet. A framed one stands out: a neighbour of another class, a wrong answer."""

    pixels: np.ndarray  # uint8 [H, W, 3]
    text: str = ""
    framed: bool = False


def displayed(views: Tensor) -> list[np.ndarray]:
    """Views float [N, C, H, W] in [0, 1], or uint8, as N pictures uint8 [H, W, 3]; other than 1 or 3 channels by their mean."""
    values = views.detach().cpu()
    values = values.clamp(0, 1) * 255 if values.is_floating_point() else values.float()
    if values.shape[1] not in (1, 3):
        values = values.mean(1, keepdim=True)
    pixels = values.expand(-1, 3, -1, -1).round().byte().permute(0, 2, 3, 1).numpy()
    return [np.ascontiguousarray(picture) for picture in pixels]


def heat(views: Tensor, maps: Tensor) -> list[np.ndarray]:
    """Views [N, C, H, W] under their attributions [N, H, W], as N pictures uint8 [H, W, 3]."""
    found = []
    for picture, values in zip(displayed(views), maps.detach().cpu().double().numpy(), strict=True):
        grey = picture.mean(2, keepdims=True) * PALE + 255 * (1 - PALE)
        strong = max(float(np.percentile(np.abs(values), STRONG)), float(np.abs(values).max()) / 10)
        share = np.clip(np.abs(values) / strong, 0, 1)[:, :, None] if strong > 0 else np.zeros_like(grey)
        colour = np.where(values[:, :, None] >= 0, FOR, AGAINST)
        found.append((grey * (1 - share) + colour * share).round().astype(np.uint8))
    return found


def sheet(rows: Sequence[Sequence[Tile]], names: Sequence[str] = ()) -> np.ndarray:
    """Rows of tiles as one picture, uint8 [H, W, 4], with a name to the left of each row if there are names.

    Small tiles are enlarged by a whole factor, so a pixel stays a square.
    """
    pictures = [[_enlarged(tile.pixels) for tile in row] for row in rows]
    width = max(picture.width for row in pictures for picture in row)
    heights = [max(picture.height for picture in row) for row in pictures]
    below = TEXT_PIXELS if any(tile.text for row in rows for tile in row) else 0
    columns = max(len(row) for row in rows)
    indent = GAP_PIXELS + (NAME_PIXELS if names else 0)
    size = (
        indent + columns * (width + GAP_PIXELS),
        sum(heights) + len(rows) * (below + GAP_PIXELS) + GAP_PIXELS,
    )
    ground = Image.new("RGBA", size)
    pen, font = ImageDraw.Draw(ground), ImageFont.load_default(size=FONT_PIXELS)
    top = GAP_PIXELS
    for tiles, row, height, name in zip(rows, pictures, heights, names or [""] * len(rows), strict=True):
        text = _fitting(name, NAME_PIXELS - GAP_PIXELS, pen, font)
        pen.text((GAP_PIXELS, top + height / 2), text, fill=TEXT_GREY, font=font, anchor="lm")
        for column, (tile, picture) in enumerate(zip(tiles, row, strict=True)):
            left = indent + column * (width + GAP_PIXELS)
            ground.paste(picture, (left, top))
            if tile.framed:
                box = (left - 3, top - 3, left + picture.width + 2, top + picture.height + 2)
                pen.rectangle(box, outline=(*FOR.astype(int).tolist(), 255), width=3)
            text = _fitting(tile.text, width, pen, font)
            pen.text((left + width / 2, top + height + 3), text, fill=TEXT_GREY, font=font, anchor="ma")
        top += height + below + GAP_PIXELS
    return np.asarray(ground)


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """A picture whose longer side has CELL_PIXELS to twice as many."""
    picture = Image.fromarray(pixels)
    longer = max(picture.size)
    if longer > 2 * CELL_PIXELS:
        scale = 2 * CELL_PIXELS / longer
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        return picture.resize(size, Image.Resampling.LANCZOS)
    factor = -(-CELL_PIXELS // longer)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _fitting(
    text: str, width: float, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """The text, cut so that it does not run under its neighbours'."""
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"
