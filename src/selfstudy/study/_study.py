"""A study that is ready to run: what is planned, where it is worked on, and what is done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfstudy.progress import Progress
from selfstudy.study import tuning
from selfstudy.study.cell import Bench, Outcome
from selfstudy.study.plan import Cell
from selfstudy.study.rates import Rates
from selfstudy.study.settings import Label, StudySettings


@dataclass
class Study:
    """A study that is ready to run."""

    settings: StudySettings  # with a metric decided
    folder: Path
    cells: Sequence[Cell]
    bench: Bench
    rates: Rates
    evaluations: tuning.Evaluations
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by hash: what is done

    @property
    def progress(self) -> Progress:
        return self.bench.progress

    @property
    def most_labels(self) -> Label:
        return self.bench.material.most(self.settings.labels)

    def results_of(self, cells: Sequence[Cell]) -> list[Cell]:
        """Of these cells the evaluations that are results: where a row has several trials, those of the best."""
        return tuning.stand(cells, self.outcomes, self.evaluations.validation)
