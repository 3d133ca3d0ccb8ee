"""The scores of a study as grids, and what two of them say about each other."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from selfstudy.study._intervals import Estimate, Grid, estimate_difference, estimate_mean, grid
from selfstudy.study._power import what_decides
from selfstudy.study._record import Kind, Row, StudyRecord
from selfstudy.study._scoring import Score, cell_deviations, deciding_score
from selfstudy.study._summary import Point, Statement, StatementKind, Verdict

ERROR = 0.05  # the probability that any verdict of a family is false; 1 - ERROR is the confidence of a single mean

Key = tuple[str, str, str]  # (row, protocol, label count)


def judge(low: float, high: float, margin: float) -> Verdict:
    """The verdict of an interval of differences. A sure difference inside the margin is equivalence: it is too small to matter."""
    if -margin <= low and high <= margin:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


class Comparison:
    """The grids of scores of a study, each read once, and the statements they give."""

    def __init__(self, record: StudyRecord) -> None:
        self.record = record
        self.rows = {row.name: row for row in record.rows}
        self.protocols = {row.name: record.protocol(row) for row in record.rows}
        self.labels = record.labels
        names, groups = np.unique(record.test_groups, return_inverse=True)
        self.num_groups = len(names)
        self.scores: dict[Key, pd.DataFrame] = {}  # of each grid: columns seed, draw, value, seconds, cell, status
        self.grids: dict[Key, Grid] = {}
        self.cell_grids: dict[Key, Grid] = {}  # the same, but in cross-validation one value for a whole round
        deviations = cell_deviations(record, groups, len(names))
        score = deciding_score(record) if record.num_folds else None
        for row in record.rows:
            for (protocol, labels), scores in record.scores_of(row):
                key = row.name, protocol, labels
                self.scores[key] = scores
                found = [deviations(cell) for cell in scores["cell"]]
                seeds, draws, values = (scores[name].to_numpy() for name in ("seed", "draw", "value"))
                self.cell_grids[key] = grid(seeds, draws, values, np.stack(found))
                self.grids[key] = self.cell_grids[key] if score is None else self._by_fold(key, score)

    def _by_fold(self, key: Key, score: Score) -> Grid:
        """A row's grid with a draw for every fold of every round: what that fold's images score."""
        record, cells = self.record, self.cell_grids[key]
        num_folds = record.num_folds
        values = []
        for cell, draw in zip(self.cells_of(key), np.tile(cells.draws, len(cells.values)).tolist(), strict=True):
            answers, fold = record.answers(cell), record.rounds[draw % len(record.rounds)]
            tested = [fold == number for number in range(num_folds)]
            values.append([score(record.test_labels[rows], answers[rows]) for rows in tested])
        shape = len(cells.values), len(cells.draws) * num_folds
        return Grid(
            values=np.array(values).reshape(shape),
            deviations=np.zeros((*shape, 1)),  # the seeds keep what test noise is in them: wider, not narrower
            draws=(cells.draws[:, None] * num_folds + np.arange(num_folds)).ravel(),
            seeds=np.repeat(cells.seeds, num_folds, axis=1),
            overlap=1 / (num_folds - 1),
        )

    def grid(self, row: str, labels: str) -> Grid | None:
        """By the protocol that decides for the row."""
        return self.grids.get((row, self.protocols[row], labels))

    def cells_of(self, key: Key) -> list[str]:
        """The cells of a grid, seed by seed and within a seed draw by draw: values.ravel() is their order."""
        names = {
            (seed, draw): cell
            for seed, draw, cell in zip(*(self.scores[key][c].tolist() for c in ("seed", "draw", "cell")), strict=True)
        }
        found = self.cell_grids[key]
        draws = np.broadcast_to(found.draws, found.seeds.shape)
        return [names[pair] for pair in zip(found.seeds.ravel().tolist(), draws.ravel().tolist(), strict=True)]

    def drawn(self, row: str, labels: str) -> list[tuple[int, str]]:
        """(draw, cell) of the scores by the protocol that decides for the row."""
        key = row, self.protocols[row], labels
        if key not in self.scores:
            return []
        return list(zip(self.scores[key]["draw"].tolist(), self.scores[key]["cell"].tolist(), strict=True))

    def reference(self, kind: Kind, row: Row) -> str | None:
        """The baseline for a row: of its own backbone if there is one."""
        found = [other for other in self.rows.values() if other.kind == kind]
        backbone = self.record.backbone(row)
        same = (other.name for other in sorted(found, key=lambda other: self.record.backbone(other) != backbone))
        return next(same, None)

    def difference(self, a: str, b: str, labels: str) -> Estimate | None:
        """Of the means of two rows at a label count; None where they share no draw."""
        first, second = self.grid(a, labels), self.grid(b, labels)
        return None if first is None or second is None else estimate_difference(first, second, self.num_groups)

    def statement(
        self, kind: StatementKind, a: str, b: str, labels: str, estimate: Estimate, confidence: float,
        tied_with: Sequence[str] = (),
    ) -> Statement:  # fmt: skip
        """The verdict on a against b that follows from their difference."""
        first, second = self.grid(a, labels), self.grid(b, labels)
        assert first is not None and second is not None
        draws = np.intersect1d(first.draws, second.draws)
        first, second = first.on(draws), second.on(draws)
        num_draws = len(draws) // max(1, self.record.num_folds)
        low, high = estimate.interval(confidence)
        verdict = judge(low, high, self.record.margin)
        num_test_images = len(self.record.test_labels)
        varied = self._varied(labels, num_draws, {a: first, b: second})
        return Statement(
            id=f"{kind}/{a}/{labels}",
            kind=kind,
            verdict=verdict,
            a=a,
            b=b,
            labels=labels,
            metric=self.record.metric,
            margin=self.record.margin,
            protocol=self.protocols[a],
            protocol_b=self.protocols[b],
            mean_a=float(first.values.mean()),
            mean_b=float(second.values.mean()),
            difference=estimate.mean,
            low=max(-1.0, low),
            high=min(1.0, high),
            confidence=confidence,
            num_draws=num_draws,
            num_seeds=first.num_seeds,
            num_seeds_b=second.num_seeds,
            num_test_images=num_test_images,
            varied=[name for name, was in varied.items() if was],
            not_varied=[name for name, was in varied.items() if not was],
            tied_with=list(tied_with),
            decide=what_decides(estimate, self.record.margin, confidence, num_test_images)
            if verdict == "undecided"
            else None,
        )

    def _varied(self, labels: str, num_draws: int, rows: Mapping[str, Grid]) -> dict[str, bool]:
        """What an interval could cover, and whether it does."""
        test = "test images" if self.num_groups == len(self.record.test_labels) else "test groups"
        labelled = "training images" if labels == "all" else "label draws"
        return {
            labelled: num_draws > 1,
            **{f"seeds of {name}": row.num_seeds > 1 for name, row in rows.items()},
            test: True,
        }

    def points(self) -> list[Point]:
        """The mean of every row, protocol and label count."""
        found = []
        for (name, protocol, labels), cells in self.grids.items():
            estimate = estimate_mean(cells, self.num_groups)
            low, high = estimate.interval(1 - ERROR)
            found.append(
                Point(
                    row=name,
                    protocol=protocol,
                    decides=protocol == self.protocols[name],
                    labels=labels,
                    mean=estimate.mean,
                    low=max(0.0, low),
                    high=min(1.0, high),
                    standard_error=estimate.variance**0.5,
                    confidence=1 - ERROR,
                    num_draws=len(self.cell_grids[name, protocol, labels].draws),
                    num_seeds=cells.num_seeds,
                    num_collapsed=int((self.scores[name, protocol, labels]["status"] == "collapsed").sum()),
                )
            )
        return found
