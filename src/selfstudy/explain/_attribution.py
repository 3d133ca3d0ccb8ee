"""The contract of an attribution: how much every pixel has to do with a number that an encoder gives.

Maps are float32 [N, H, W] on the CPU, a value per pixel of what the encoder is fed, colours taken together. Where a method
tells for from against, its maps are signed, and add up to what the colours' do.
"""

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfstudy import catalog, config
from selfstudy.errors import RunError, UserError
from selfstudy.explain._analysis import Analysis, Need, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, heat, sheet
from selfstudy.explain._questions import Question, about_classes

Settings = TypeVar("Settings")
CHUNK = 16  # views explained at once: a vision transformer's gradients of 224 px need some 100 MB each
INNER_BATCH = 64  # views that a method of many passes makes of them at once


class Attribution(Analysis[Settings]):
    """Subclass it as `Attribution[Config]` in explain/NAME.py: `attribute` is all it has to say."""

    needs: ClassVar[frozenset[Need]] = frozenset({"classifier"})
    title: ClassVar[str]  # of the method, in a sentence: "integrated gradients"
    signed: ClassVar[bool]

    @abstractmethod
    def attribute(self, question: Question) -> Tensor:
        """Float32 [N, H, W] of at most CHUNK views."""

    def maps(self, question: Question) -> Tensor:
        """Float32 [N, H, W] on the CPU. Raises RunError where they are not finite."""
        found = torch.cat([self.attribute(part).detach().float().cpu() for part in question.chunks(CHUNK)])
        if not torch.isfinite(found).all():
            raise RunError(f"{self.title} gives values that are not finite: the encoder's training diverged")
        return found

    def run(self, subject: Subject) -> Findings:
        """Why the class that the classifier names?"""
        viewer, rows = subject.viewer, subject.rows
        probability, answers = viewer.probabilities(rows).max(1)
        question = about_classes(subject, viewer, rows, answers)
        maps = self.maps(question)
        table = pd.DataFrame({
            "id": [subject.id_of(row) for row in rows.tolist()], "label": [subject.class_of(row) for row in rows.tolist()],
            "answer": question.names, "probability": probability.numpy(), **measured(question, maps),
        })  # fmt: skip
        half = float(table["half_on"].mean())
        sentence = (
            f"By {self.title}, half of the attribution for the class that is named lies on {100 * half:.0f} % of the pixels "
            f"(mean of {len(rows)} images; 50 % would be everywhere alike)."
        )
        caption = f"Above the image with the class it was taken for (framed: wrongly), below its attribution by {self.title}: " + legend(self.signed)  # fmt: skip
        wrong = [bool(label) and label != answer for label, answer in zip(table["label"], table["answer"], strict=True)]
        picture = side_by_side(question, maps, table["answer"].tolist(), wrong, caption)
        return Findings(sentence=sentence, numbers={"half_on": half}, table=table, pictures={"maps": picture})


def find(name: str, settings: dict[str, object] | None = None) -> Attribution[Any]:
    """The attribution of a name, with its defaults but for `settings`. UserError if it is none."""
    names = catalog.names("explain")
    kind = catalog.find("explain", name, Analysis) if name in names or name.endswith(".py") else None
    if kind is None or not issubclass(kind, Attribution):
        known = [one for one in names if issubclass(catalog.find("explain", one, Analysis), Attribution)]
        raise UserError(f'there is no attribution "{name}": expected one of {", ".join(known)}')
    return kind(config.validate(kind.Config, settings or {}, name))


def legend(signed: bool) -> str:
    """How to read the colours."""
    return "orange speaks for it, blue against it." if signed else "the stronger the orange, the more it matters."


def measured(question: Question, maps: Tensor) -> dict[str, np.ndarray]:
    """Columns of a table, [N] each: the score explained, that of the baseline, what the map adds up to, and its spread."""
    return {
        "score": question.scores(question.views).numpy(),
        "baseline_score": question.scores(question.baseline.expand_as(question.views)).numpy(),
        "total": maps.double().sum((1, 2)).numpy(),
        "half_on": half_on(maps).numpy(),
    }


def half_on(maps: Tensor) -> Tensor:
    """Float64 [N]: the least share of the pixels that hold half of |attribution|. All alike: 0.5; all on one pixel: 1 / P.

    A map of zeros is alike everywhere.
    """
    values = maps.double().abs().flatten(1)
    values = torch.where(values.sum(1, keepdim=True) > 0, values, 1.0)
    held = values.sort(1, descending=True).values.cumsum(1)
    return (held < held[:, -1:] / 2 * (1 - 1e-12)).sum(1).add(1).double() / values.shape[1]


def side_by_side(question: Question, maps: Tensor, texts: list[str], framed: list[bool], caption: str) -> Picture:
    """A sheet of the views above and their maps below."""
    above = [Tile(pixels, text, frame) for pixels, text, frame in zip(displayed(question.views), texts, framed, strict=True)]  # fmt: skip
    below = [Tile(pixels) for pixels in heat(question.views, maps)]
    alternative = f"{len(above)} images ({', '.join(texts)}), and below each a map of the pixels that mattered."
    return Picture(pixels=sheet([above, below]), caption=caption, alternative=alternative)
