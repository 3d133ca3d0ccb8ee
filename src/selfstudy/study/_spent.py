"""What a score took: one pretraining and one evaluation, on the average over the runs and the cells of a row.

Where settings were searched, all trials of them: none of the scores could have been had for less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfstudy.study._comparison import Comparison
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point


@dataclass(frozen=True)
class Spent:
    seconds: float
    images_seen: float


Runs = Mapping[tuple[str, float], Sequence[Spent]]  # by entry and fraction


def spent(comparison: Comparison, point: Point, runs: Runs) -> Spent:
    """On one encoder of the row and one evaluation of it."""
    row = comparison.rows[point["row"]]
    found, judged = runs.get((row.entry, row.unlabelled), []), evaluated(comparison, point)
    return Spent(
        seconds=float(np.mean([run.seconds for run in found] or [0.0])) + judged.seconds,
        images_seen=round(float(np.mean([run.images_seen for run in found] or [0])) + judged.images_seen),
    )


def evaluated(comparison: Comparison, point: Point) -> Spent:
    """On one evaluation alone, with what it trains."""
    scores = comparison.scores[point["row"], point["protocol"], point["labels"]]
    costs = comparison.record.evaluation(scores["cell"].iloc[0]).get("costs", {})
    seen = float(costs.get("images_seen", 0)) if isinstance(costs, Mapping) else 0.0
    return Spent(seconds=float(scores["seconds"].mean()), images_seen=seen)


def pretrained(record: StudyRecord) -> Runs:
    """What every pretraining that came to its end took, by seed: with all its trials."""
    found: dict[tuple[str, float], list[Spent]] = {}
    for (entry, unlabelled, _), trials in record.trials.items():
        cards = [card for path in trials.values() if (card := record.run_card(path))["status"] in ("done", "collapsed")]
        if cards:
            seconds, seen = (sum(float(str(c.get(name, 0))) for c in cards) for name in ("seconds", "images_seen"))
            found.setdefault((entry, unlabelled), []).append(Spent(seconds, seen))
    return found
