"""Running a study: what is done is found again, the rest is done in order, and a report is written at the end."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from selfstudy import config, files
from selfstudy.errors import RunError, UserError
from selfstudy.progress import Progress
from selfstudy.study import tuning
from selfstudy.study._along import keep_at, score_along
from selfstudy.study._explanations import explain
from selfstudy.study._record import StudyRecord
from selfstudy.study._study import Study
from selfstudy.study._units import do
from selfstudy.study._work import work, write_table
from selfstudy.study.cell import Bench, Status
from selfstudy.study.estimate import Estimate, describe, estimate
from selfstudy.study.material import decide_metric, gather, saved_split
from selfstudy.study.plan import plan
from selfstudy.study.rates import Rates
from selfstudy.study.settings import StudySettings, validate
from selfstudy.study.thumbnails import write_thumbnails
from selfstudy.training import default_device


@dataclass(frozen=True)
class Finished:
    """A study that has run to its end."""

    folder: Path
    num_cells: int
    num_computed: int  # in this process
    failures: tuple[str, ...]  # why cells failed, one reason per cell

    def require_success(self) -> None:
        """RunError if any cell failed: to be called once the report is written, which shows all others."""
        if self.failures:
            raise RunError(
                f"{len(self.failures)} of {self.num_cells} cells failed, the first because {self.failures[0]}. The report "
                f"in {self.folder} shows all others; the same command tries the failed ones again"
            )


def run(settings: StudySettings, folder: Path, *, progress: Progress, yes: bool = False) -> Finished:
    """Run a study in its folder, or what is left of it. The same call goes on wherever it stopped.

    Raises UserError for a mistake, before anything is computed, and above `max_hours` unless `yes` or the user at the
    terminal agrees. A cell that fails leaves the others alone; a disk that takes no more is a RunError.
    """
    _claim(folder)
    with _alone(folder):
        study = prepare(settings, folder, progress)
        already = len(study.outcomes)
        with _threads_shared_out(settings):
            cost = announce(study)
            _agree(study, cost, yes)
            _write_plan(study)
            score_along(study)
            try:
                work(study, cost)
            finally:  # also when it is interrupted: what is done is seen
                write_table(study)
        _write_damage(study)
        _add_maps(study)
        write_thumbnails(folder, study.bench.material.images)
        explain(study)
    failures = tuning.failures(study.cells, study.outcomes, study.results_of(study.cells))
    return Finished(folder, len(study.outcomes), len(study.outcomes) - already, tuple(failures.values()))


def dry_run(settings: StudySettings, folder: Path, *, progress: Progress) -> Study:
    """Print the settings after defaults and what the study would cost; write nothing."""
    study = prepare(settings, folder, progress)
    progress.say(study.settings.write())
    with _threads_shared_out(settings):
        announce(study)
    return study


def run_cell(folder: Path, name: str, *, progress: Progress) -> Status:
    """Do one cell of a study, and the cell it needs: the job that another machine is sent. `name` is its hash."""
    study = reopen(folder, progress)
    by_hash = {cell.hash: cell for cell in study.cells}
    if name not in by_hash:
        raise UserError(
            f"{folder} plans no cell {name}: its data or code changed, or it is none of the {len(by_hash)} in plan.json"
        )
    cell = by_hash[name]
    for wanted in [*([by_hash[cell.needs]] if cell.needs else []), cell]:
        outcome = do(study, wanted)
        if outcome.status == "failed":
            raise RunError(f"the cell {wanted.hash} failed: {outcome.error}")
    return outcome.status


def reopen(folder: Path, progress: Progress) -> Study:
    """The study in a folder, as its study.yaml says. UserError if there is none. Writes nothing."""
    if not (folder / "study.yaml").is_file():
        raise UserError(f"{folder} is not a study folder: it holds no study.yaml")
    return prepare(validate(config.read_yaml(folder / "study.yaml"), str(folder / "study.yaml")), folder, progress)


def prepare(settings: StudySettings, folder: Path, progress: Progress) -> Study:
    """Load the images, plan the cells, and look which of them are done. Writes nothing."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    splits = folder / "splits.json"
    earlier = json.loads(splits.read_text(encoding="utf-8")) if splits.is_file() else None
    material = gather(settings, earlier, progress)
    settings = decide_metric(settings, material)
    device = default_device() if settings.device == "best" else torch.device(settings.device)
    explained = material.most(settings.labels) if settings.explain else None
    bench = Bench(folder, material, device, progress, keep_at(settings), explained)
    rates = Rates(folder, material.pool, device, progress)
    with _threads_shared_out(settings):
        cells = plan(settings, material, rates)
    found = {cell.hash: outcome for cell in cells if (outcome := bench.found(cell))}
    return Study(settings, folder, cells, bench, rates, tuning.Evaluations(folder, settings.metric), found)


def announce(study: Study) -> Estimate:
    """Print what is to be done, and measure what it will cost."""
    cost = estimate(study.cells, study.outcomes, study.bench, study.settings.workers)
    for text in describe(study.settings, study.cells, study.outcomes, cost, study.bench):
        study.progress.say(text)
    return cost


def _agree(study: Study, cost: Estimate, yes: bool) -> None:
    settings, hours = study.settings, cost.total_seconds / 3600
    if yes or hours <= settings.max_hours:
        return
    if sys.stdin is not None and sys.stdin.isatty():
        answer = input(f"This takes about {hours:.1f} hours, more than max_hours={settings.max_hours:g}. Start? [y/N] ")
        if answer.strip().lower() in ("y", "yes"):
            return
    small = "; without a GPU an encoder made for CPUs, backbone=conv4" if study.bench.device.type == "cpu" else ""
    raise UserError(
        f"the study would take about {hours:.1f} hours, more than max_hours={settings.max_hours:g}: give --yes or a larger "
        f"max_hours=, or ask for less (fewer methods, seeds or draws, a smaller budget such as budget.epochs=50{small})"
    )


def _write_plan(study: Study) -> None:
    """study.yaml first: it makes the folder a study's. None of the four is read back but by a later call of `prepare`."""
    files.write_text(study.folder / "study.yaml", study.settings.write())
    study.rates.write()
    files.write_json(study.folder / "splits.json", saved_split(study.bench.material, study.settings))
    files.write_json(study.folder / "plan.json", {"cells": [cell.to_json() for cell in study.cells]})


def _write_damage(study: Study) -> None:
    """Of streamed images damage is found when they are read: splits.json gets what each run met."""
    material = study.bench.material
    if not (material.images.is_streamed or material.pool.is_streamed):
        return
    record = saved_split(material, study.settings)
    cards = [study.folder / "cells" / cell.hash / "run.json" for cell in study.cells if cell.kind == "pretrain"]
    for path in filter(Path.is_file, dict.fromkeys(cards)):
        met = json.loads(path.read_text(encoding="utf-8"))["data"].get("skipped", [])
        record["skipped"] += [skipped for skipped in met if skipped not in record["skipped"]]
    files.write_json(study.folder / "splits.json", record)


def _add_maps(study: Study) -> None:
    """A map of the test images for the encoder of each row that the report shows."""
    shown = {path.name for path in StudyRecord.read(study.folder).runs.values()}
    for cell in study.cells:
        if cell.kind == "pretrain" and cell.hash in shown and study.outcomes[cell.hash].status != "failed":
            study.bench.add_map(cell)


def _claim(folder: Path) -> None:
    """Make the folder this study's own. Hidden files are what a killed process may leave before its first result."""
    if folder.is_dir():
        visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if visible and "study.yaml" not in visible:
            raise UserError(
                f"{folder} holds something else already ({sorted(visible)[0]}); name another folder with --out"
            )
    elif folder.exists():
        raise UserError(f"{folder} is a file; name a folder for the study with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {error.strerror}") from None


@contextmanager
def _threads_shared_out(settings: StudySettings) -> Iterator[None]:
    """As many threads as each worker will have, so that what is timed here is what they will take."""
    before = torch.get_num_threads()
    if not settings.threads:
        torch.set_num_threads(max(1, before // settings.workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from running the study. The system lets the lock go when this process ends, however it ends."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"another process is running the study in {folder}; wait for it, or name another folder with --out"
        ) from None
