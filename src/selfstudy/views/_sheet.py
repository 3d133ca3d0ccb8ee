"""The sheet of views of a run: what the method was shown, beside the originals, as one PNG."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from selfstudy import files

CELL_PIXELS = 96  # a side of one picture on the sheet, at least; large enough to judge a stroke's thickness
GAP_PIXELS = 6
CAPTION_PIXELS = 104  # left column; holds "original" and every slot name of the papers
CAPTION_GREY = (125, 130, 138)  # on the sheet's transparent ground, 4:1 against the page's white and its black


def draw_sheet(originals: Tensor, views: Mapping[str, Tensor], path: Path) -> None:
    """Write a PNG with one column per image: the original on top, below it one row for each of `views`, captioned.

    `originals` is uint8 [N, C, S', S'] or float [N, C, H, W] in [0, 1]; each of `views` is [N, C, H, W] likewise.
    Heights and widths may differ between rows. Small pictures are enlarged by a whole factor, so a pixel
    stays a square. Raises ValueError if the rows differ in their number of images, RunError if the disk is full.
    """
    rows = {"original": originals, **views}
    for name, images in rows.items():
        if len(images) != len(originals):
            raise ValueError(f"{name} has {len(images)} images, but there are {len(originals)} originals")
    strips = {name: [_picture(image) for image in images] for name, images in rows.items()}
    width = max(picture.width for strip in strips.values() for picture in strip)
    heights = {name: max(picture.height for picture in strip) for name, strip in strips.items()}
    sheet = Image.new(
        "RGBA",
        (
            CAPTION_PIXELS + len(originals) * (width + GAP_PIXELS),
            sum(heights.values()) + GAP_PIXELS * (len(strips) - 1),
        ),
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    top = 0
    for name, strip in strips.items():
        middle = top + heights[name] // 2
        pen.text((0, middle), _shortened(name, pen, font), fill=(*CAPTION_GREY, 255), font=font, anchor="lm")
        for column, picture in enumerate(strip):
            sheet.paste(picture, (CAPTION_PIXELS + column * (width + GAP_PIXELS), middle - picture.height // 2))
        top += heights[name] + GAP_PIXELS
    content = io.BytesIO()
    sheet.save(content, format="PNG", optimize=True)
    files.write_bytes(path, content.getvalue())


def _picture(image: Tensor) -> Image.Image:
    """[C, H, W] to a picture whose longer side is at least CELL_PIXELS, or less than twice that."""
    if image.is_floating_point():
        image = (image.clamp(0, 1) * 255).round()
    pixels = image.to(torch.uint8).cpu().numpy()
    if len(pixels) not in (1, 3):
        pixels = (
            pixels.mean(0, keepdims=True).round().astype(np.uint8)
        )  # other channels are no colours: their mean, grey
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    longer = max(picture.size)
    if longer > 2 * CELL_PIXELS:
        scale = CELL_PIXELS * 2 / longer
        return picture.convert("RGB").resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
    factor = -(-CELL_PIXELS // longer)
    return picture.convert("RGB").resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _shortened(name: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The name, cut so that it does not run under the pictures."""
    room = CAPTION_PIXELS - 2 * GAP_PIXELS
    if pen.textlength(name, font=font) <= room:
        return name
    while name and pen.textlength(f"{name}…", font=font) > room:
        name = name[:-1]
    return f"{name}…"
