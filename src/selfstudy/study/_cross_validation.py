"""Every labelled image tested in its turn: what each fold of a round learns from, and its answers put together.

A cell of a study in rounds is one draw: one round, in which every fold is tested by what its own labels taught. Its answers
stand in the order of the labelled images, so whoever reads a cell need not know that it was made in parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from selfstudy.evaluation import Pages, measure, measure_attributes, undefined
from selfstudy.images import ImageSet, Split
from selfstudy.types import Scores

MOST_NAMED = 5  # attributes in a remark


@dataclass(frozen=True, eq=False)
class Rounds:
    """T labelled images of N, dealt into folds R times."""

    images: ImageSet
    rows: np.ndarray  # int64 [T], ascending
    arrivals: np.ndarray  # int64 [N], as in Split; -1 without label
    folds: np.ndarray  # int64 [R, T], as images.rounds gives them

    @property
    def num_folds(self) -> int:
        return int(self.folds.max()) + 1

    def part(self, draw: int, fold: int) -> Split:
        """The split in which a fold of the round of a draw is tested: nobody of a tested group is learned from."""
        tested = self.rows[self.folds[draw % len(self.folds)] == fold]
        apart = ~np.isin(self.images.groups, self.images.groups[tested])
        return Split(np.flatnonzero(apart), tested, self.arrivals[apart])

    @cached_property
    def constant(self) -> np.ndarray:
        """Bool [R, folds, A]: which attributes have one value only in a fold, and no score there; A = 0 where there are classes."""
        assert self.images.labels is not None
        marks = self.images.labels.numpy()[self.rows]
        if not self.images.multi_label:
            return np.zeros((len(self.folds), self.num_folds, 0), dtype=bool)
        return np.stack([[undefined(marks[fold == number]) for number in range(self.num_folds)] for fold in self.folds])

    @property
    def can_be_scored(self) -> bool:
        """Whether every fold holds an attribute with both values (or there are classes, of which one is enough)."""
        return not self.images.multi_label or not bool(self.constant.all(2).any())

    @property
    def remark(self) -> str:
        """On attributes that some folds cannot score; "" where there are none."""
        counts = self.constant.sum((0, 1))
        few = [f"{self.images.classes[number]} ({counts[number]})" for number in np.flatnonzero(counts).tolist()]
        if not few:
            return ""
        rest = f" and {len(few) - MOST_NAMED} more" if len(few) > MOST_NAMED else ""
        return (
            f"an attribute with one value only in a fold has no part in that fold's score: {', '.join(few[:MOST_NAMED])}{rest}, of "
            f"{self.folds.shape[0] * self.num_folds} folds"
        )

    @property
    def tested(self) -> np.ndarray:
        """Int64 [P], positions among the T: the first row of every picture that is tested (a page where rows are tiles)."""
        return Pages.of(self.images, torch.from_numpy(self.rows)).first.numpy()

    def merge(self, draw: int, parts: Sequence[Scores]) -> Scores:
        """The scores of a round from those of its folds, in order: metrics over all answers, sums of seconds."""
        answers = self._together(draw, [part.probabilities for part in parts])
        predictions = self._together(draw, [part.predictions for part in parts])
        assert self.images.labels is not None
        truth = self.images.labels[torch.from_numpy(self.rows[self.tested])]
        if self.images.multi_label:
            metrics = measure_attributes(truth.numpy(), answers.numpy())
        else:
            metrics = measure(truth, answers)
        costs = {name: float(np.mean([part.costs[name] for part in parts])) for name in parts[0].costs}
        return Scores(
            metrics, predictions, _chosen([part.chosen for part in parts]), sum(part.seconds for part in parts), costs,
            probabilities=answers, details={"folds": [dict(part.details) for part in parts]},
        )  # fmt: skip

    def _together(self, draw: int, parts: Sequence[Tensor | None]) -> Tensor:
        """One row for every picture tested, from those of each fold."""
        order = np.concatenate([self._order(draw, fold) for fold in range(len(parts))])
        stacked = torch.cat([part for part in parts if part is not None])
        return stacked[torch.from_numpy(np.argsort(order))]

    def _order(self, draw: int, fold: int) -> np.ndarray:
        """Positions among the N of the pictures of a fold, in the order of its scores."""
        tested = self.part(draw, fold).test_rows
        return tested[Pages.of(self.images, torch.from_numpy(tested)).first.numpy()]


def _chosen(parts: Sequence[Mapping[str, float | int | str]]) -> dict[str, float | int | str]:
    """What the folds chose: the one value, the mean validation score, or every value in order of the folds."""
    found: dict[str, float | int | str] = {}
    for key in parts[0]:
        values = [part[key] for part in parts if key in part]
        if key == "validation_score":
            found[key] = float(np.mean([float(value) for value in values]))
        else:
            found[key] = values[0] if len(set(values)) == 1 else ", ".join(dict.fromkeys(map(str, values)))
    return found
