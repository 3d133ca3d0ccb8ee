"""Where images have any number of attributes: how well a row tells each of them."""

from collections.abc import Sequence

import numpy as np

from selfstudy.evaluation import AttributeScores, attribute_report
from selfstudy.report import _answers, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import Cell, Table, percent
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

COLUMNS = {  # of AttributeScores
    "auc": "ROC-AUC", "average_precision": "average precision", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "f1": "F1",
}  # fmt: skip


class Attributes(Figure):
    title = "How good is it at each attribute?"
    caption = (
        "In per cent, with the most labels of the study; means over draws and seeds. ROC-AUC: how often one that has the attribute "
        "is ranked above one that has not, 50 by chance. Balanced accuracy: the mean of the two shares that are told rightly, of those "
        "that have it and of those that have not, 50 by chance. Accuracy flatters where few images, or nearly all, have the attribute."
    )
    place = 66
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        if record.test_labels.ndim == 1:
            return []
        panels = []
        for row in record.rows:
            labels, scores = _answers.most_labelled(record, row)
            answers = [found for cell in scores["cell"] if (found := _answers.probabilities(record, cell)) is not None]
            if not answers:
                continue
            reports = [attribute_report(record.test_labels, found, record.classes) for found in answers]
            caption = f"{len(record.classes)} attributes told by {row.name} with {_names.labels(labels)}."
            content = Table(
                caption=caption, headers=["attribute", *COLUMNS.values(), "have it", "known"],
                lines=[_line(lines) for lines in zip(*reports, strict=True)], words=1, sortable=True,
            )  # fmt: skip
            panels.append(Panel(content=content, alternative=caption, row=row.name))
        return panels


def _line(scores: Sequence[AttributeScores]) -> list[Cell]:
    """One attribute; `scores` are those of all cells."""
    first = scores[0]
    means = [percent(float(np.mean([getattr(score, name) for score in scores]))) for name in COLUMNS]
    counts = [(_names.count(number), float(number)) for number in (first.having, first.known)]
    return [(first.name, first.name), *means, *counts]
