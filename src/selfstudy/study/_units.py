"""Units of a study's work: an encoder with all that is asked of it, or one evaluation that trains for itself."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from filelock import FileLock

from selfstudy.study import tuning
from selfstudy.study._study import Study
from selfstudy.study.cell import Outcome
from selfstudy.study.plan import Cell


@dataclass(frozen=True, slots=True)
class Done:
    """A cell that was worked on."""

    cell: Cell
    outcome: Outcome
    seconds: float  # of work, with what was waited for and read


def units(study: Study) -> list[list[Cell]]:
    """What is left, in the order of the plan: the cells of a unit follow each other, and no two units hold the same."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in study.cells:
        if cell.hash not in study.outcomes:
            found.setdefault(cell.needs or cell.hash, {}).setdefault(cell.hash, cell)
    return [list(cells.values()) for cells in found.values()]


def one_by_one(study: Study, units: Sequence[Sequence[Cell]]) -> Generator[Done, None, None]:
    """Do all units in this process."""
    for unit in units:
        for cell in unit:
            started = time.monotonic()
            outcome = do(study, cell)
            yield Done(cell, outcome, time.monotonic() - started)


def do(study: Study, cell: Cell) -> Outcome:
    """Work on a cell. Where another process is at the same: wait for it, and take what it made."""
    outcome = without_encoder(study, cell)
    if outcome is None:
        locks = study.folder / ".locks"
        locks.mkdir(exist_ok=True)
        with FileLock(locks / cell.hash):
            outcome = study.bench.found(cell)
            if outcome is None:
                tuning.take_over(study.folder / "cells", cell)
                outcome = study.bench.do(cell)
    study.outcomes[cell.hash] = outcome
    return outcome


def without_encoder(study: Study, cell: Cell) -> Outcome | None:
    """What comes of a cell whose encoder could not be made."""
    encoder = study.outcomes.get(cell.needs)
    if encoder is None or encoder.status != "failed":
        return None
    return Outcome("failed", error=f"its encoder failed: {encoder.error}")
