"""What a score costs: score against computing time, with the rows that no other row beats in both."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._findings import TradeOff
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

TICKS = {  # seconds, in the unit a person would use
    0.1: "0.1 s", 0.3: "0.3 s", 1: "1 s", 3: "3 s", 5: "5 s", 10: "10 s", 30: "30 s", 60: "1 min", 180: "3 min", 600: "10 min",
    1800: "30 min", 3600: "1 h", 10_800: "3 h", 36_000: "10 h", 108_000: "30 h", 360_000: "100 h",
}  # fmt: skip
MOST_PANELS = 4  # label counts drawn: the first and the last, and others spread between them


class Pareto(Figure):
    title = "Is it worth its cost?"
    caption = (
        "Mean score against the time of one pretraining and one evaluation (of all trials, where settings were searched), on a logarithmic scale. The line joins the rows that are "
        "worth considering: each of the others has a row that scores at least as well in at most the same time, and is drawn pale. Means "
        "decide here, not intervals, so rows close to the line may be as good."
    )
    place = 75
    columns = 2
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        looks, panels = styles(record), []
        there = [name for name in record.labels if any(each["labels"] == name for each in summary["trade_offs"])]
        for labels in _spread(there):
            found = [each for each in summary["trade_offs"] if each["labels"] == labels]
            panels.append(
                Panel(
                    content=_chart_of(found, looks, record),
                    heading=f"With {_names.labels(labels)}",
                    alternative=_sentence(found),
                )
            )
        return panels


def _spread(labels: list[str]) -> list[str]:
    if len(labels) <= MOST_PANELS:
        return labels
    return [labels[round(place * (len(labels) - 1) / (MOST_PANELS - 1))] for place in range(MOST_PANELS)]


def _chart_of(found: Sequence[TradeOff], looks: dict[str, Style], record: StudyRecord) -> alt.LayerChart:
    table = pd.DataFrame(
        {
            "row": [each["row"] for each in found],
            "seconds": [max(0.1, each["seconds"]) for each in found],  # a logarithmic scale has no zero
            "mean": [each["mean"] for each in found],
            "pareto": [each["pareto"] for each in found],
            "time": [_names.duration(each["seconds"]) for each in found],
            "interval": [f"{each['low']:.1%} to {each['high']:.1%}" for each in found],
            "beaten": [", ".join(each["dominated_by"]) or "no row" for each in found],
        }
    )
    x = alt.X(
        "seconds:Q",
        title="time of one pretraining and one evaluation",
        scale=alt.Scale(type="log", padding=14, nice=False),
        axis=alt.Axis(
            grid=False,
            values=list(TICKS),
            labelExpr=_chart.spelled(list(TICKS), list(TICKS.values())),
            labelOverlap=True,
        ),
    )
    y = alt.Y(
        "mean:Q",
        title=_names.metric(record.metric),
        scale=alt.Scale(zero=False, padding=10),
        axis=alt.Axis(format="~%", tickCount=5),
    )
    base = alt.Chart(_chart.rounded(table)).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("row:N"), alt.Tooltip("mean:Q", format=".1%", title=_names.metric(record.metric)),
        alt.Tooltip("interval:N", title="95 % interval"), alt.Tooltip("time:N"), alt.Tooltip("beaten:N", title="beaten by"),
    ]  # fmt: skip
    front = base.transform_filter("datum.pareto").mark_line(
        stroke=_chart.MUTED, strokeWidth=1.25, interpolate="step-after"
    )
    opacity = alt.condition("focus != '' && focus != datum.row", alt.value(0.12), alt.value(1))
    dots = base.mark_point(filled=True, size=90).encode(
        color=_chart.row_colour(looks),
        shape=_chart.row_shape(looks),
        opacity=opacity,
        fillOpacity=alt.condition("datum.pareto", alt.value(1), alt.value(0.3)),
        tooltip=tooltip,
    )
    return _chart.layered([front, dots], [_chart.FOCUS], height=260)


def _sentence(found: Sequence[TradeOff]) -> str:
    worth = ", ".join(
        f"{each['row']} ({each['mean']:.1%} in {_names.duration(each['seconds'])})" for each in found if each["pareto"]
    )
    return f"With {_names.labels(found[0]['labels'])}, no row beats these in both score and time: {worth}."
