"""Border: how much of an attribution lies on the picture's edge or background, against their share of the area.

Source  the models of the fashion study had looked at the background; nobody had asked. A share of 1 per area is what
        looking everywhere alike would give.
Border  a frame of an eighth of the side: what a centred object rarely reaches.
Background  the pixels whose colour is close to the median colour of the outermost pixels; how close is decided for every picture
        by the threshold of Otsu 1979 (scikit-image). It is a guess that holds for objects on plain ground, not for photographs
        of scenes.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from torch import Tensor

from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._attribution import find
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import FOR, Tile, displayed, heat, sheet
from selfstudy.explain._questions import about_answers


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = "integrated_gradients"  # an attribution
    frame: Annotated[float, Field(gt=0, lt=0.5)] = 0.125  # of the side


class Border(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        method = find(self.config.method)
        question = about_answers(subject, subject.viewer, subject.rows)
        maps = method.maps(question)
        pictures = displayed(question.views)
        frames = np.stack([frame_of(picture.shape[0], picture.shape[1], self.config.frame) for picture in pictures])
        grounds = np.stack([background_of(picture) for picture in pictures])
        table = pd.DataFrame({
            "id": [subject.id_of(row) for row in subject.rows.tolist()], "asked": question.names,
            "border": shares(maps, frames), "border_area": frames.mean((1, 2)),
            "background": shares(maps, grounds), "background_area": grounds.mean((1, 2)),
        })  # fmt: skip
        numbers = {str(name): float(value) for name, value in table.drop(columns=["id", "asked"]).mean().items()}
        sentence = (
            f"By {method.title}, {100 * numbers['border']:.0f} % of what mattered lies on the border, which is "
            f"{100 * numbers['border_area']:.0f} % of the picture, and {100 * numbers['background']:.0f} % on the background, which is "
            f"{100 * numbers['background_area']:.0f} % (means of {len(maps)} images)."
        )
        return Findings(sentence=sentence, numbers=numbers, table=table, pictures={"maps": _drawn(question.views, maps, grounds, table)})  # fmt: skip


def frame_of(height: int, width: int, share: float) -> np.ndarray:
    """Bool [height, width]: the pixels less than `share` of the side away from the edge, at least one pixel wide."""
    down, right = max(1, round(share * height)), max(1, round(share * width))
    frame = np.ones((height, width), dtype=bool)
    frame[down : height - down, right : width - right] = False
    return frame


def background_of(picture: np.ndarray) -> np.ndarray:
    """Bool [H, W] of a picture uint8 [H, W, 3]. A picture of one colour is background whole."""
    from skimage.filters import threshold_otsu

    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    distance = np.linalg.norm(picture.astype(np.float64) - np.median(edge, axis=0), axis=2)
    if distance.min() == distance.max():
        return np.full(distance.shape, bool(distance.max() == 0))
    return distance <= threshold_otsu(distance)


def shares(maps: Tensor, masks: np.ndarray) -> np.ndarray:
    """Float64 [N]: the share of |attribution| [N, H, W] on the masks, bool [N, H, W]; of a map of zeros the area's share."""
    values = maps.double().abs().numpy()
    values = np.where(values.sum((1, 2), keepdims=True) > 0, values, 1.0)
    return (values * masks).sum((1, 2)) / values.sum((1, 2))


def _drawn(views: Tensor, maps: Tensor, grounds: np.ndarray, table: pd.DataFrame) -> Picture:
    pictures = displayed(views)
    above = [Tile(picture) for picture in pictures]
    middle = [
        Tile(
            np.where(ground[:, :, None], (picture * 0.4 + FOR * 0.6).astype(np.uint8), picture),
            f"{100 * area:.0f} % of area",
        )
        for picture, ground, area in zip(pictures, grounds, table["background_area"], strict=True)
    ]
    below = [
        Tile(pixels, f"{100 * share:.0f} % of it")
        for pixels, share in zip(heat(views, maps), table["background"], strict=True)
    ]
    return Picture(
        pixels=sheet([above, middle, below]),
        caption="Above the image, in the middle in orange what was taken for its background, below what mattered, and how much of it lies there.",
        alternative=f"{len(pictures)} images, their background marked, and below each a map of the pixels that mattered.",
    )
