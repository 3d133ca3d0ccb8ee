"""The row to take at every label count: chosen by validation inside the label budget, and only then looked at on test.

A protocol that cross-validates leaves `validation_score` among what it chose, one that searches every trial's. Where labels are too few for that (fewer
than 5 per class), the row is chosen at the next larger label count that has such scores: that reads labels beyond the
budget, but no test image, so what it then scores on test is no maximum of lucky numbers. Where no label count has any, the
test scores choose, and the verdicts are as wide as it takes to cover the choice.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from selfstudy.study._comparison import ERROR, Comparison
from selfstudy.study._intervals import Estimate, estimate_mean, holm_confidences
from selfstudy.study._summary import ChosenBy, Statement, ValidationScore, Winner
from selfstudy.study._validation import validation_score

FEWEST = 2  # rows, or nothing was chosen


def winners(comparison: Comparison) -> list[Winner]:
    """One for every label count at which two rows or more have test scores, fewest labels first."""
    scores = {labels: validation_scores(comparison, labels) for labels in comparison.labels}
    found = []
    for labels in comparison.labels:
        rows = _tested(comparison, labels)
        if len(rows) >= FEWEST:
            found.append(_winner(comparison, labels, rows, scores))
    return found


def validation_scores(comparison: Comparison, labels: str) -> list[ValidationScore]:
    """Of the rows that were validated at a label count, best first, on the draws that all of them have."""
    by_row: dict[str, dict[int, list[float]]] = {}
    for name, row in comparison.rows.items():
        if row.kind == "majority":
            continue
        for draw, cell in comparison.drawn(name, labels):
            score = validation_score(comparison.record.evaluation(cell), comparison.record.metric)
            if score is not None:
                by_row.setdefault(name, {}).setdefault(draw, []).append(score)
    shared = set.intersection(*(set(draws) for draws in by_row.values())) if by_row else set()
    if not shared:
        return []
    found = [
        ValidationScore(
            row=name,
            mean=float(np.mean([np.mean(draws[draw]) for draw in sorted(shared)])),
            num_cells=sum(len(draws[draw]) for draw in shared),
        )
        for name, draws in by_row.items()
    ]
    return sorted(found, key=lambda score: -score["mean"])  # of equal ones the first of the study file


def _tested(comparison: Comparison, labels: str) -> dict[str, Estimate]:
    """The mean on the test images of every row with scores at a label count."""
    return {
        name: estimate_mean(found, comparison.num_groups)
        for name, row in comparison.rows.items()
        if row.kind != "majority" and (found := comparison.grid(name, labels)) is not None
    }


def _winner(
    comparison: Comparison, labels: str, rows: Mapping[str, Estimate], scores: Mapping[str, Sequence[ValidationScore]]
) -> Winner:
    chosen_by, chosen_at, candidates = _candidates(comparison, labels, rows, scores)
    row = candidates[0]["row"]
    low, high = rows[row].interval(1 - ERROR)
    best = max(rows, key=lambda name: rows[name].mean)
    ranked = {candidate["row"] for candidate in candidates}
    return Winner(
        labels=labels,
        row=row,
        protocol=comparison.protocols[row],
        chosen_by=chosen_by,
        chosen_at=chosen_at,
        candidates=candidates,
        unranked=[name for name in rows if name not in ranked],
        mean=rows[row].mean,
        low=max(0.0, low),
        high=min(1.0, high),
        confidence=1 - ERROR,
        against=_against(comparison, labels, [candidate["row"] for candidate in candidates], chosen_by),
        best_on_test=best,
        regret=rows[best].mean - rows[row].mean,
    )


def _candidates(
    comparison: Comparison, labels: str, rows: Mapping[str, Estimate], scores: Mapping[str, Sequence[ValidationScore]]
) -> tuple[ChosenBy, str, list[ValidationScore]]:
    """How, and at how many labels, the rows were put in order, and the order."""
    for place in comparison.labels[comparison.labels.index(labels) :]:
        candidates = [score for score in scores[place] if score["row"] in rows]
        if len(candidates) >= FEWEST:
            return "validation" if place == labels else "validation at more labels", place, candidates
    means = [
        ValidationScore(row=name, mean=found.mean, num_cells=len(comparison.drawn(name, labels)))
        for name, found in rows.items()
    ]
    return "test", labels, sorted(means, key=lambda score: -score["mean"])


def _against(comparison: Comparison, labels: str, order: Sequence[str], chosen_by: ChosenBy) -> list[Statement]:
    """The chosen row against the two baselines and the runner-up, all of them right with probability 1 - ERROR."""
    row = comparison.rows[order[0]]
    references = (comparison.reference("supervised", row), comparison.reference("untrained", row), order[1])
    others = [name for name in dict.fromkeys(references) if name not in (None, row.name)]
    estimates = {
        other: estimate
        for other in others
        if other is not None and (estimate := comparison.difference(row.name, other, labels)) is not None
    }
    if chosen_by == "test":  # any row might have come first: each has its share of ERROR, as in `best`
        confidences = [1 - ERROR / (len(order) - 1)] * len(estimates)
    else:
        confidences = holm_confidences([estimate.p_value for estimate in estimates.values()], ERROR)
    return [
        {
            **comparison.statement("winner", row.name, other, labels, estimate, confidence),
            "id": f"winner/{row.name}/{labels}/{other}",
        }
        for (other, estimate), confidence in zip(estimates.items(), confidences, strict=True)
    ]
