"""Similarity: why an encoder takes two pictures for alike. It needs no labels and no classifier.

Source  the attributions of saliency, integrated gradients, occlusion or Grad-CAM, asked of the cosine of two features;
        for encoders without labels: Crabbe and van der Schaar, ICML 2022, arXiv:2203.01928, §2 (their weighting of the
        features by the picture's own is the gradient of such a product).
Asked   `to: neighbour`, the nearest image of another group; `class_mean`, the mean feature of the image's own class (of
        its other images; needs labels); `views`, two random views of the picture, the second held still.
Range   in units of the cosine, -1 to 1.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._attribution import Attribution, find, legend, measured
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, heat, sheet
from selfstudy.explain._questions import Question, about_rows, about_similarity, nearest_rows, views_of
from selfstudy.views import Chain, Crop, parse, preset


@dataclass(frozen=True, kw_only=True)
class Config:
    to: Literal["neighbour", "class_mean", "views"] = "neighbour"
    method: str = "integrated_gradients"  # an attribution
    views: str = "photo"  # the preset of `to: views`, after a crop of 0.5 to 1 of the area


class Similarity(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        method = find(self.config.method)
        question, partners = self._question(subject)
        maps = method.maps(question)
        numbers = measured(question, maps)
        rows = subject.rows.tolist()
        table = pd.DataFrame({
            "id": [subject.id_of(row) for row in rows], "label": [subject.class_of(row) for row in rows],
            "asked": question.names, **numbers,
        })  # fmt: skip
        cosine, half = float(table["score"].mean()), float(table["half_on"].mean())
        sentence = (
            f"Without labels, by {method.title}: the cosine with {_what(self.config.to)} is {cosine:.2f} on average, and half of what "
            f"explains it lies on {100 * half:.0f} % of the pixels (50 % would be everywhere alike)."
        )
        return Findings(
            sentence=sentence, numbers={"cosine": cosine, "half_on": half}, table=table,
            pictures={"maps": _drawn(question, maps, partners, method, self.config.to)},
        )  # fmt: skip

    def _question(self, subject: Subject) -> tuple[Question, Tensor | None]:
        """What is asked, and the pictures that each image is held against, float32 [n, C, H, W], where there are such."""
        viewer, rows = subject.viewer, subject.rows
        match self.config.to:
            case "neighbour":
                others = nearest_rows(subject, viewer, rows)
                return about_rows(subject, viewer, rows, others), views_of(subject, viewer, others)
            case "class_mean":
                means, names = class_means(subject, rows)
                return about_similarity(subject, viewer, views_of(subject, viewer, rows), means, names), None
            case "views":
                first, second = self._two_views(subject)
                network = viewer.encoder
                backbone = network.backbone.to(subject.device).eval()
                with torch.no_grad():
                    held = network.pool(second).float()
                assert not backbone.training
                names = ("another view of it",) * len(rows)
                return about_similarity(subject, viewer, first, held, names), second

    def _two_views(self, subject: Subject) -> list[Tensor]:
        """Two random views of every image, float32 [n, C, H, W] each, as the encoder is fed."""
        feed = subject.viewer.encoder.feed
        crop = Crop(scale=(0.5, 1.0), ratio=(1.0, 1.0))
        chain = Chain(size=feed.size, crop=crop, steps=()).with_steps(
            parse(preset(self.config.views, "views"), "views")
        )
        images = subject.images.images[subject.rows].to(subject.device)
        index = subject.rows.to(subject.device)
        return [feed.of_view(chain(images, index, subject.rng.fork("view", number))) for number in range(2)]


def class_means(subject: Subject, rows: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """The mean of the unit features of each row's class without the row's own group, float32 [n, D], and the classes."""
    labels = subject.labels
    if labels is None or (labels[rows] < 0).any():
        raise UserError("similarity to a class mean needs images with one class each; to=neighbour needs no labels")
    unit, groups = F.normalize(subject.viewer.features, dim=1), subject.images.groups
    means = []
    for row in rows.tolist():
        others = (labels == labels[row]) & torch.from_numpy(groups != groups[row])
        if not others.any():
            raise UserError(
                f'the class "{subject.class_of(row)}" has one group only, so it has no mean beside the image\'s own'
            )
        means.append(unit[others].mean(0))
    return torch.stack(means), tuple(subject.class_of(row) for row in rows.tolist())


def _what(to: str) -> str:
    return {
        "neighbour": "the nearest image",
        "class_mean": "the mean of its class",
        "views": "another view of the same picture",
    }[to]


def _drawn(question: Question, maps: Tensor, partners: Tensor | None, method: Attribution, to: str) -> Picture:
    rows = [
        [Tile(pixels, f"{score:.2f}") for pixels, score in zip(displayed(question.views), question.scores(question.views).tolist(), strict=True)]
    ]  # fmt: skip
    if partners is not None:
        rows.append([Tile(pixels) for pixels in displayed(partners)])
    rows.append([Tile(pixels) for pixels in heat(question.views, maps)])
    middle = f"in the middle {_what(to)}, " if partners is not None else ""
    return Picture(
        pixels=sheet(rows),
        caption=f"Above the image and its cosine with {_what(to)}, {middle}below what makes them alike by {method.title}: {legend(method.signed)}",
        alternative=f"{len(maps)} images, and below each a map of the pixels that make it alike to {_what(to)}.",
    )
