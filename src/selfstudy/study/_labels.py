"""Numbers of labels read off between the label counts of a study: where supervised catches up, and what labels are saved.

Between two label counts a difference is joined by a straight line over the logarithm of the number of labels: the
simplest curve through what was measured, and no law. Beyond the label counts of the study nothing is read off. The ends
are read off the ends of the intervals in the same way, so each holds at the confidence of a single comparison.
"""

import math
from collections.abc import Sequence

from selfstudy.study._comparison import ERROR, Comparison
from selfstudy.study._findings import LabelRange, LabelsSaved
from selfstudy.study._intervals import estimate_contrast
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Statement


def catches_up(record: StudyRecord, statements: Sequence[Statement]) -> LabelRange:
    """Where the difference of row a to supervised training, of which these are the verdicts, comes down to 0."""
    statements = sorted(statements, key=lambda statement: record.num_labels(statement["labels"]))
    return _label_range(
        [record.num_labels(statement["labels"]) for statement in statements],
        [(statement["low"], statement["difference"], statement["high"]) for statement in statements],
    )


def labels_saved(comparison: Comparison) -> list[LabelsSaved]:
    """For every learned row and label count: with how many labels supervised training scores as much."""
    record, found = comparison.record, []
    for row in comparison.rows.values():
        other = comparison.reference("supervised", row)
        if row.kind != "learned" or other is None:
            continue
        curve = [(record.num_labels(name), grid) for name in record.labels if (grid := comparison.grid(other, name))]
        for labels in record.labels:
            cells = comparison.grid(row.name, labels)
            if cells is None or not curve:
                continue
            ends = []
            for _, supervised in curve:
                estimate = estimate_contrast(cells, supervised, comparison.num_groups)
                low, high = estimate.interval(1 - ERROR)
                ends.append((low, estimate.mean, high))
            found.append(
                LabelsSaved(
                    a=row.name,
                    b=other,
                    labels=labels,
                    num_labels=record.num_labels(labels),
                    score=float(cells.values.mean()),
                    needed=_label_range([number for number, _ in curve], ends),
                    confidence=1 - ERROR,
                    fewest=curve[0][0],
                    most=curve[-1][0],
                )
            )
    return found


def _label_range(numbers: Sequence[float], ends: Sequence[tuple[float, float, float]]) -> LabelRange:
    """From (low, difference, high) at each number of labels, ascending."""
    low, estimate, high = (first_crossing(numbers, [each[place] for each in ends]) for place in range(3))
    return LabelRange(estimate=estimate, low=low, high=high)


def first_crossing(numbers: Sequence[float], values: Sequence[float]) -> float | None:
    """The smallest number at which the values, joined by lines over its logarithm, are 0 or less; None if they never are."""
    for place, value in enumerate(values):
        if value <= 0:
            if place == 0:
                return numbers[0]
            before = values[place - 1]
            share = before / (before - value)
            start, stop = math.log(numbers[place - 1]), math.log(numbers[place])
            return math.exp(start + share * (stop - start))
    return None
