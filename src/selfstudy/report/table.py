"""Every number of the study."""

from collections.abc import Sequence

from selfstudy.report import _names, _table
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, percent
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
                    (_names.short_labels(labels), record.num_labels(labels)),
                    (_names.protocol(protocol), protocol),
                    (_names.metric(metric), metric),
                    percent(part["value"].mean(), 2),
                    *_interval(point),
                    percent(part["value"].min(), 2),
                    percent(part["value"].max(), 2),
                    *((str(number), number) for number in (len(part), part["draw"].nunique(), part["seed"].nunique())),
                ])  # fmt: skip
        if not lines:
            return []
        alternative = f"{len(lines)} lines: every row, label count, protocol and metric."
        content = _table.Table(caption=alternative, headers=HEADERS, lines=lines, words=4, sortable=True)
        return [Panel(content=content, alternative=alternative)]


def _interval(point: Point | None) -> tuple[Cell, Cell]:
    return (NOT_KNOWN, NOT_KNOWN) if point is None else (percent(point["low"], 2), percent(point["high"], 2))
