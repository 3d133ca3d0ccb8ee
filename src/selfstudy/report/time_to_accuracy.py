"""How long each row took to reach a score, and which rows never did."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._findings import TimeTo
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

ROW_PIXELS = 24
MOST_PANELS = 6


class TimeToAccuracy(Figure):
    title = "How long until it is good enough?"
    caption = (
        "Seconds of one pretraining and one evaluation (of all trials, where settings were searched) of the rows whose mean reaches a score: up to the first point that was measured "
        "at or above it where a row was judged along its training, else to its end. A row without a bar never reached it in "
        "this study; how far it came stands in its place. Nothing is interpolated or extrapolated."
    )
    place = 77
    columns = 2

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        looks, panels = styles(record), []
        order = {labels: place for place, labels in enumerate(record.labels)}
        whole = sorted({(order[each["labels"]], each["level"]) for each in summary["times_to"]})
        for place, level in whole[:MOST_PANELS]:
            labels = record.labels[place]
            found = [each for each in summary["times_to"] if (each["labels"], each["level"]) == (labels, level)]
            panels.append(
                Panel(
                    content=_chart_of(found, looks),
                    heading=f"{level:.0%} {_names.metric(record.metric)} with {_names.labels(labels)}",
                    alternative=" ".join(map(_sentence, found)),
                )
            )
        return panels


def _chart_of(found: Sequence[TimeTo], looks: dict[str, Style]) -> alt.LayerChart:
    table = pd.DataFrame(
        {
            "row": [each["row"] for each in found],
            "seconds": [each["seconds"] if each["reached"] else None for each in found],
            "reached": [each["reached"] for each in found],
            "words": [_words(each) for each in found],
            "measured": [each["measured"] for each in found],
            "judged": [_names.protocol(each["protocol"]) for each in found],
            "images": [
                "not known" if each["images_seen"] is None else _names.count(each["images_seen"]) for each in found
            ],
            "share": [each["share_reached"] for each in found],
            "mean": [each["mean"] for each in found],
        }
    )
    rows = [name for name in looks if name in set(table["row"])]
    most = max([each["seconds"] or 0.0 for each in found]) or 1.0
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelColor=_chart.INK, labelLimit=240)
    y = alt.Y("row:N", scale=alt.Scale(domain=rows), title=None, axis=axis)
    x = alt.X(
        "seconds:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, 1.3 * most], nice=False),
        axis=alt.Axis(tickCount=4, grid=False) if table["reached"].any() else None,
    )
    tooltip = [
        alt.Tooltip("row:N"), alt.Tooltip("words:N", title="time"), alt.Tooltip("images:N", title="images seen"),
        alt.Tooltip("measured:N"), alt.Tooltip("judged:N", title="by"), alt.Tooltip("mean:Q", format=".1%", title="at the end"),
        alt.Tooltip("share:Q", format=".0%", title="of its runs end above"),
    ]  # fmt: skip
    base = alt.Chart(_chart.rounded(table)).encode(y=y, tooltip=tooltip)
    bars = base.transform_filter("datum.reached").mark_bar(height=12).encode(x=x, color=_chart.row_colour(looks))
    times = base.transform_filter("datum.reached").mark_text(align="left", dx=6).encode(x=x, text="words:N")
    never = base.transform_filter("!datum.reached").mark_text(
        align="left", dx=2, color=_chart.MUTED, fontStyle="italic"
    )
    return _chart.layered(
        [bars, times, never.encode(x=alt.value(0), text="words:N")], [], height=ROW_PIXELS * len(rows) + 8
    )


def _words(each: TimeTo) -> str:
    return _names.duration(each["seconds"]) if each["seconds"] is not None else f"never: {each['mean']:.1%}"


def _sentence(each: TimeTo) -> str:
    if each["seconds"] is None:
        return f"{each['row']} never reached {each['level']:.0%}: its mean is {each['mean']:.1%}."
    return f"{each['row']} reached {each['level']:.0%} in {_names.duration(each['seconds'])}."
