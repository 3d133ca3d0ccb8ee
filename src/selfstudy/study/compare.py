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

from selfstudy.study._agreement import agreements
from selfstudy.study._circumstances import conditions, costs, row_cards
from selfstudy.study._classes import class_scores, supports
from selfstudy.study._comparison import ERROR, Comparison, judge
from selfstudy.study._intervals import holm_confidences
from selfstudy.study._labels import catches_up, labels_saved
from selfstudy.study._learning_curves import learning_curves
from selfstudy.study._plateau import plateaus
from selfstudy.study._record import Kind, StudyRecord
from selfstudy.study._summary import Crossover, Statement, Summary, Verdict
from selfstudy.study._times import times_to, trade_offs
from selfstudy.study._winner import winners


def summarise(record: StudyRecord) -> Summary:
    """What summary.json holds but the answer in words: every verdict with its numbers, means, costs and conditions."""
    comparison = Comparison(record)
    statements = [
        *(statement for labels in record.labels for statement in against(comparison, "supervised", labels)),
        *(statement for labels in record.labels for statement in against(comparison, "untrained", labels)),
        *(statement for labels in record.labels for statement in best(comparison, labels)),
    ]
    points = comparison.points()
    curves = learning_curves(comparison, points)
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
        points=points,
        statements=statements,
        crossovers=_crossovers(record, statements),
        costs=costs(record),
        winners=winners(comparison),
        test_classes=supports(record.test_labels, record.test_groups, record.classes),
        class_scores=class_scores(comparison),
        labels_saved=labels_saved(comparison),
        plateaus=plateaus(comparison),
        learning_curves=curves,
        times_to=times_to(comparison, points, curves),
        agreements=agreements(comparison),
        trade_offs=trade_offs(comparison, points),
    )


def against(comparison: Comparison, kind: Literal["supervised", "untrained"], labels: str) -> list[Statement]:
    """The family of verdicts against supervised training or the untrained encoder at one label count."""
    judged: tuple[Kind, ...] = ("learned",) if kind == "supervised" else ("learned", "supervised")
    pairs = [(row.name, comparison.reference(kind, row)) for row in comparison.rows.values() if row.kind in judged]
    estimates = {
        (a, b): estimate
        for a, b in pairs
        if b is not None and (estimate := comparison.difference(a, b, labels)) is not None
    }
    confidences = holm_confidences([estimate.p_value for estimate in estimates.values()], ERROR)
    return [
        comparison.statement(kind, a, b, labels, estimate, confidence)
        for ((a, b), estimate), confidence in zip(estimates.items(), confidences, strict=True)
    ]


def best(comparison: Comparison, labels: str) -> list[Statement]:
    """The row with the highest mean against the runner-up. It is the best if it is better than every other row.

    The others share ERROR equally (Bonferroni), which covers that the best row was picked after the fact: the
    claim is false only if the truly best row was among those found worse (Hsu, Multiple Comparisons, 1996, ch. 4).
    """
    means = {
        name: found.values.mean()
        for name, row in comparison.rows.items()
        if row.kind != "majority" and (found := comparison.grid(name, labels)) is not None
    }
    first, *others = sorted(means, key=lambda name: -means[name]) or [""]
    estimates = {
        other: estimate for other in others if (estimate := comparison.difference(first, other, labels)) is not None
    }
    if not estimates:
        return []
    confidence = 1 - ERROR / len(estimates)
    margin = comparison.record.margin
    ties = [other for other, estimate in estimates.items() if judge(*estimate.interval(confidence), margin) != "better"]
    runner_up = next(iter(estimates))
    return [comparison.statement("best", first, runner_up, labels, estimates[runner_up], confidence, ties)]


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
                catches_up=catches_up(record, list(by_labels.values())),
                fewest=min(map(record.num_labels, by_labels)),
                most=max(map(record.num_labels, by_labels)),
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
