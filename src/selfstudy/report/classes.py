"""The classification report of a row: precision, recall and F1 of every class."""

from collections.abc import Sequence

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import Cell, Table, percent
from selfstudy.study._findings import ClassScore
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary


class Classes(Figure):
    title = "How good is it at each class?"
    caption = (
        "In per cent, with the most labels of the study; means over draws and seeds. Precision: of the {unit}s given this name, the share "
        "that is of the class. Recall: of the {unit}s of the class, the share that was given its name, with its 95 % interval. F1: "
        "their harmonic mean. The last lines are the plain mean over the classes, and the mean weighted by their test {unit}s."
    )
    place = 65
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        if record.test_labels.ndim > 1:
            return []
        panels = []
        for row in record.rows:
            scores = [score for score in summary["class_scores"] if score["row"] == row.name]
            there = [labels for labels in record.labels if labels in {score["labels"] for score in scores}]
            if not there:
                continue
            found = [score for score in scores if score["labels"] == there[-1]]
            caption = (
                f"Precision, recall and F1 of {row.name} with {_names.labels(there[-1])}, for {len(found)} classes."
            )
            headers = ["class", "precision", "recall", "from", "to", "F1", f"test {record.unit}s"]
            lines = [
                *map(_line, sorted(found, key=lambda score: record.classes.index(score["name"]))),
                *_means(found, record),
            ]
            content = Table(caption=caption, headers=headers, lines=lines, words=1, sortable=True)
            panels.append(Panel(content=content, alternative=caption, row=row.name))
        return panels


def _line(score: ClassScore) -> list[Cell]:
    return [
        (score["name"], score["name"]), percent(score["precision"]), percent(score["recall"]), percent(score["low"]),
        percent(score["high"]), percent(score["f1"]), (_names.count(score["support"]), score["support"]),
    ]  # fmt: skip


def _means(found: Sequence[ClassScore], record: StudyRecord) -> list[list[Cell]]:
    """Over all classes; nothing where the summary holds some of them only."""
    if len(found) < len(record.classes):
        return []
    total = sum(score["support"] for score in found)
    lines: list[list[Cell]] = []
    for name, weights in (
        ("mean of the classes", [1 / len(found)] * len(found)),
        ("weighted mean", [score["support"] / total for score in found]),
    ):
        precision, recall, f1 = (
            sum(weight * score[key] for weight, score in zip(weights, found, strict=True))
            for key in ("precision", "recall", "f1")
        )
        empty: Cell = ("", "")
        lines.append(
            [(name, name), percent(precision), percent(recall), empty, empty, percent(f1), (_names.count(total), total)]
        )
    return lines
