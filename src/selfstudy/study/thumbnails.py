"""Small pictures of the images that lie on a map of embeddings, so that a report shows what a dot stands for.

The report reads nothing but the study folder, and the images themselves may be far away by then.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from selfstudy import files
from selfstudy.images import ImageSet

SIDE_PIXELS = 40  # of a thumbnail: a digit or a bag is recognised, and a thousand of them are below a megabyte
COLUMNS = 40  # of the sheet
QUALITY = 80  # of the JPEG
SHEET, PLACES = "thumbnails.jpg", "thumbnails.json"


def write_thumbnails(folder: Path, images: ImageSet) -> None:
    """Write thumbnails.jpg, a sheet of all images on any map.csv of a study folder, and thumbnails.json, their ids in order.

    Nothing is written where no map has a place for any of `images`.
    """
    tables = [pd.read_csv(path, usecols=["id"], dtype=str) for path in sorted(folder.glob("cells/*/map.csv"))]
    wanted = set(pd.concat(tables)["id"]) if tables else set()
    rows = np.flatnonzero([name in wanted for name in images.ids.tolist()])
    if not len(rows):
        return
    lines = -(-len(rows) // COLUMNS)
    sheet = np.full((lines, SIDE_PIXELS, COLUMNS, SIDE_PIXELS, 3), 255, dtype=np.uint8)
    for place, row in enumerate(rows.tolist()):
        sheet[place // COLUMNS, :, place % COLUMNS] = _small(images.images[torch.tensor([row])][0])
    content = io.BytesIO()
    picture = Image.fromarray(sheet.reshape(lines * SIDE_PIXELS, COLUMNS * SIDE_PIXELS, 3))
    if images.channels != 3:
        picture = picture.convert("L")
    picture.save(content, format="JPEG", quality=QUALITY, optimize=True)
    files.write_bytes(folder / SHEET, content.getvalue())
    places = {"side": SIDE_PIXELS, "columns": COLUMNS, "ids": images.ids[rows].tolist()}
    files.write_json(folder / PLACES, places)


def _small(image: torch.Tensor) -> np.ndarray:
    """Uint8 [C, H, W] to [SIDE_PIXELS, SIDE_PIXELS, 3]; of other than three channels the mean."""
    pixels = (
        image.numpy() if len(image) == 3 else np.repeat(image.float().mean(0, keepdim=True).byte().numpy(), 3, axis=0)
    )
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return np.asarray(picture.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS))
