"""Which of a row's trials is its result: the best in cross-validation inside the label budget, and never by a test score.

A row that is pretrained is so `tune.trials` times for every seed, and every encoder is judged like any other. By each
protocol, at each label count, draw and seed the trial with the best validation score is the row's result; where there is
none (below five labels per class, or a protocol that validates nothing) it is trial 0, the row as it is written. A trial
that collapsed or failed is a result only where no other is there.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfstudy import files
from selfstudy.evaluation import choose
from selfstudy.study._trials import COLUMNS
from selfstudy.study._validation import searches, validation_score
from selfstudy.study.cell import Outcome
from selfstudy.study.plan import Cell
from selfstudy.study.settings import Label, StudySettings
from selfstudy.training import RunSettings

HEALTHY, COLLAPSED, FAILED = range(3)

Place = tuple[str, float, int, str, Label, int]  # entry, unlabelled, seed, protocol, labels, draw


class Evaluations:
    """The scores.json of a study's evaluations, each read once: it is written last and never changed."""

    def __init__(self, folder: Path, metric: str) -> None:
        self.folder, self.metric = folder, metric
        self._read: dict[str, dict[str, Any]] = {}

    def __getitem__(self, cell: Cell) -> dict[str, Any]:
        """Nothing of a cell that has none."""
        if cell.hash not in self._read:
            path = self.folder / "cells" / cell.hash / "scores.json"
            if not path.is_file():
                return {}
            self._read[cell.hash] = json.loads(path.read_text(encoding="utf-8"))
        return self._read[cell.hash]

    def validation(self, cell: Cell) -> float | None:
        return validation_score(self[cell], self.metric)


def place(cell: Cell) -> Place:
    """What every trial of a row has one evaluation of."""
    return cell.entry, cell.unlabelled, cell.seed, cell.protocol, cell.labels, cell.draw


def stand(
    cells: Sequence[Cell], outcomes: Mapping[str, Outcome], validation: Callable[[Cell], float | None]
) -> list[Cell]:
    """The evaluations that are results, in the order of the plan: of several trials one, of those that are done."""
    places: dict[Place, list[Cell]] = {}
    for cell in cells:
        if cell.kind == "evaluate" and cell.hash in outcomes:
            places.setdefault(place(cell), []).append(cell)
    return [_chosen(trials, outcomes, validation) for trials in places.values()]


def _chosen(
    trials: Sequence[Cell], outcomes: Mapping[str, Outcome], validation: Callable[[Cell], float | None]
) -> Cell:
    if len(trials) == 1:
        return trials[0]
    least = min(_trouble(cell, outcomes) for cell in trials)
    candidates = [cell for cell in trials if _trouble(cell, outcomes) == least]
    scores = [score for cell in candidates if (score := validation(cell)) is not None]
    if least == FAILED or len(scores) < len(candidates):
        return candidates[0]
    return candidates[choose(range(len(candidates)), scores.__getitem__)]


def _trouble(cell: Cell, outcomes: Mapping[str, Outcome]) -> int:
    statuses = [outcomes[name].status for name in (cell.hash, cell.needs) if name in outcomes]
    return FAILED if "failed" in statuses else COLLAPSED if "collapsed" in statuses else HEALTHY


def failures(cells: Sequence[Cell], outcomes: Mapping[str, Outcome], results: Sequence[Cell]) -> dict[str, str]:
    """Why cells failed, by hash. A trial that failed where another stands is none of them: it was there to be tried."""
    stands = {cell.hash for cell in results}
    whole = {(cell.entry, cell.unlabelled, cell.seed) for cell in results if outcomes[cell.hash].status != "failed"}
    found = {}
    for cell in cells:
        outcome = outcomes.get(cell.hash)
        if outcome is None or outcome.status != "failed":
            continue
        if cell.hash in stands if cell.kind == "evaluate" else (cell.entry, cell.unlabelled, cell.seed) not in whole:
            found[cell.hash] = outcome.error
    return found


def table(
    settings: StudySettings, cells: Sequence[Cell], outcomes: Mapping[str, Outcome], evaluations: Evaluations
) -> str:
    """trials.csv: every evaluation of a row with several trials, and every trial of a search on the labels inside one."""
    runs = {(cell.entry, cell.hash): cell.work for cell in cells if isinstance(cell.work, RunSettings)}
    stands = {(place(cell), cell.hash) for cell in stand(cells, outcomes, evaluations.validation)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        if cell.kind != "evaluate" or cell.hash not in outcomes:
            continue
        outcome, run = outcomes[cell.hash], runs.get((cell.entry, cell.needs))
        line: dict[str, object] = {name: vars(cell)[name] for name in COLUMNS if name in vars(cell)}
        line |= {
            "study": settings.name, "metric": settings.metric, "seconds": round(outcome.seconds, 3), "encoder": cell.needs,
            "cell": cell.hash, "status": ("done", "collapsed", "failed")[_trouble(cell, outcomes)],
        }  # fmt: skip
        if run is not None:
            line |= {"pretraining_lr": run.lr, "pretraining_weight_decay": run.weight_decay}
        result = (place(cell), cell.hash) in stands
        found = list(_label_trials(evaluations[cell], settings.metric))
        if not found and run is not None:
            found = [{"validation_score": _or_nothing(evaluations.validation(cell)), "chosen": True}]
        writer.writerows({**line, **trial, "chosen": str(result and trial["chosen"]).lower()} for trial in found)
    return text.getvalue()


def _label_trials(evaluation: Mapping[str, Any], metric: str) -> Iterator[dict[str, object]]:
    """Every trial of the search on the labels that an evaluation made, fold by fold where it made several."""
    found = searches(evaluation)
    for fold, trials in enumerate(found):
        scores = [float(trial.get(metric, 0)) for trial in trials]
        best = choose(range(len(trials)), scores.__getitem__) if trials else 0
        for number, trial in enumerate(trials):
            yield {
                "fold": fold if len(found) > 1 else "", "label_trial": number, "lr": trial["lr"],
                "weight_decay": trial["weight_decay"], "class_weight": trial["class_weight"],
                "validation_score": _or_nothing(trial.get(metric)), "chosen": number == best,
            }  # fmt: skip


def _or_nothing(score: float | None) -> object:
    return "" if score is None else score


def take_over(cells: Path, cell: Cell) -> None:
    """Let the search on the labels of a cell begin with the trials that the same with fewer of them has made."""
    target = cells / cell.hash / "search.json"
    earlier = [path for name in cell.fewer_trials if (path := cells / name / "search.json").is_file()]
    if earlier and not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(target, earlier[-1].read_bytes())
