"""Neighbours: the images that an encoder takes for most alike. It needs no labels.

Measure the cosine of features, as kNN uses it. Images of the same group (copies, the same page or product) are left out:
        they are alike for any encoder.
Labels  where there are any: how often a neighbour is of the image's class, over up to 1,000 images, and how often it
        would be by chance.
"""

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._neighbours import nearest
from selfstudy.explain._pictures import Tile, displayed, sheet
from selfstudy.rng import Rng

MOST_COUNTED = 1000  # images whose neighbours' classes are counted: a share is then known to 1.6 points


@dataclass(frozen=True, kw_only=True)
class Config:
    count: Annotated[int, Field(ge=1)] = 5  # neighbours of each image


class Neighbours(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        features, groups = subject.viewer.features, subject.images.groups
        places, cosines = nearest(features, subject.rows, groups, self.config.count)
        table = _table(subject, places, cosines)
        numbers = {"cosine": float(table["cosine"].mean())} if len(table) else {}
        sentence = "All images are of one group, so none has a neighbour."
        if len(table):
            sentence = f"The {self.config.count} nearest images have a cosine of {numbers['cosine']:.2f} on average."
        if subject.labels is not None and len(table):
            numbers |= label_agreement(subject, subject.labels, self.config.count)
            sentence = (
                f"Of the {self.config.count} nearest images {100 * numbers['same_class']:.0f} % are of the same class; "
                f"by chance {100 * numbers['chance']:.0f} % would be."
            )
        pictures = {"neighbours": _drawn(subject, places)} if len(table) else {}
        return Findings(sentence=sentence, numbers=numbers, table=table, pictures=pictures)


def label_agreement(subject: Subject, labels: Tensor, count: int) -> dict[str, float]:
    """The share of neighbours of the image's own class, and of all pairs of images; nothing where no pair has labels."""
    known = torch.nonzero(labels >= 0)[:, 0]
    known = known[Rng.from_seed(0).fork("neighbours").permutation(len(known))[:MOST_COUNTED]]
    places, _ = nearest(subject.viewer.features, known, subject.images.groups, count)
    judged = (places >= 0) & (labels[places.clamp(min=0)] >= 0)
    same = labels[places.clamp(min=0)] == labels[known, None]
    counts = torch.bincount(labels[labels >= 0]).double()
    if not judged.any() or counts.sum() < 2:
        return {}
    chance = (counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1))
    return {"same_class": float(same[judged].double().mean()), "chance": float(chance)}


def _table(subject: Subject, places: Tensor, cosines: Tensor) -> pd.DataFrame:
    """A line for every image and neighbour."""
    lines = [
        {
            "id": subject.id_of(row), "label": subject.class_of(row), "rank": rank, "neighbour": subject.id_of(other),
            "neighbour_label": subject.class_of(other), "cosine": cosine,
        }
        for row, others, values in zip(subject.rows.tolist(), places.tolist(), cosines.tolist(), strict=True)
        for rank, (other, cosine) in enumerate(zip(others, values, strict=True), start=1)
        if other >= 0
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=["id", "label", "rank", "neighbour", "neighbour_label", "cosine"])


def _drawn(subject: Subject, places: Tensor) -> Picture:
    """A row for every image: itself first, then its neighbours, those of another class framed."""
    rows = []
    for row, others in zip(subject.rows.tolist(), places.tolist(), strict=True):
        found = [row, *(other for other in others if other >= 0)]
        own = subject.class_of(row)
        pictures = displayed(subject.images.images[torch.tensor(found)])
        rows.append([
            Tile(pixels, subject.class_of(one), bool(own) and bool(subject.class_of(one)) and subject.class_of(one) != own)
            for one, pixels in zip(found, pictures, strict=True)
        ])  # fmt: skip
    return Picture(
        pixels=sheet(rows),
        caption="Each row: an image, then the images nearest to it, nearest first; framed are those of another class.",
        alternative=f"{len(rows)} images, each with its nearest images beside it.",
    )
