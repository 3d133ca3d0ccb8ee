"""From a study's predictions to verdicts: which row is better, worse, equivalent or not decided, and by how much.

Four words, for row a against row b, from the interval of their difference on the same labels and test images:
equivalent (all of it inside the margin), better, worse (all of it on one side of 0), undecided.

Families. At every label count, each learned row is held against supervised training from scratch, and each row against
the untrained encoder. The verdicts of one kind at one label count are a family: that any of them is false has
probability 0.05 at most (Holm); every statement records the confidence that follows. Label counts are questions of
their own, and "better up to n labels" needs no further correction, being false only if one of its parts is
(intersection-union: Berger, Technometrics 24, 1982). Simulated with the built-in study's design, a gain of 9.5 points
with one label per class is found in 85 of 100 studies; were all label counts one family, it would be found in 38.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from selfstudy.rng import Rng
from selfstudy.study._circumstances import conditions, costs, row_cards
from selfstudy.study._intervals import (
    Estimate,
    Grid,
    accuracy_deviations,
    bootstrap_deviations,
    estimate_difference,
    estimate_mean,
    grid,
    holm_confidences,
    resample_weights,
)
from selfstudy.study._power import what_decides
from selfstudy.study._record import Kind, Row, StudyRecord
from selfstudy.study._summary import Crossover, Point, Statement, StatementKind, Summary, Verdict

ERROR = 0.05  # the probability that any verdict of a family is false; 1 - ERROR is the confidence of a single mean


def judge(low: float, high: float, margin: float) -> Verdict:
    """The verdict of an interval of differences. A sure difference inside the margin is equivalence: it is too small to matter."""
    if -margin <= low and high <= margin:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def summarise(record: StudyRecord) -> Summary:
    """What summary.json holds but the answer in words: every verdict with its numbers, means, costs and conditions."""
    comparison = _Comparison(record)
    statements = [
        *(statement for labels in record.labels for statement in comparison.against("supervised", labels)),
        *(statement for labels in record.labels for statement in comparison.against("untrained", labels)),
        *(statement for labels in record.labels for statement in comparison.best(labels)),
    ]
    gaps = list(record.gaps)
    return Summary(
        study=str(record.settings.get("name", record.folder.name)),
        question=str(record.settings.get("question", "")),
        metric=record.metric,
        margin=record.margin,
        complete=not gaps,
        missing=gaps,
        conditions=conditions(record),
        rows=row_cards(record),
        points=comparison.points(),
        statements=statements,
        crossovers=_crossovers(record, statements),
        costs=costs(record),
    )


class _Comparison:
    """The grids of scores of a study, each read once, and the statements they give."""

    def __init__(self, record: StudyRecord) -> None:
        self.record = record
        self.rows = {row.name: row for row in record.rows}
        self.protocols = {row.name: record.protocol(row) for row in record.rows}
        names, groups = np.unique(record.test_groups, return_inverse=True)
        self.num_groups = len(names)
        weights = np.zeros((0, 0)) if record.metric == "accuracy" else resample_weights(len(names), Rng.from_seed(0))
        self.grids: dict[tuple[str, str, str], Grid] = {}
        for row in record.rows:
            for protocol in record.table.loc[record.of(row), "protocol"].unique():
                for labels in record.labels:
                    scores = record.scores(row, protocol, labels)
                    if len(scores):
                        found = [self._deviations(record.predictions(cell), groups, weights) for cell in scores["cell"]]
                        seeds, draws, values = (scores[name].to_numpy() for name in ("seed", "draw", "value"))
                        self.grids[row.name, protocol, labels] = grid(seeds, draws, values, np.stack(found))

    def _deviations(self, predictions: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        labels = self.record.test_labels
        if self.record.metric == "accuracy":
            return accuracy_deviations(predictions, labels, groups)
        return bootstrap_deviations(self.record.metric, predictions, labels, groups, len(self.record.classes), weights)

    def grid(self, row: str, labels: str) -> Grid | None:
        """By the protocol that decides for the row."""
        return self.grids.get((row, self.protocols[row], labels))

    def against(self, kind: Literal["supervised", "untrained"], labels: str) -> list[Statement]:
        """The family of verdicts against supervised training or the untrained encoder at one label count."""
        judged: tuple[Kind, ...] = ("learned",) if kind == "supervised" else ("learned", "supervised")
        pairs = [(row.name, self._reference(kind, row)) for row in self.rows.values() if row.kind in judged]
        estimates = {
            (a, b): estimate
            for a, b in pairs
            if b is not None and (estimate := self._difference(a, b, labels)) is not None
        }
        confidences = holm_confidences([estimate.p_value for estimate in estimates.values()], ERROR)
        return [
            self._statement(kind, a, b, labels, estimate, confidence)
            for ((a, b), estimate), confidence in zip(estimates.items(), confidences, strict=True)
        ]

    def _reference(self, kind: Kind, row: Row) -> str | None:
        """The baseline for a row: of its own backbone if there is one."""
        found = [other for other in self.rows.values() if other.kind == kind]
        backbone = self._backbone(row)
        return next((other.name for other in sorted(found, key=lambda other: self._backbone(other) != backbone)), None)

    def _backbone(self, row: Row) -> str:
        return str(self.record.table.loc[self.record.of(row), "backbone"].iloc[0])

    def best(self, labels: str) -> list[Statement]:
        """The row with the highest mean against the runner-up. It is the best if it is better than every other row.

        The others share ERROR equally (Bonferroni), which covers that the best row was picked after the fact: the
        claim is false only if the truly best row was among those found worse (Hsu, Multiple Comparisons, 1996, ch. 4).
        """
        means = {
            name: found.values.mean()
            for name, row in self.rows.items()
            if row.kind != "majority" and (found := self.grid(name, labels)) is not None
        }
        first, *others = sorted(means, key=lambda name: -means[name]) or [""]
        estimates = {
            other: estimate for other in others if (estimate := self._difference(first, other, labels)) is not None
        }
        if not estimates:
            return []
        confidence = 1 - ERROR / len(estimates)
        ties = [
            other
            for other, estimate in estimates.items()
            if judge(*estimate.interval(confidence), self.record.margin) != "better"
        ]
        runner_up = next(iter(estimates))
        statement = self._statement("best", first, runner_up, labels, estimates[runner_up], confidence, ties)
        return [statement]

    def _difference(self, a: str, b: str, labels: str) -> Estimate | None:
        first, second = self.grid(a, labels), self.grid(b, labels)
        return None if first is None or second is None else estimate_difference(first, second, self.num_groups)

    def _statement(
        self,
        kind: StatementKind,
        a: str,
        b: str,
        labels: str,
        estimate: Estimate,
        confidence: float,
        tied_with: Sequence[str] = (),
    ) -> Statement:
        first, second = self.grid(a, labels), self.grid(b, labels)
        assert first is not None and second is not None
        draws = np.intersect1d(first.draws, second.draws)
        first, second = first.on(draws), second.on(draws)
        low, high = estimate.interval(confidence)
        verdict = judge(low, high, self.record.margin)
        num_test_images = len(self.record.test_labels)
        varied = self._varied(labels, len(draws), {a: first, b: second})
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
            num_draws=len(draws),
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
            statuses = self.record.scores(self.rows[name], protocol, labels)["status"]
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
                    num_draws=len(cells.draws),
                    num_seeds=cells.num_seeds,
                    num_collapsed=int((statuses == "collapsed").sum()),
                )
            )
        return found


def _crossovers(record: StudyRecord, statements: Sequence[Statement]) -> list[Crossover]:
    """One for each row that was held against supervised training."""
    held: dict[str, dict[str, Statement]] = {}
    for statement in statements:
        if statement["kind"] == "supervised":
            held.setdefault(statement["a"], {})[statement["labels"]] = statement
    found = []
    for a, by_labels in held.items():
        verdicts = {labels: statement["verdict"] for labels, statement in by_labels.items()}
        places: dict[str | None, list[str]] = {
            verdict: [labels for labels in record.labels if verdicts.get(labels) == verdict]
            for verdict in (*get_args(Verdict), None)
        }
        first = next(iter(by_labels.values()))
        found.append(
            Crossover(
                a=a,
                b=first["b"],
                protocol=first["protocol"],
                better_at=places["better"],
                equivalent_at=places["equivalent"],
                worse_at=places["worse"],
                undecided_at=places["undecided"],
                missing_at=places[None],
                pays_up_to=_end_of_run(record.labels, verdicts, ("better",)),
                supervised_from=_end_of_run(record.labels[::-1], verdicts, ("worse", "equivalent")),
            )
        )
    return found


def _end_of_run(order: Sequence[str], verdicts: Mapping[str, Verdict], wanted: tuple[Verdict, ...]) -> str | None:
    """The last label count of the unbroken run of wanted verdicts that starts `order`."""
    last = None
    for labels in order:
        if verdicts.get(labels) not in wanted:
            return last
        last = labels
    return last
