"""What a sentence asks of a summary: the verdicts of one kind, who leads where, what a row or a metric is called."""

from collections.abc import Sequence
from typing import Literal

from selfstudy.report._phrases import at_labels, labels_text, score_text
from selfstudy.study._record import Kind
from selfstudy.study._summary import Point, Statement, StatementKind, Summary, Verdict

METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "macro_accuracy": "macro accuracy",
    "macro_auc": "mean area under the ROC curve",
    "mean_average_precision": "mean average precision",
}
PROTOCOLS = {
    "linear": "a linear probe on frozen features",
    "knn": "nearest neighbours on frozen features",
    "finetune": "fine-tuning",
    "head": "a small head on the frozen encoder",
    "layers": "a linear probe on the best single layer",
    "prototype": "the nearest class mean of frozen features",
}
SCRATCH = "training from scratch"


def verdicts_against(summary: Summary, kind: StatementKind) -> list[Statement]:
    return [statement for statement in summary["statements"] if statement["kind"] == kind]


def leads_of(summary: Summary) -> list[Statement]:
    """At every label count the verdict of pretraining as such, with the row it is about.

    Better if any row is; else undecided if any row may still be better; else equivalent if any row is; else worse.
    Among the rows of that verdict the one with the greatest difference.
    """
    order: list[Verdict] = ["better", "undecided", "equivalent", "worse"]
    found: dict[str, Statement] = {}
    for verdict in order:
        for lead in leaders_of(summary, verdict):
            found.setdefault(lead["labels"], lead)
    return [found[labels] for labels in labels_tried(summary)]


def leaders_of(summary: Summary, verdict: Verdict) -> list[Statement]:
    """At every label count with such a verdict the row of it that validation chose, or else the greatest difference."""
    found = [statement for statement in verdicts_against(summary, "supervised") if statement["verdict"] == verdict]
    chosen = {winner["labels"]: winner["row"] for winner in summary["winners"] if winner["chosen_by"] != "test"}
    order = [labels for labels in labels_tried(summary) if any(statement["labels"] == labels for statement in found)]
    return [
        max(
            (statement for statement in found if statement["labels"] == labels),
            key=lambda statement: (
                verdict == "better" and statement["a"] == chosen.get(labels),
                statement["difference"],
            ),
        )
        for labels in order
    ]


def labels_tried(summary: Summary) -> list[str]:
    """The label counts with a verdict against training from scratch."""
    there = {statement["labels"] for statement in verdicts_against(summary, "supervised")}
    return [labels for labels in summary["conditions"]["labels"] if labels in there]


def range_text(summary: Summary, labels: Sequence[str]) -> str:
    """ "from 4 labels per class on", "up to 10 labels per class" or, if it is neither end of the study, "with ..."."""
    order = summary["conditions"]["labels"]
    if len(labels) > 1:
        if list(labels) == order:
            return "with every number of labels tried"
        if list(labels) == order[-len(labels) :]:
            return f"from {labels_text([labels[0]])} on"
        if list(labels) == order[: len(labels)]:
            return f"up to {labels_text([labels[-1]])}"
    return at_labels(labels)


def deciding(summary: Summary) -> list[Point]:
    return [point for point in summary["points"] if point["decides"]]


def kind_of(summary: Summary, name: str) -> Kind | None:
    return next((row["kind"] for row in summary["rows"] if row["row"] == name), None)


def unit_of(summary: Summary) -> str:
    """What has a label and is tested: "image", or "page" where images are tiles of pages."""
    return summary["conditions"]["unit"]


def metric_text(summary: Summary) -> str:
    return METRICS.get(summary["metric"], summary["metric"])


def score_of(summary: Summary, statement: Statement, side: Literal["a", "b"]) -> str:
    """The mean of row a or b with its own interval."""
    point = next(p for p in deciding(summary) if p["row"] == statement[side] and p["labels"] == statement["labels"])
    return score_text(point)
