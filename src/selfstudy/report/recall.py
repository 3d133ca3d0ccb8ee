"""How well every row finds each class, the rare ones above all."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._findings import ClassScore
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

MOST_BARS = 96  # of one label count: more are read in the reports of the rows
BAR_PIXELS, GAP_PIXELS = 11, 12


class Recall(Figure):
    title = "Does it find every class?"
    caption = (
        "Recall: of the test {unit}s of a class, the share that is found; mean over draws and seeds. The classes with fewest test {unit}s "
        "stand on top; in brackets how many there are and, below 30, to how many points they can tell a recall at best. Bars are 95 % "
        "intervals; how much seeds and draws add to them is learned from all classes together. A difference inside them means nothing. "
        "Choose how many labels the rows were given."
    )
    place = 31
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        kinds = {card["row"]: card["kind"] for card in summary["rows"]}
        scores = [score for score in summary["class_scores"] if kinds[score["row"]] != "majority"]
        if not scores:
            return []
        rows = {score["row"] for score in scores}
        kept = list(dict.fromkeys(score["name"] for score in scores))[: max(2, MOST_BARS // len(rows))]
        shown = [score for score in scores if score["name"] in kept]
        words = f"Recall of {len(kept)} of {len(record.classes)} classes by {len(rows)} rows. " + _sentence(
            shown, record
        )
        heading = "" if len(kept) == len(record.classes) else f"The {len(kept)} classes with fewest test {record.unit}s"
        return [
            Panel(
                content=_chart_of(shown, _named(kept, summary), styles(record), record),
                heading=heading,
                alternative=words,
            )
        ]


def _chart_of(
    scores: Sequence[ClassScore], names: Mapping[str, str], looks: dict[str, Style], record: StudyRecord
) -> alt.LayerChart:
    rows = [name for name in looks if name in {score["row"] for score in scores}]
    there = [labels for labels in record.labels if labels in {score["labels"] for score in scores}]
    table = pd.DataFrame(
        {
            "row": [score["row"] for score in scores],
            "labelled": [_names.labels(score["labels"]) for score in scores],
            "class": [names[score["name"]] for score in scores],
            "recall": [score["recall"] for score in scores],
            "low": [score["low"] for score in scores],
            "high": [score["high"] for score in scores],
            "interval": [f"{score['low']:.0%} to {score['high']:.0%}" for score in scores],
        }
    )
    options = [_names.labels(labels) for labels in there]
    chosen = alt.param(name="given", value=options[-1], bind=alt.binding_select(options=options, name="With "))
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelColor=_chart.INK, labelLimit=160)
    y = alt.Y(
        "class:N",
        scale=alt.Scale(domain=list(names.values()), paddingInner=0.3),
        title=f"class (test {record.unit}s)",
        axis=axis,
    )
    x = alt.X("recall:Q", title="recall", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%", tickCount=5))
    tooltip = [
        alt.Tooltip("row:N"), alt.Tooltip("class:N"), alt.Tooltip("recall:Q", format=".1%"),
        alt.Tooltip("interval:N", title="95 % interval"), alt.Tooltip("labelled:N", title="with"),
    ]  # fmt: skip
    base = (
        alt.Chart(_chart.rounded(table))
        .transform_filter("datum.labelled == given")
        .encode(
            y=y, yOffset=alt.YOffset("row:N", scale=alt.Scale(domain=rows)), opacity=_chart.faded(), tooltip=tooltip
        )
    )
    bars = base.mark_rule(strokeWidth=1.75).encode(x=alt.X("low:Q"), x2="high:Q", color=_chart.row_colour(looks))
    dots = base.mark_point(filled=True, size=46).encode(
        x=x, color=_chart.row_colour(looks), shape=_chart.row_shape(looks)
    )
    height = len(names) * (BAR_PIXELS * len(rows) + GAP_PIXELS)
    return _chart.layered([bars, dots], [_chart.FOCUS, chosen], height)


def _named(kept: Sequence[str], summary: Summary) -> dict[str, str]:
    """What the axis calls each class: "shopping (22: \N{PLUS-MINUS SIGN}19)" of a rare one, "shirts (1,000)" of another."""
    known = {found["name"]: found for found in summary["test_classes"]}
    points = {
        name: f": \N{PLUS-MINUS SIGN}{100 * found['half_width']:.0f}" for name, found in known.items() if found["rare"]
    }
    return {name: f"{name} ({_names.count(known[name]['num_test_images'])}{points.get(name, '')})" for name in kept}


def _sentence(scores: Sequence[ClassScore], record: StudyRecord) -> str:
    """The worst recall of every row with most labels."""
    most = [labels for labels in record.labels if labels in {score["labels"] for score in scores}][-1]
    worst: dict[str, ClassScore] = {}
    for score in scores:
        if score["labels"] == most and score["recall"] < worst.get(score["row"], {"recall": 2.0})["recall"]:
            worst[score["row"]] = score
    parts = [f"{row} {score['recall']:.0%} of {score['name']}" for row, score in worst.items()]
    return f"The lowest with {_names.labels(most)}: {'; '.join(parts)}."
