"""Every number of the study."""

from collections.abc import Sequence

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, table
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point, Summary

HEADERS = ("row", "labels", "protocol", "metric", "mean", "low", "high", "lowest", "highest", "n", "draws", "seeds")


class Table(Figure):
    title = "All numbers"
    caption = (
        "Scores in per cent. Low and high end the 95 % interval of the mean (for the metric that decides); lowest and highest are the "
        "extremes of the n single scores. Click a heading to sort; type words to filter. "
        "The single scores are in results.csv, beside this file."
    )
    place = 90

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        points = {(point["row"], point["protocol"], point["labels"]): point for point in summary["points"]}
        lines: list[list[Cell]] = []
        for row in record.rows:
            scores = record.table[record.of(row) & record.table["value"].notna() & (record.table["split"] == "test")]
            for keys, part in scores.groupby(["protocol", "labels", "metric"], sort=False):
                protocol, labels, metric = map(str, keys)
                point = points.get((row.name, protocol, labels)) if metric == record.metric else None
                lines.append([
                    (row.name, row.name),
                    (labels, record.num_labels(labels)),
                    (_names.protocol(protocol), protocol),
                    (_names.metric(metric), metric),
                    _percent(part["value"].mean()),
                    *_interval(point),
                    _percent(part["value"].min()),
                    _percent(part["value"].max()),
                    *((str(number), number) for number in (len(part), part["draw"].nunique(), part["seed"].nunique())),
                ])  # fmt: skip
        if not lines:
            return []
        alternative = f"{len(lines)} lines: every row, label count, protocol and metric."
        return [Panel(content=table(alternative, HEADERS, lines, words=4, sortable=True), alternative=alternative)]


def _percent(value: float) -> Cell:
    return f"{100 * value:.2f}", value


def _interval(point: Point | None) -> tuple[Cell, Cell]:
    return (NOT_KNOWN, NOT_KNOWN) if point is None else (_percent(point["low"]), _percent(point["high"]))
