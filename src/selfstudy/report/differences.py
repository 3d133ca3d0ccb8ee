"""The differences that the verdicts are about, with the intervals they follow from."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Statement, Summary

ROW_PIXELS = 26


class Differences(Figure):
    title = "Is the difference real?"
    caption = (
        "Difference to the baseline on the same labels and the same test {unit}s, in points, with the interval that decides the "
        "verdict. Wholly right of zero: better. Wholly left: worse. Wholly inside the band: equivalent, the difference is too small "
        "to matter to you. Anything else is undecided, however tempting the dot. The verdicts at one label count are read together, "
        "so their intervals are wider than 95 % ones. A bar that is cut off goes on; point at its dot for all numbers."
    )
    place = 20
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        looks = styles(record)
        titles = {
            "supervised": "Against supervised training from scratch",
            "untrained": "Against the untrained encoder",
        }
        panels = []
        for kind, title in titles.items():
            statements = [statement for statement in summary["statements"] if statement["kind"] == kind]
            if not statements:
                continue
            panels.append(
                Panel(
                    content=_chart_of(_with_words(pd.DataFrame(statements)), looks, record),
                    heading=title,
                    alternative=f"{title}: " + "; ".join(map(_sentence, statements)) + ".",
                )
            )
        return panels


def _with_words(found: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row": found["a"],
            "against": found["b"],
            "labelled": found["labels"].map(_names.labels),
            "verdict": found["verdict"],
            "difference": 100 * found["difference"],
            "low": 100 * found["low"],
            "high": 100 * found["high"],
            "means": [f"{a:.1%} and {b:.1%}" for a, b in zip(found["mean_a"], found["mean_b"], strict=True)],
            "interval": [
                f"{100 * low:+.1f} to {100 * high:+.1f} points"
                for low, high in zip(found["low"], found["high"], strict=True)
            ],
            "confidence": [f"{value:.4g}" for value in 100 * found["confidence"]],
        }
    )


def _chart_of(found: pd.DataFrame, looks: dict[str, Style], record: StudyRecord) -> alt.LayerChart:
    labels = [_names.labels(name) for name in record.labels]
    rows = [name for name in looks if name in set(found["row"])]
    found, domain = _within(found, 100 * record.margin)
    axis = alt.Axis(
        format="+~f",
        tickCount=6,
        labelSeparation=8,
        labelOverlap=True,
        labelExpr="datum.value == 0 ? '0' : datum.label",
    )
    x = alt.X("difference:Q", title="difference in points", scale=alt.Scale(domain=domain, nice=False), axis=axis)
    y = alt.Y(
        "labelled:N",
        sort=labels,
        title=None,
        axis=alt.Axis(grid=False, ticks=False, labelColor=_chart.INK, labelLimit=120, domain=False),
    )
    offset = alt.YOffset("row:N", sort=rows)
    colour, opacity = _chart.row_colour(looks), _chart.faded()
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("against:N"),
        alt.Tooltip("labelled:N", title="with"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("difference:Q", format="+.1f", title="points"),
        alt.Tooltip("interval:N"),
        alt.Tooltip("confidence:N", title="confidence, %"),
        alt.Tooltip("means:N", title="means"),
    ]
    margin = 100 * record.margin
    band = alt.Chart(_chart.rounded(pd.DataFrame({"from": [-margin], "to": [margin]}))).mark_rect(
        fill=_chart.MUTED, opacity=0.16
    )
    zero = alt.Chart(_chart.rounded(pd.DataFrame({"zero": [0]}))).mark_rule(stroke=_chart.MUTED, strokeWidth=1)
    base = alt.Chart(_chart.rounded(found)).encode(y=y, yOffset=offset, opacity=opacity, tooltip=tooltip)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=70).encode(x=x, color=colour, shape=_chart.row_shape(looks))
    words = base.mark_text(align="left", baseline="middle", dx=8, fontSize=12).encode(
        x=alt.X("high:Q"),
        text="verdict:N",
        color=alt.condition("datum.verdict == 'undecided'", alt.value(_chart.MUTED), alt.value(_chart.INK)),
    )
    height = ROW_PIXELS * len(rows) * found["labelled"].nunique() + 12 * found["labelled"].nunique()
    layers = [band.encode(x=alt.X("from:Q"), x2="to:Q"), zero.encode(x=alt.X("zero:Q")), bars, dots, words]
    return _chart.layered(layers, [_chart.FOCUS], height)


def _within(found: pd.DataFrame, margin: float) -> tuple[pd.DataFrame, list[float]]:
    """The table with bars cut to the picture, and the picture's ends.

    One interval from two seeds may be 80 points wide; drawn whole it would squeeze all others to dots. What is usual in this
    picture is shown whole.
    """
    usual = (found["high"] - found["low"]).median() / 2
    room = max(3 * margin, 0.5 * found["difference"].abs().max(), 1.5 * usual)
    least = max(found["low"].min(), found["difference"].min() - room, -100.0)
    most = min(found["high"].max(), found["difference"].max() + room, 100.0)
    least, most = min(least, -2 * margin), max(most, 2 * margin)
    cut = found.assign(low=found["low"].clip(least, most), high=found["high"].clip(least, most))
    return cut, [least, most + 0.22 * (most - least)]  # the verdict's word stands right of its bar


def _sentence(statement: Statement) -> str:
    difference = f"{100 * statement['difference']:+.1f} points"
    return f"{statement['a']} with {_names.labels(statement['labels'])} is {statement['verdict']}, {difference}"
