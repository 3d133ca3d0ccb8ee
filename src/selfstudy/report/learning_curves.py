"""Scores along training: how many images and seconds each row needed, and who never reached the scores that were asked for."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.report._table import Cell, Table, percent
from selfstudy.study._findings import LearningCurve, TimeTo
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

AXES: Mapping[str, str] = {"images_seen": "images seen", "seconds": "seconds"}  # by the points' field
NEVER: Cell = ("never", "Infinity")  # which a script sorts as a number, after all others


class LearningCurves(Figure):
    title = "How does the score grow along training?"
    caption = (
        "Mean score of the encoders that a pretraining left on its way and at its end. Seconds are those of pretraining up to there and "
        "of one evaluation. A score counts as reached at the first point that was measured at or above its dashed line, so it may have "
        "been reached a little earlier; nothing is read off between points. A row of one point was measured at its end alone: it trains "
        "on labels, takes published or random weights, or was pretrained before the study asked for these scores. The test {unit}s are "
        "only described by this: no step and no row was chosen by it."
    )
    place = 76
    columns = 2
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        looks, panels = styles(record), []
        for labels in dict.fromkeys(curve["labels"] for curve in summary["learning_curves"]):
            curves = [curve for curve in summary["learning_curves"] if curve["labels"] == labels]
            rows = {curve["row"] for curve in curves}
            times = [each for each in summary["times_to"] if each["labels"] == labels and each["row"] in rows]
            for field, name in AXES.items():
                panels.append(
                    Panel(
                        content=_chart_of(curves, times, field, looks, record),
                        heading=f"By {name}, with {_names.labels(labels)}",
                        alternative=" ".join(_sentence(curve, field) for curve in curves),
                    )
                )
            panels.append(_table_of(times, labels, record))
        return panels


def _chart_of(
    curves: Sequence[LearningCurve], times: Sequence[TimeTo], field: str, looks: dict[str, Style], record: StudyRecord
) -> alt.LayerChart:
    metric = _names.metric(record.metric)
    table = pd.DataFrame(
        [
            {"row": curve["row"], "judged": _names.protocol(curve["protocol"]), **point}
            for curve in curves
            for point in curve["points"]
        ]
    ).assign(time=lambda found: found["seconds"].map(_names.duration))
    x = alt.X(
        f"{field}:Q",
        title=AXES[field],
        scale=alt.Scale(nice=False, padding=8),
        axis=alt.Axis(format="~s", grid=False, tickCount=4),
    )
    y = alt.Y("mean:Q", title=metric, scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(format="~%", tickCount=5))
    base = alt.Chart(_chart.rounded(table)).encode(x=x, y=y, opacity=_chart.faded())
    tooltip = [
        alt.Tooltip("row:N"), alt.Tooltip("mean:Q", format=".1%", title=metric), alt.Tooltip("judged:N", title="by"),
        alt.Tooltip("images_seen:Q", format=",", title="images seen"), alt.Tooltip("time:N"),
    ]  # fmt: skip
    colour = _chart.row_colour(looks)
    levels = pd.DataFrame({"mean": sorted({each["level"] for each in times})}).assign(
        words=lambda found: found["mean"].map(lambda level: f"{100 * level:.4g}%")
    )
    asked = alt.Chart(levels).encode(y=alt.Y("mean:Q"))
    layers = [
        asked.mark_rule(stroke=_chart.MUTED, strokeDash=[5, 4]),
        asked.mark_text(align="left", dx=2, dy=-6, color=_chart.MUTED).encode(x=alt.value(0), text="words:N"),
        base.mark_line(strokeWidth=1.75).encode(color=colour, strokeDash=_chart.row_dash(looks)),
        base.mark_point(filled=True, size=64).encode(color=colour, shape=_chart.row_shape(looks), tooltip=tooltip),
    ]
    return _chart.layered(layers, [_chart.FOCUS], height=300)


def _table_of(times: Sequence[TimeTo], labels: str, record: StudyRecord) -> Panel:
    """Every row at every score that was asked for."""
    metric = _names.metric(record.metric)
    caption = f"Images and seconds until each score, with {_names.labels(labels)}."
    headers = ["row", "judged by", "measured", f"{metric}, %", "images seen", "time", "at the end, %"]
    content = Table(
        caption=caption,
        headers=headers,
        lines=[_line(each) for each in times],
        words=3,
        sortable=True,
        csv_headers=["row", "protocol", "measured", record.metric, "images_seen", "seconds", "end"],
    )
    return Panel(content=content, heading=f"Reached or not, with {_names.labels(labels)}", alternative=caption)


def _line(each: TimeTo) -> list[Cell]:
    seen, seconds = each["images_seen"], each["seconds"]
    return [
        (each["row"], each["row"]),
        (_names.protocol(each["protocol"]), each["protocol"]),
        (each["measured"], each["measured"]),
        (f"{100 * each['level']:.4g}", each["level"]),
        NEVER if seen is None else (_names.count(seen), seen),
        NEVER if seconds is None else (_names.duration(seconds), seconds),
        percent(each["mean"]),
    ]


def _sentence(curve: LearningCurve, field: str) -> str:
    """The points in words."""
    places = {
        "images_seen": [f"{_names.count(point['images_seen'])} images" for point in curve["points"]],
        "seconds": [_names.duration(point["seconds"]) for point in curve["points"]],
    }[field]
    parts = [f"{point['mean']:.1%} after {place}" for point, place in zip(curve["points"], places, strict=True)]
    return f"{curve['row']}: {', '.join(parts)}."
