"""Backbones against what they started from, where a study holds several: the ablation of source S3."""

from collections.abc import Mapping, Sequence

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Point, Summary


class Backbones(Figure):
    title = "Which backbone, and which start?"
    caption = (
        "Mean scores on the test {unit}s in per cent, each with the 95 % interval of its own: a line for every backbone, a column for "
        "every way to train it. Read along a line to see what a start is worth, down a column to compare backbones."
    )
    place = 26

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        rows = {row.name: (record.backbone(row), _start(record, row)) for row in record.rows}
        starts = [start for _, start in rows.values()]
        shared = [name for name in dict.fromkeys(starts) if starts.count(name) > 1]
        if not shared:
            return []
        panels = []
        for labels in reversed(record.labels):
            points = {
                rows[point["row"]]: point
                for point in summary["points"]
                if point["decides"] and point["labels"] == labels and rows[point["row"]][1] in shared
            }
            if points:
                panels.append(_panel(points, shared, f"With {_names.labels(labels)}", _names.metric(record.metric)))
        return panels


def _start(record: StudyRecord, row: Row) -> str:
    """The row's name without the backbone's: "simsiam resnet18" is "simsiam" on resnet18."""
    return row.name.replace(f" {record.backbone(row)}", "", 1)


def _panel(points: Mapping[tuple[str, str], Point], starts: Sequence[str], heading: str, metric: str) -> Panel:
    backbones = list(dict.fromkeys(backbone for backbone, _ in points))
    lines: list[list[Cell]] = [
        [(backbone, backbone), *(_cell(points.get((backbone, start))) for start in starts)] for backbone in backbones
    ]
    alternative = (
        f"Mean {metric} in per cent of {len(backbones)} backbones, each trained in {len(starts)} ways. {heading}."
    )
    content = Table(caption=alternative, headers=["backbone", *starts], lines=lines, words=1, sortable=True)
    return Panel(content=content, heading=heading, alternative=alternative)


def _cell(point: Point | None) -> Cell:
    """86.1 (82.0 to 90.2)."""
    if point is None:
        return NOT_KNOWN
    mean, low, high = (100 * point[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})", point["mean"]
