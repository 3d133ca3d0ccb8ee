"""Confused: the pairs of classes that the classifier mixes up most, with examples.

Judged  images that it has not learned from. A pair is ordered: 4 taken for 9 is not 9 taken for 4.
"""

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from selfstudy.evaluation import confusion_matrix
from selfstudy.explain._analysis import Analysis, Need, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._judged import judged
from selfstudy.explain._pictures import Tile, displayed, sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    pairs: Annotated[int, Field(ge=1)] = 5
    examples: Annotated[int, Field(ge=1)] = 4  # of each pair: those named wrongly with the most confidence


class Confused(Analysis[Config]):
    Config = Config
    needs = frozenset[Need]({"labels", "classifier"})

    def run(self, subject: Subject) -> Findings:
        rows, truth, answers, confidence = judged(subject)
        classes = subject.images.classes
        counts = confusion_matrix(truth, answers, len(classes))
        off = counts.clone().fill_diagonal_(0).flatten()
        order = off.argsort(descending=True, stable=True)[: self.config.pairs]
        pairs = [(int(place) // len(classes), int(place) % len(classes)) for place in order if off[place] > 0]
        table = pd.DataFrame(
            [
                (classes[own], classes[said], int(counts[own, said]), int(counts[own].sum()), float(counts[own, said] / counts[own].sum()))
                for own, said in pairs
            ],
            columns=["label", "answer", "num_images", "num_of_class", "share"],
        )  # fmt: skip
        wrong = int(off.sum())
        numbers = {"num_judged": float(len(rows)), "num_wrong": float(wrong)}
        if not pairs:
            return Findings(
                sentence=f"None of the {len(rows)} images judged is named wrongly.", numbers=numbers, table=table
            )
        first = table.iloc[0]
        sentence = (
            f"{wrong} of {len(rows)} images are named wrongly; most often {first['label']} is taken for {first['answer']}: "
            f"{first['num_images']} of {first['num_of_class']} images ({100 * first['share']:.0f} %)."
        )
        numbers["most_confused"] = float(first["share"])
        return Findings(
            sentence=sentence, numbers=numbers, table=table,
            pictures={"examples": self._drawn(subject, pairs, rows, truth, answers, confidence)},
        )  # fmt: skip

    def _drawn(self, subject: Subject, pairs: list[tuple[int, int]], rows: Tensor, truth: Tensor, answers: Tensor, confidence: Tensor) -> Picture:  # fmt: skip
        lines, classes = [], subject.images.classes
        for own, said in pairs:
            found = torch.nonzero((truth == own) & (answers == said))[:, 0]
            found = found[confidence[found].argsort(descending=True, stable=True)][: self.config.examples]
            pictures = displayed(subject.images.images[rows[found]])
            lines.append([Tile(pixels, f"{classes[own]} > {classes[said]}") for pixels in pictures])
        return Picture(
            pixels=sheet(lines),
            caption="Each row a pair of classes, most confused first: what the images are, and what they were taken for.",
            alternative=f"Examples of {len(pairs)} pairs of classes that are mixed up.",
        )
