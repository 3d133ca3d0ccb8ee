"""Agreement: whether two encoders look at the same places, and whether that is more than two seeds of one method share.

Measures  root mean squared error, structural similarity and rank correlation, see `_compare.py`. RMSE and SSIM alone flatter:
        two maps that are zero nearly everywhere agree by them whatever the rest shows. Compare with the floor, not with 0 or 1.
Floor   the same measures between the first encoder and its twin, trained by the same method with another seed.
Asked   of two classifiers: the image's class, or where it has none the class that the first one names; else, without
        labels, the similarity to the image that is nearest by the first encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from selfstudy.explain._analysis import Analysis, Need, Subject, Viewer
from selfstudy.explain._attribution import Attribution, find
from selfstudy.explain._compare import MEASURES, compare
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, heat, sheet
from selfstudy.explain._questions import about_classes, about_rows, nearest_rows, views_of


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = "integrated_gradients"  # an attribution


class Agreement(Analysis[Config]):
    Config = Config
    needs = frozenset[Need]({"other"})

    def run(self, subject: Subject) -> Findings:
        assert subject.other is not None
        method = find(self.config.method)
        viewers = [subject.viewer, subject.other, *([subject.twin] if subject.twin else [])]
        maps = maps_of(subject, viewers, method)
        table = pd.DataFrame({"id": [subject.id_of(row) for row in subject.rows.tolist()], **compare(maps[0], maps[1])})
        numbers = {name: float(table[name].mean()) for name in MEASURES}
        if subject.twin is not None:
            for name, values in compare(maps[0], maps[2]).items():
                table[f"floor_{name}"] = values
                numbers[f"floor_{name}"] = float(values.mean())
        return Findings(
            sentence=say(subject.viewer.name, subject.other.name, method.title, numbers), numbers=numbers, table=table,
            pictures={"maps": _drawn(subject, viewers, maps, method)},
        )  # fmt: skip


def maps_of(subject: Subject, viewers: list[Viewer], method: Attribution[Any]) -> list[Tensor]:
    """The maps of every viewer for the same images and the same question, float32 [n, H, W] of the first one's size."""
    first, rows = viewers[0], subject.rows
    if all(viewer.classifier is not None for viewer in viewers):
        classes = asked_classes(subject, first)
        found = [method.maps(about_classes(subject, viewer, rows, classes)) for viewer in viewers]
    else:
        neighbours = nearest_rows(subject, first, rows)
        found = [method.maps(about_rows(subject, viewer, rows, neighbours)) for viewer in viewers]
    return [at_size(maps, found[0].shape[1:]) for maps in found]


def class_maps(subject: Subject, viewer: Viewer, method: str) -> Tensor:
    """The maps of one viewer for the classes of the subject's images, float32 [n, H, W]."""
    return find(method).maps(about_classes(subject, viewer, subject.rows, asked_classes(subject, viewer)))


def asked_classes(subject: Subject, first: Viewer) -> Tensor:
    """Int64 [n]: the images' classes, or where they have none those that the first viewer names."""
    classes = first.probabilities(subject.rows).argmax(1)
    if subject.labels is None:
        return classes
    return torch.where(subject.labels[subject.rows] >= 0, subject.labels[subject.rows], classes)


def at_size(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps [n, H, W] at another size: encoders may be fed images of different sizes."""
    if maps.shape[1:] == size:
        return maps
    return torch.nn.functional.interpolate(maps[:, None], size=size, mode="bilinear", antialias=True)[:, 0]


def say(first: str, second: str, method: str, numbers: Mapping[str, float]) -> str:
    """The agreement in one sentence, by the rank correlation, which units and empty pixels change least."""
    rank = f"By {method}, {first} and {second} look at places whose ranks correlate by {numbers['rank']:.2f} (RMSE {numbers['rmse']:.3f}, SSIM {numbers['ssim']:.3f})"  # fmt: skip
    if "floor_rank" not in numbers:
        return f"{rank}; how much two seeds of one method would share is not known, so this alone says little."
    floor = numbers["floor_rank"]
    than = "as much as" if numbers["rank"] >= floor else "less than"
    return f"{rank}; that is {than} two seeds of {first} share ({floor:.2f})."


def _drawn(subject: Subject, viewers: list[Viewer], maps: list[Tensor], method: Attribution[Any]) -> Picture:
    views = views_of(subject, viewers[0], subject.rows)
    names = [viewer.name for viewer in viewers[:2]] + [f"{viewer.name}, new seed" for viewer in viewers[2:]]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    rows = [[Tile(pixels) for pixels in displayed(views)]]
    rows += [[Tile(pixels) for pixels in heat(views, found)] for found in maps]
    return Picture(
        pixels=sheet(rows, ["", *names]),
        caption=f"Above the image, below it what mattered by {method.title} to {', to '.join(names)}.",
        alternative=f"{len(views)} images with a map of the pixels that mattered to each of {', '.join(names)}.",
    )
