"""Time to accuracy, and cost against accuracy.

Nothing is extrapolated: a level counts as reached where the scores of a row that ran to its end are there, and what that
took is what the row took, one pretraining and one evaluation. Studies that ask how soon vary the fraction of unlabelled
images, the number of labels or the epochs of a row.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfstudy.study._comparison import Comparison
from selfstudy.study._findings import TimeTo, TradeOff
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point

STEP = 0.05  # levels that the study file does not name are multiples of it


@dataclass(frozen=True)
class _Spent:
    seconds: float
    images_seen: int


def times_to(comparison: Comparison, points: Sequence[Point]) -> list[TimeTo]:
    """Every level, row and label count. The levels are those of `time_to`, or else one that half of the rows reach."""
    record = comparison.record
    deciding = _deciding(comparison, points)
    asked = record.settings.get("time_to", [])
    named = sorted(float(str(level)) for level in (asked if isinstance(asked, list) else [asked]))
    pretrained = _pretrained(record)
    found: list[TimeTo] = []
    for level in named or _level(deciding):
        lines = [_line(comparison, point, level, bool(named), pretrained) for point in deciding]
        for line in lines:
            rivals = [other["seconds"] for other in lines if other["entry"] == line["entry"]]
            fastest = min((seconds for seconds in rivals if seconds is not None), default=None)
            found.append({**line, "cheapest": fastest is not None and line["seconds"] == fastest})
    return found


def trade_offs(comparison: Comparison, points: Sequence[Point]) -> list[TradeOff]:
    """Every row at every label count, and which rows of the same label count are as good for less, or better."""
    pretrained = _pretrained(comparison.record)
    spent = [(point, _spent(comparison, point, pretrained)) for point in _deciding(comparison, points)]
    found = []
    for point, cost in spent:
        rivals = [
            other["row"]
            for other, its in spent
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


def _line(
    comparison: Comparison,
    point: Point,
    level: float,
    named: bool,
    pretrained: Mapping[tuple[str, float], Sequence[_Spent]],
) -> TimeTo:
    row = comparison.rows[point["row"]]
    reached = point["mean"] >= level
    spent = _spent(comparison, point, pretrained)
    values = comparison.grids[point["row"], point["protocol"], point["labels"]].values
    return TimeTo(
        level=level,
        named=named,
        row=row.name,
        entry=row.entry,
        unlabelled=row.unlabelled,
        labels=point["labels"],
        protocol=point["protocol"],
        mean=point["mean"],
        reached=reached,
        share_reached=float((values >= level).mean()),
        images_seen=spent.images_seen if reached else None,
        seconds=spent.seconds if reached else None,
        cheapest=False,
    )


def _spent(comparison: Comparison, point: Point, pretrained: Mapping[tuple[str, float], Sequence[_Spent]]) -> _Spent:
    """On one encoder of the row and one evaluation of it, on the average over its runs and its cells."""
    row = comparison.rows[point["row"]]
    runs = pretrained.get((row.entry, row.unlabelled), [])
    scores = comparison.scores[point["row"], point["protocol"], point["labels"]]
    costs = comparison.record.evaluation(scores["cell"].iloc[0]).get("costs", {})
    seen = float(costs.get("images_seen", 0)) if isinstance(costs, Mapping) else 0.0
    return _Spent(
        seconds=float(np.mean([run.seconds for run in runs] or [0.0]) + scores["seconds"].mean()),
        images_seen=round(float(np.mean([run.images_seen for run in runs] or [0])) + seen),
    )


def _pretrained(record: StudyRecord) -> dict[tuple[str, float], list[_Spent]]:
    """What every pretraining that came to its end took, by entry and fraction."""
    found: dict[tuple[str, float], list[_Spent]] = {}
    for (entry, unlabelled, _), path in record.runs.items():
        card = record.run_card(path)
        if card["status"] in ("done", "collapsed"):
            spent = _Spent(float(str(card["seconds"])), int(float(str(card.get("images_seen", 0)))))
            found.setdefault((entry, unlabelled), []).append(spent)
    return found
