"""The scores that decide, in one small table: every row at every label count."""

from collections.abc import Sequence

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._phrases import count_text
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point, Summary


class Scores(Figure):
    title = "The scores at a glance"
    caption = (
        "Mean scores on the test {unit}s in per cent, each with the 95 % interval of its own. Every row stands with the protocol that "
        "decides for it. Intervals that overlap may still differ surely, and the other way round: see the differences above."
    )
    place = 25

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        points = {(point["row"], point["labels"]): point for point in summary["points"] if point["decides"]}
        labels = [name for name in record.labels if any(key[1] == name for key in points)]
        if not labels:
            return []
        headers = ["row", "judged by", *map(_names.labels, labels)]
        lines: list[list[Cell]] = [
            [
                (row.name, row.name),
                (_names.protocol(record.protocol(row)), record.protocol(row)),
                *(_cell(points.get((row.name, name))) for name in labels),
            ]
            for row in record.rows
        ]
        alternative = f"Mean {_names.metric(record.metric)} of {len(lines)} rows, in per cent, with {count_text(len(labels), 'label count')}."
        content = Table(caption=alternative, headers=headers, lines=lines, words=2, sortable=True)
        return [Panel(content=content, alternative=alternative)]


def _cell(point: Point | None) -> Cell:
    """86.1 (82.0 to 90.2)."""
    if point is None:
        return NOT_KNOWN
    mean, low, high = (100 * point[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})", point["mean"]
