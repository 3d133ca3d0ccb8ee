"""Doing what is left of a study: its cells here or by workers, a line for every row, tables that are never long behind."""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing

import torch

from selfstudy import files
from selfstudy.progress import duration
from selfstudy.study import results, tuning
from selfstudy.study._along import score_along
from selfstudy.study._study import Study
from selfstudy.study._trials import FILE as TRIALS
from selfstudy.study._units import Done, one_by_one, units
from selfstudy.study._workers import beside_each_other
from selfstudy.study.estimate import Estimate
from selfstudy.study.plan import Cell
from selfstudy.training import RunSettings

SECONDS_BETWEEN_TABLES = 5.0

Group = tuple[object, ...]


def work(study: Study, cost: Estimate) -> None:
    """Do what is left, unit by unit. A line is said once all of a group is done: an encoder with its evaluations, or one
    label count of a row without one.
    """
    left = units(study)
    if not left:
        return
    metric = study.settings.metric
    study.progress.say(f"Each line: {metric} on the test images by labels, the mean over draws of the labels")
    began = written = time.monotonic()
    unit_of = {cell.hash: unit for unit in left for cell in unit}
    open_groups, spent = _open_groups(study), dict[str, float]()
    with closing(_done(study, left)) as all_done:
        for done in all_done:
            study.outcomes[done.cell.hash] = done.outcome
            spent[done.cell.hash] = done.seconds
            ended = all(cell.hash in study.outcomes for cell in unit_of[done.cell.hash])
            if ended:
                score_along(study)
            if ended or time.monotonic() - written > SECONDS_BETWEEN_TABLES:
                write_table(study)
                written = time.monotonic()
            if ended:
                _say_trial(study, unit_of[done.cell.hash], spent)
                remaining = cost.left(study.outcomes, time.monotonic() - began)
                _say_groups(study, open_groups, spent, remaining)


def write_table(study: Study) -> None:
    """results.csv, and where settings are searched trials.csv."""
    found = results.table(study.settings, study.results_of(study.cells), study.outcomes)
    files.write_text(study.folder / "results.csv", found)
    if study.settings.tune:
        trials = tuning.table(study.settings, study.cells, study.outcomes, study.evaluations)
        files.write_text(study.folder / TRIALS, trials)


def _done(study: Study, left: Sequence[Sequence[Cell]]) -> Generator[Done, None, None]:
    if min(study.settings.workers, len(left)) > 1:
        return beside_each_other(study, left, torch.get_num_threads())
    return one_by_one(study, left)


def _open_groups(study: Study) -> dict[Group, list[Cell]]:
    groups: dict[Group, list[Cell]] = {}
    for cell in study.cells:
        labels = cell.labels if cell.method == "supervised" else ""
        groups.setdefault((cell.round, cell.entry, cell.unlabelled, labels), []).append(cell)
    return {key: cells for key, cells in groups.items() if any(cell.hash not in study.outcomes for cell in cells)}


def _say_groups(
    study: Study, open_groups: dict[Group, list[Cell]], spent: Mapping[str, float], remaining: float
) -> None:
    """A line for each group that is whole now, with the seconds that its cells took, beside each other or not."""
    for key, group in list(open_groups.items()):
        hashes = {cell.hash for cell in group}
        if hashes <= study.outcomes.keys():
            seconds = sum(spent.get(name, 0.0) for name in hashes)
            line = results.line(study.settings, _shown(study, group), study.outcomes, seconds)
            study.progress.say(line + (f" (about {duration(remaining)} left)" if remaining >= 1 else ""))
            del open_groups[key]


def _say_trial(study: Study, unit: Sequence[Cell], spent: Mapping[str, float]) -> None:
    """A line of its own for an encoder whose row has several."""
    first = unit[0]
    if study.settings.tune and isinstance(first.work, RunSettings):
        seconds = sum(spent.get(cell.hash, 0.0) for cell in unit)
        study.progress.say(results.trial_line(study.settings, first, study.outcomes[first.hash], seconds))


def _shown(study: Study, group: Sequence[Cell]) -> Sequence[Cell]:
    """What the line of a group is about: of several trials the results, with the encoders that they are of."""
    if not any(cell.trial for cell in group):
        return group
    found = study.results_of(group)
    needed = {cell.needs for cell in found}
    return [*(cell for cell in group if cell.kind == "pretrain" and cell.hash in needed), *found] or group
