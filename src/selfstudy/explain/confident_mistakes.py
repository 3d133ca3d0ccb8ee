"""Confident mistakes: the images named wrongly with the most confidence. Look at them first: many are wrong labels.

Source  sorting by the model's own confidence is the baseline of Northcutt, Jiang, Chuang, JAIR 2021, arXiv:1911.00068.
Judged  images that the classifier has not learned from. Confidences are of its softmax, not calibrated.
"""

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field

from selfstudy.explain._analysis import Analysis, Need, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._judged import judged
from selfstudy.explain._pictures import Tile, displayed, sheet

COLUMNS = 6  # of the sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    count: Annotated[int, Field(ge=1)] = 12
    sure: Annotated[float, Field(gt=0, lt=1)] = 0.9  # a confidence from which on a mistake counts as a confident one


class ConfidentMistakes(Analysis[Config]):
    Config = Config
    needs = frozenset[Need]({"labels", "classifier"})

    def run(self, subject: Subject) -> Findings:
        rows, truth, answers, confidence = judged(subject)
        wrong = torch.nonzero(answers != truth)[:, 0]
        sure = int((confidence[wrong] >= self.config.sure).sum())
        numbers = {"num_judged": float(len(rows)), "num_wrong": float(len(wrong)), "num_sure": float(sure)}
        found = wrong[confidence[wrong].argsort(descending=True, stable=True)][: self.config.count]
        classes = subject.images.classes
        table = pd.DataFrame({
            "id": [subject.id_of(row) for row in rows[found].tolist()], "path": subject.images.paths[rows[found].numpy()],
            "label": [classes[number] for number in truth[found].tolist()],
            "answer": [classes[number] for number in answers[found].tolist()], "confidence": confidence[found].numpy(),
        })  # fmt: skip
        if not len(found):
            return Findings(
                sentence=f"None of the {len(rows)} images judged is named wrongly.", numbers=numbers, table=table
            )
        sentence = f"{sure} of {len(wrong)} wrong answers are given with a confidence of {self.config.sure:g} or more; look at these for wrong labels."  # fmt: skip
        pictures = displayed(subject.images.images[rows[found]])
        tiles = [
            Tile(pixels, f"{line.label} > {line.answer} {line.confidence:.2f}")
            for pixels, line in zip(pictures, table.itertuples(), strict=True)
        ]
        shown = Picture(
            pixels=sheet([tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]),
            caption="The surest mistakes: the label, what it was taken for, and the confidence of that.",
            alternative=f"{len(tiles)} images named wrongly, the surest first.",
        )
        return Findings(sentence=sentence, numbers=numbers, table=table, pictures={"mistakes": shown})
