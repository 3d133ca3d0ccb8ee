"""Recall, precision and F1 of single classes, the rarest first, and how little a few test images say about them.

The interval of a recall is that of a share, see `_shares.py`: a recall of 0.5 on 22 images is known to 19 points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from selfstudy.study._comparison import ERROR, Comparison
from selfstudy.study._findings import ClassScore, ClassSupport
from selfstudy.study._intervals import Estimate, Grid, estimate_mean
from selfstudy.study._record import StudyRecord
from selfstudy.study._shares import effective_count, half_width, share_spread, wilson

RARE = 30  # test groups of a class, below which its recall is known to 17 points or worse
NO_FLOOR = 10**9  # groups: Wilson's interval needs no floor under the variance
MOST_CLASSES = 100  # the rarest: of a thousand classes the summary would be a hundred megabytes


def supports(labels: np.ndarray, groups: np.ndarray, classes: Sequence[str]) -> list[ClassSupport]:
    """The classes of the test images, rarest first, MOST_CLASSES at most; a class without test images has no recall.

    `labels` int64 [T] of classes, or [T, A] of attributes; `groups` str [T].
    """
    found = []
    for number, name in enumerate(classes):
        members = _members(labels, number)
        num_groups = len(np.unique(groups[members]))
        if num_groups:
            found.append(
                ClassSupport(
                    name=name,
                    num_test_images=int(members.sum()),
                    num_test_groups=num_groups,
                    rare=num_groups < RARE,
                    half_width=half_width(num_groups, 1 - ERROR),
                )
            )
    return sorted(found, key=lambda each: (each["num_test_groups"], each["num_test_images"]))[:MOST_CLASSES]


def class_scores(comparison: Comparison) -> list[ClassScore]:
    """Every row at every label count, by the protocol that decides for it, of the classes of `supports`."""
    record = comparison.record
    classes = [
        _TestClass.of(record, record.classes.index(found["name"]))
        for found in supports(record.test_labels, record.test_groups, record.classes)
    ]
    found = []
    for name in comparison.rows:
        for labels in comparison.labels:
            key = name, comparison.protocols[name], labels
            if key not in comparison.grids:
                continue
            cells = comparison.cell_grids[key]
            predictions = [record.predictions(cell) for cell in comparison.cells_of(key)]
            called = [
                np.stack([_members(answers, each.number) for answers in predictions])[:, each.known] for each in classes
            ]
            estimates = [_recall(cells, right, each) for right, each in zip(called, classes, strict=True)]
            spread = share_spread(estimates, [len(each.rows) for each in classes])
            for right, each, estimate in zip(called, classes, spread, strict=True):
                found.append(_score(key, right, each, estimate))
    return found


@dataclass(frozen=True, eq=False)
class _TestClass:
    """A class (or an attribute) in the test images."""

    number: int
    name: str
    known: np.ndarray  # bool [T]: all test images; of an attribute, those whose mark is known
    rows: np.ndarray  # int64 [n]: its test images, by group, among those known
    starts: np.ndarray  # int64 [G]: where each of its groups begins in `rows`

    @classmethod
    def of(cls, record: StudyRecord, number: int) -> Self:
        labels = record.test_labels
        known = labels[:, number] >= 0 if record.multi_label else np.ones(len(labels), dtype=bool)
        groups, members = _groups(record)[known], _members(labels, number)[known]
        rows = np.flatnonzero(members)
        rows = rows[np.argsort(groups[rows], kind="stable")]
        return cls(number, record.classes[number], known, rows, np.unique(groups[rows], return_index=True)[1])


def _recall(cells: Grid, called: np.ndarray, each: _TestClass) -> Estimate:
    """`called` bool [K, T]: which of the known test images each of the row's K cells puts into the class."""
    right = called[:, each.rows].astype(np.float64)
    recall = right.mean(1)
    deviations = np.add.reduceat(right - recall[:, None], each.starts, axis=1) / len(each.rows)
    shape = cells.values.shape
    return estimate_mean(
        Grid(recall.reshape(shape), deviations.reshape(*shape, -1), cells.draws, cells.seeds), NO_FLOOR
    )


def _score(key: tuple[str, str, str], called: np.ndarray, each: _TestClass, estimate: Estimate) -> ClassScore:
    """`called` as in `_recall`."""
    name, protocol, labels = key
    right, support = called[:, each.rows].astype(np.float64), len(each.rows)
    count = effective_count(estimate, support, len(each.starts), 1 - ERROR)
    low, high = wilson(min(1.0, estimate.mean), count, 1 - ERROR)
    hits, predicted = right.sum(1), called.sum(1)
    return ClassScore(
        row=name,
        protocol=protocol,
        labels=labels,
        name=each.name,
        support=support,
        num_cells=len(called),
        recall=estimate.mean,
        low=low,
        high=high,
        confidence=1 - ERROR,
        precision=float((hits / np.maximum(predicted, 1)).mean()),  # 0 where the class is never named
        f1=float((2 * hits / (support + predicted)).mean()),
    )


def _members(labels: np.ndarray, number: int) -> np.ndarray:
    """Bool [T]: which of the classes int64 [T], or of the attributes int64 [T, A], are the one of that number."""
    return labels == number if labels.ndim == 1 else labels[:, number] == 1


def _groups(record: StudyRecord) -> np.ndarray:
    """Int64 [T]."""
    return np.unique(record.test_groups, return_inverse=True)[1]
