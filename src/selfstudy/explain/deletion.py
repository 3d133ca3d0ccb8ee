"""Deletion: whether the pixels that a map calls important are: the score falls when they go, and comes back with them.

Source  Petsiuk, Das, Saenko, BMVC 2018, arXiv:1806.07421, §4.2: deletion (lower is better) and insertion (higher is better)
        by the area below the curve. What is deleted takes the mean colour of the training images, and insertion begins there
        (the paper begins with a blurred picture, which at 28 px would hide nothing or all).
Range   of a classifier: the probability of the class; else the cosine with the nearest image.
Chance  the same curves with the pixels in random order; a map that does no better points at nothing.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._attribution import find
from selfstudy.explain._findings import Findings
from selfstudy.explain._questions import Question, about_answers

CURVES = ("deletion", "insertion", "random_deletion", "random_insertion")


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = "integrated_gradients"  # an attribution
    steps: Annotated[int, Field(ge=1)] = 16  # of the curves


class Deletion(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        method = find(self.config.method)
        question = about_answers(subject, subject.viewer, subject.rows)
        maps = method.maps(question)
        pixels = maps[0].numel()
        chance = subject.rng.fork("deletion").per_image(subject.rows).permutation(pixels).view(maps.shape)
        found = [*curves(question, maps, self.config.steps), *curves(question, chance, self.config.steps)]
        shares = np.linspace(0, 1, self.config.steps + 1)
        table = pd.DataFrame({"share": shares, **dict(zip(CURVES, (curve.mean(0) for curve in found), strict=True))})
        numbers = {name: area(table[name].to_numpy()) for name in CURVES}
        better = numbers["deletion"] < numbers["random_deletion"] and numbers["insertion"] > numbers["random_insertion"]
        sentence = (
            f"Deleting the pixels that {method.title} calls important leaves {numbers['deletion']:.2f} of the score on average, "
            f"random ones {numbers['random_deletion']:.2f}; inserting them gives {numbers['insertion']:.2f}, random ones "
            f"{numbers['random_insertion']:.2f}: "
            + ("the map points at what matters." if better else "the map is no better than chance in one of the two.")
        )
        return Findings(sentence=sentence, numbers=numbers, table=table)


def curves(question: Question, maps: Tensor, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 [N, steps + 1] while ever more pixels go, highest in `maps` [N, H, W] first, and while they come."""
    flat = maps.flatten(1)
    rank = flat.argsort(dim=1, descending=True, stable=True).argsort(1).view(maps.shape).to(question.views.device)
    views, empty = question.views, question.baseline.expand_as(question.views)
    gone, come = [], []
    for step in range(steps + 1):
        chosen = (rank < round(flat.shape[1] * step / steps))[:, None]
        gone.append(_strength(question, torch.where(chosen, empty, views)))
        come.append(_strength(question, torch.where(chosen, views, empty)))
    return np.stack(gone, axis=1), np.stack(come, axis=1)


def area(curve: np.ndarray) -> float:
    """The area below a curve [steps + 1] over 0 to 1, by trapezia."""
    return float((curve[1:] + curve[:-1]).mean() / 2)


def _strength(question: Question, views: Tensor) -> np.ndarray:
    with torch.no_grad():
        return question.network.strength(views, question.asked).double().cpu().numpy()
