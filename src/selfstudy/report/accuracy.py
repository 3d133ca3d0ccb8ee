"""Score against the number of labels, for every row, with intervals."""

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _log_axis, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

ERROR_TICKS = (0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
DODGE = 0.009  # of the axis's length, between neighbouring rows: their intervals would hide each other


class Accuracy(Figure):
    title = "How good is it, with how many labels?"
    caption = (
        "Mean score on the test {unit}s, by labelled {unit}s per class. Bars are 95 % intervals of each mean on its own; whether two "
        "rows differ is told by the next figure, not by whether bars overlap. Rows at one label count are drawn side by side. "
        "On the scale by errors, equal steps halve the mistakes that are left; it tells rows apart near the top."
    )
    place = 10
    columns = 2
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        points = pd.DataFrame(summary["points"])
        if points.empty:
            return []
        looks = styles(record)
        own = {name for name in points["protocol"].unique() if name not in record.protocols}  # of baselines
        shown = [name for name in record.protocols if (points["protocol"] == name).any()] or [""]
        counts = _log_axis.counts(record)
        panels = []
        for protocol in shown:
            part = points[(points["protocol"] == protocol) | points["protocol"].isin(own)]
            panels.append(
                Panel(
                    content=_chart_of(_with_places(part, counts, looks), counts, looks, record),
                    heading=_names.protocol(protocol).capitalize() if len(shown) > 1 else "",
                    alternative=_sentence(part, protocol, record),
                )
            )
        return panels


def _with_places(points: pd.DataFrame, counts: dict[str, float], looks: dict[str, Style]) -> pd.DataFrame:
    """The points with `x`, moved apart by row, and words for the tooltip."""
    span = max(1.0, math.log(max(counts.values()) / min(counts.values())))
    order = {name: place - (len(looks) - 1) / 2 for place, name in enumerate(looks)}
    shift = points["row"].map(order) * DODGE * span
    return points.assign(
        x=points["labels"].map(counts) * shift.map(math.exp),
        labelled=points["labels"].map(_names.labels),
        judged=points["protocol"].map(_names.protocol),
        interval=[f"{low:.1%} to {high:.1%}" for low, high in zip(points["low"], points["high"], strict=True)],
    )


def _chart_of(
    points: pd.DataFrame, counts: dict[str, float], looks: dict[str, Style], record: StudyRecord
) -> alt.LayerChart:
    # On the scale by errors no mistake at all is infinitely far up: bars are cut a halving above the best mean.
    floor = max(0.5 / len(record.test_labels), (1 - points["mean"].max()) / 2)
    steps = alt.param(
        name="scale",
        value="even",
        bind=alt.binding_radio(options=["even", "errors"], labels=["even", "by errors"], name="Scale"),
    )
    base = alt.Chart(_chart.rounded(points)).transform_calculate(
        **{
            f"y_{name}": f"scale == 'even' ? datum.{name} : -log(max(1 - datum.{name}, {floor:g})) / LN2"
            for name in ("mean", "low", "high")
        }
    )
    x, y = _axes(counts, record)
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("labelled:N", title="with"),
        alt.Tooltip("judged:N", title="by"),
        alt.Tooltip("mean:Q", format=".1%", title=_names.metric(record.metric)),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("num_draws:Q", title="label draws"),
        alt.Tooltip("num_seeds:Q", title="training seeds"),
    ]
    colour, opacity = _chart.row_colour(looks), _chart.faded()
    lines = base.mark_line(strokeWidth=1.75).encode(
        x=x, y=y, color=colour, strokeDash=_chart.row_dash(looks), opacity=opacity
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour, opacity=opacity)
    dots = base.mark_point(filled=True, size=64).encode(
        x=x, y=y, color=colour, shape=_chart.row_shape(looks), opacity=opacity, tooltip=tooltip
    )
    return _chart.layered([lines, bars, dots], [_chart.FOCUS, steps], height=380)


def _axes(counts: dict[str, float], record: StudyRecord) -> tuple[alt.X, alt.Y]:
    """Labels per class on a log scale, "all" at its count; scores evenly spaced or by halvings of the errors."""
    halvings = [round(-math.log2(1 - value), 6) for value in ERROR_TICKS]
    x = _log_axis.axis(counts, record.unit)
    y = alt.Y(
        "y_mean:Q",
        title=_names.metric(record.metric),
        scale=alt.Scale(zero=False, nice=False, padding=8),
        axis=alt.Axis(
            values=alt.ExprRef(f"scale == 'even' ? sequence(0, 1.05, 0.1) : {halvings}"),
            labelExpr="format(scale == 'even' ? datum.value : 1 - pow(2, -datum.value), '.1~%')",
        ),
    )
    return x, y


def _sentence(points: pd.DataFrame, protocol: str, record: StudyRecord) -> str:
    """The chart in words: each row at its fewest and most labels."""
    parts = []
    for row, line in points.groupby("row", sort=False):
        means = dict(zip(line["labels"], line["mean"], strict=True))
        there = [labels for labels in record.labels if labels in means]
        ends = dict.fromkeys([there[0], there[-1]])
        parts.append(f"{row} " + ", ".join(f"{means[labels]:.1%} with {_names.labels(labels)}" for labels in ends))
    return f"{_names.metric(record.metric)} against labels per class, {_names.protocol(protocol)}: {'; '.join(parts)}."
