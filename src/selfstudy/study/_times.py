"""Time to accuracy, and cost against accuracy.

Nothing is interpolated or extrapolated: a level counts as reached at the first point at which the mean over seeds and draws
was measured at or above it. Points on the way are there where the study file names levels, with the most labels
(`_learning_curves.py`); everywhere else a row has one point, its end: one pretraining and one evaluation.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from selfstudy.study._comparison import Comparison
from selfstudy.study._findings import LearningCurve, TimeTo, TradeOff
from selfstudy.study._learning_curves import curve_of
from selfstudy.study._spent import pretrained, spent
from selfstudy.study._summary import Point

STEP = 0.05  # levels that the study file does not name are multiples of it


def times_to(comparison: Comparison, points: Sequence[Point], curves: Sequence[LearningCurve]) -> list[TimeTo]:
    """Every level, row and label count. The levels are those of `time_to`, or else one that half of the rows reach."""
    record, runs = comparison.record, pretrained(comparison.record)
    deciding = _deciding(comparison, points)
    asked = record.settings.get("time_to", [])
    named = sorted(float(str(level)) for level in (asked if isinstance(asked, list) else [asked]))
    measured = {(curve["row"], curve["labels"]): curve for curve in reversed(curves)}
    seen = [measured.get((p["row"], p["labels"])) or curve_of(comparison, p, runs) for p in deciding]
    found: list[TimeTo] = []
    for level in named or _level(deciding):
        lines = [_line(comparison, curve, level, bool(named)) for curve in seen]
        for line in lines:
            rivals = [other["seconds"] for other in lines if other["entry"] == line["entry"]]
            fastest = min((seconds for seconds in rivals if seconds is not None), default=None)
            found.append({**line, "cheapest": fastest is not None and line["seconds"] == fastest})
    return found


def trade_offs(comparison: Comparison, points: Sequence[Point]) -> list[TradeOff]:
    """Every row at every label count, and which rows of the same label count are as good for less, or better."""
    runs = pretrained(comparison.record)
    costs = [(point, spent(comparison, point, runs)) for point in _deciding(comparison, points)]
    found = []
    for point, cost in costs:
        rivals = [
            other["row"]
            for other, its in costs
            if other["labels"] == point["labels"]
            and (other["mean"] >= point["mean"] and its.seconds <= cost.seconds)
            and (other["mean"] > point["mean"] or its.seconds < cost.seconds)
        ]
        found.append(
            TradeOff(
                row=point["row"],
                labels=point["labels"],
                protocol=point["protocol"],
                mean=point["mean"],
                low=point["low"],
                high=point["high"],
                seconds=cost.seconds,
                dominated_by=rivals,
                pareto=not rivals,
            )
        )
    return found


def _deciding(comparison: Comparison, points: Sequence[Point]) -> list[Point]:
    """Of the protocol that decides, without the row that looks at no image."""
    return [point for point in points if point["decides"] and comparison.rows[point["row"]].kind != "majority"]


def _level(points: Sequence[Point]) -> Iterator[float]:
    """The largest multiple of STEP that at least half of the rows reach somewhere; none where that is 0."""
    best: dict[str, float] = {}
    for point in points:
        best[point["row"]] = max(best.get(point["row"], 0.0), point["mean"])
    if best:
        median = sorted(best.values(), reverse=True)[(len(best) - 1) // 2]
        steps = math.floor(median / STEP + 1e-9)
        if steps:
            yield round(steps * STEP, 10)


def _line(comparison: Comparison, curve: LearningCurve, level: float, named: bool) -> TimeTo:
    first = next((point for point in curve["points"] if point["mean"] >= level), None)
    values = comparison.grids[curve["row"], curve["protocol"], curve["labels"]].values
    return TimeTo(
        level=level,
        named=named,
        row=curve["row"],
        entry=curve["entry"],
        unlabelled=curve["unlabelled"],
        labels=curve["labels"],
        protocol=curve["protocol"],
        mean=curve["points"][-1]["mean"],
        reached=first is not None,
        share_reached=float((values >= level).mean()),
        images_seen=first["images_seen"] if first else None,
        seconds=first["seconds"] if first else None,
        cheapest=False,
        measured=_measured(comparison, curve),
    )


def _measured(
    comparison: Comparison, curve: LearningCurve
) -> Literal["along training", "at its end", "without training"]:
    if len(curve["points"]) > 1:
        return "along training"
    trains = comparison.rows[curve["row"]].kind == "supervised" or curve["points"][-1]["images_seen"] > 0
    return "at its end" if trains else "without training"
