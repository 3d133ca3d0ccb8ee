"""Recall, precision and F1 of single classes, the rarest first, and how little a few test images say about them.

The interval of a recall is Wilson's (J. American Statistical Association 22, 1927), at the number of independent images
that would vary as much as it does over seeds, draws of the labels and test groups (Dean and Pagano, J. Survey Statistics
and Methodology 3, 2015), and never more than there are images: a recall of 0.5 on 22 images is known to 19 points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import special

from selfstudy.study._comparison import ERROR, Comparison
from selfstudy.study._findings import ClassScore, ClassSupport
from selfstudy.study._intervals import Estimate, Grid, estimate_mean
from selfstudy.study._record import StudyRecord

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
                    half_width=half_width(num_groups),
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
            for each in classes:
                called = np.stack([_members(answers, each.number) for answers in predictions])
                found.append(_score(key, cells, called[:, each.known], each))
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


def _score(key: tuple[str, str, str], cells: Grid, called: np.ndarray, each: _TestClass) -> ClassScore:
    """`called` bool [K, T]: which of the known test images each of the row's K cells puts into the class."""
    name, protocol, labels = key
    right, support = called[:, each.rows].astype(np.float64), len(each.rows)
    recall = right.mean(1)
    deviations = np.add.reduceat(right - recall[:, None], each.starts, axis=1) / support
    shape = cells.values.shape
    recalls = Grid(recall.reshape(shape), deviations.reshape(*shape, -1), cells.draws, cells.seeds)
    estimate = estimate_mean(recalls, NO_FLOOR)
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


def wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """The interval of a proportion seen on `count` independent images."""
    z = float(special.ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def half_width(count: int) -> float:
    """Of the interval of a proportion of one half: 0.19 for 22."""
    low, high = wilson(0.5, count, 1 - ERROR)
    return (high - low) / 2


def effective_count(estimate: Estimate, num_images: int, num_groups: int, confidence: float) -> float:
    """How many independent images would leave a proportion as uncertain as it is: `num_images` at most.

    Few groups, draws or seeds make the quantile wider than the normal's; the images are counted less by as much (Korn and
    Graubard, Survey Methodology 24, 1998). Where all cells get all images right, or none, each group is one image.
    """
    share, variance = estimate.mean, estimate.variance
    if variance <= 0 or not 0 < share < 1:
        return float(num_groups)
    repeated = [part for source, part in estimate.components.items() if source != "test"]
    below = sum(part.mean_square**2 / (part.count - 1) for part in repeated)
    quantile = (1 + confidence) / 2
    freedom = max(1.0, variance**2 / below) if below > 0 else np.inf
    wider = special.stdtrit(freedom, quantile) / special.ndtri(quantile)
    if num_groups < num_images:
        few = special.stdtrit(max(1, num_groups - 1), quantile)
        wider *= few / special.stdtrit(num_images - 1, quantile) * (num_groups / max(1, num_groups - 1)) ** 0.5
    return min(float(num_images), share * (1 - share) / variance) / float(wider) ** 2


def _members(labels: np.ndarray, number: int) -> np.ndarray:
    """Bool [T]: which of the classes int64 [T], or of the attributes int64 [T, A], are the one of that number."""
    return labels == number if labels.ndim == 1 else labels[:, number] == 1


def _groups(record: StudyRecord) -> np.ndarray:
    """Int64 [T]."""
    return np.unique(record.test_groups, return_inverse=True)[1]
