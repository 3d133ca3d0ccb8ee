"""prototype: the class whose mean is nearest, in centred features of unit length: nothing to choose at one label each.

Source  Snell, Swersky, Zemel, NeurIPS 2017, arXiv:1703.05175, section 2.3: the mean of a class's labelled features is
        its prototype, its probability the softmax over minus the squared Euclidean distances. On features that were
        not trained for it they are centred and brought to unit length first: CL2N of Wang, Chao, Weinberger, van der
        Maaten 2019, arXiv:1911.04623, section 3.
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  nothing: few-shot learning has no labels to spare. The centre is the pool's, which costs no label.
Rows    n labels, K classes or A attributes, each of which has two prototypes: of having it, and of not.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.evaluation._protocol import Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings: it chooses nothing."""


CHOSEN: Mapping[str, str] = {"chosen_by": "nothing is chosen"}


class Prototype(Protocol[Config]):
    Config = Config
    needs = "features"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.features is not None
        started = time.perf_counter()
        centre = task.features[task.pool_rows].mean(0)
        known, asked = (
            F.normalize(task.features[rows] - centre, dim=1).double() for rows in (task.train_rows, task.test_rows)
        )
        answer = _attributes if task.multi_label else _classes
        return task.scores(
            answer(known, task.train_labels, asked, task.num_classes), CHOSEN, time.perf_counter() - started
        )


def _classes(known: Tensor, labels: Tensor, asked: Tensor, num_classes: int) -> Tensor:
    """Float64 [T, K], 0 for a class without a label."""
    found = labels.unique()
    prototypes = torch.stack([known[labels == label].mean(0) for label in found])
    probabilities = torch.zeros(len(asked), num_classes, dtype=torch.float64)
    probabilities[:, found] = (-_squared_distances(asked, prototypes)).softmax(1)
    return probabilities


def _attributes(known: Tensor, marks: Tensor, asked: Tensor, num_attributes: int) -> Tensor:
    """Float64 [T, A]; of an attribute with one value only that value, 0.5 where no mark is known."""
    probabilities = torch.full((len(asked), num_attributes), 0.5, dtype=torch.float64)
    for attribute in range(num_attributes):
        values = marks[:, attribute][marks[:, attribute] >= 0].unique()
        if len(values) == 1:
            probabilities[:, attribute] = values[0].double()
        elif len(values) == 2:
            pair = torch.stack([known[marks[:, attribute] == value].mean(0) for value in (0, 1)])
            probabilities[:, attribute] = (-_squared_distances(asked, pair)).softmax(1)[:, 1]
    return probabilities


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """[N, D] and [K, D] to [N, K]."""
    return torch.cdist(points, centres).square()
