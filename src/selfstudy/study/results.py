"""results.csv: one line per number, in the order of the plan, and the lines a person reads while a study runs."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from selfstudy.progress import duration
from selfstudy.study._record import COLUMNS
from selfstudy.study.cell import Outcome
from selfstudy.study.plan import Cell
from selfstudy.study.settings import StudySettings
from selfstudy.training import RunSettings


def table(settings: StudySettings, cells: Sequence[Cell], outcomes: Mapping[str, Outcome]) -> str:
    """The whole file. A collapsed encoder's scores are numbers like others, marked; a failed cell has no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        if cell.kind == "evaluate" and cell.hash in outcomes:
            writer.writerows(_lines(settings, cell, outcomes))
    return text.getvalue()


def _lines(settings: StudySettings, cell: Cell, outcomes: Mapping[str, Outcome]) -> Iterator[dict[str, object]]:
    outcome = outcomes[cell.hash]
    encoder = outcomes.get(cell.needs, outcome)  # a folder that the user deleted is done again in its turn
    shared = {
        "study": settings.name, "entry": cell.entry, "method": cell.method, "backbone": cell.backbone,
        "weights": {"random": "random", "pretrained": "published"}.get(cell.method, "none"), "unlabelled": cell.unlabelled, "labels": cell.labels,
        "protocol": cell.protocol, "seed": cell.seed, "draw": cell.draw, "split": "test", "cell": cell.hash,
        "seconds": round(outcome.seconds, 3), "status": outcome.status if outcome.status == "failed" else encoder.status,
    }  # fmt: skip
    metrics: Mapping[str, float | str] = outcome.metrics or {str(settings.metric): ""}
    for metric, value in metrics.items():
        yield {**shared, "metric": metric, "value": value}


def trial_line(settings: StudySettings, encoder: Cell, outcome: Outcome, seconds: float) -> str:
    """`simclr, seed 0, trial 2 of 4 (lr 0.0123, weight_decay 0.004): 92 s`. No score: none on the test images chooses."""
    assert isinstance(encoder.work, RunSettings)
    ended = {"done": "", "collapsed": "collapsed; ", "failed": f"failed: {outcome.error}; "}[outcome.status]
    return (
        f"{encoder.row}, trial {encoder.trial + 1} of {settings.num_trials} (lr {encoder.work.lr:g}, weight_decay "
        f"{encoder.work.weight_decay:g}): {ended}{duration(seconds)}"
    )


def line(settings: StudySettings, group: Sequence[Cell], outcomes: Mapping[str, Outcome], seconds: float) -> str:
    """`simclr, seed 0: linear 0.825 at 1, 0.937 at 4; knn 0.810 at 1, 0.921 at 4; 92 s`: means over the draws."""
    first = group[0]
    evaluations = [cell for cell in group if cell.kind == "evaluate"]
    name = first.row
    failed = next((outcomes[cell.hash].error for cell in group if outcomes[cell.hash].status == "failed"), "")
    if failed:
        return f"{name}: failed: {failed}"
    parts = []
    for protocol in dict.fromkeys(cell.protocol for cell in evaluations):
        scores: dict[object, list[float]] = {}
        for cell in evaluations:
            if cell.protocol == protocol:
                scores.setdefault(cell.labels, []).append(outcomes[cell.hash].metrics[settings.metric])
        means = (f"{sum(values) / len(values):.3f} at {label}" for label, values in scores.items())
        parts.append((f"{protocol} " if protocol != first.method else "") + ", ".join(means))
    collapsed = " (collapsed)" if any(outcomes[cell.hash].status == "collapsed" for cell in group) else ""
    return f"{name}{collapsed}: {'; '.join(parts)}; {duration(seconds)}"
