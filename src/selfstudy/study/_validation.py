"""What an evaluation scored inside its label budget, where no test image was read."""

from collections.abc import Mapping
from typing import Any

VALIDATION = "validation_score"  # in `chosen` of scores.json: of the value chosen, by the study's metric, in [0, 1]


def validation_score(evaluation: Mapping[str, Any], metric: str) -> float | None:
    """Of the settings that an evaluation, its scores.json, chose; None if it chose nothing.

    What it says itself, or the best of its search; in cross-validation the mean over the folds of their best.
    """
    score = evaluation.get("chosen", {}).get(VALIDATION)
    if score is not None:
        return float(score)
    best = [
        max((float(trial[metric]) for trial in trials if metric in trial), default=None)
        for trials in searches(evaluation)
    ]
    known = [value for value in best if value is not None]
    return sum(known) / len(known) if known and len(known) == len(best) else None


def searches(evaluation: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The trials of its search on the labels: one list, or in cross-validation one for each fold; empty without a search."""
    details = evaluation.get("details", {})
    return [part.get("search", []) for part in details.get("folds", [details])]
