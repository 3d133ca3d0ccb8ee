"""Where training from scratch catches up with pretraining, and how many labels pretraining saves."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _log_axis, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._phrases import at_labels
from selfstudy.report._table import Cell, Table
from selfstudy.study._findings import LabelRange, LabelsSaved
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Crossover as Verdicts
from selfstudy.study._summary import Summary

LOOKS: Mapping[str, tuple[str, str]] = {  # verdict: colour and shape, so that colour is not needed
    "better": (_chart.ACCENT, "triangle-up"),
    "equivalent": (_chart.INK, "square"),
    "undecided": (_chart.MUTED, "circle"),
    "worse": (_chart.WRONG, "triangle-down"),
}
ROW_PIXELS = 34


class Crossover(Figure):
    title = "When does training from scratch catch up?"
    caption = (
        "Each line is a pretrained row, from few labels to many, against training from scratch on the same labels. A triangle pointing "
        "up: pretraining is surely better there. A square: equal, within the margin. A circle: undecided. A triangle pointing down: "
        "training from scratch is surely better. The pale bar is where the two mean scores cross, with its 95 % interval; it is read off "
        "between the label counts of the study, and a bar that ends at the edge goes on beyond them."
    )
    place = 22

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        found = summary["crossovers"]
        if not found or len(record.labels) < 2:  # nothing lies between one label count and itself
            return []
        panels = [Panel(content=_chart_of(found, record), alternative=" ".join(map(_sentence, found)))]
        if summary["labels_saved"]:
            saved = _saved(summary["labels_saved"], record)
            panels.append(Panel(content=saved, heading="How many labels does it save?", alternative=saved.caption))
        return panels


def _chart_of(found: Sequence[Verdicts], record: StudyRecord) -> alt.LayerChart:
    counts, rows = _log_axis.counts(record), [verdicts["a"] for verdicts in found]
    x = _log_axis.axis(counts, record.unit)
    least, most = _log_axis.domain(counts)
    spans = [span for each in found if (span := _span(each, least, most, len(record.classes)))]
    verdicts = [
        {
            "row": each["a"],
            "against": each["b"],
            "x": counts[labels],
            "labelled": _names.labels(labels),
            "verdict": verdict,
        }
        for each in found
        for verdict, places in _places(each).items()
        for labels in places
    ]
    axis = alt.Axis(grid=False, ticks=False, domain=False, labelColor=_chart.INK, labelLimit=240)
    y = alt.Y("row:N", scale=alt.Scale(domain=rows), title=None, axis=axis)
    base = alt.Chart(pd.DataFrame(verdicts)).encode(x=x, y=y)
    domain, colours, shapes = list(LOOKS), [look[0] for look in LOOKS.values()], [look[1] for look in LOOKS.values()]
    marks = base.mark_point(filled=True, size=120, opacity=1).encode(
        color=alt.Color("verdict:N", scale=alt.Scale(domain=domain, range=colours), legend=None),
        shape=alt.Shape("verdict:N", scale=alt.Scale(domain=domain, range=shapes), legend=None),
        tooltip=[
            alt.Tooltip("row:N"), alt.Tooltip("labelled:N", title="with"), alt.Tooltip("verdict:N"), alt.Tooltip("against:N"),
        ],
    )  # fmt: skip
    line = base.mark_line(stroke=_chart.RULE, strokeWidth=1).encode(detail="row:N")
    layers = [line, marks]
    if spans:
        table = alt.Chart(_chart.rounded(pd.DataFrame(spans))).encode(
            y=y, tooltip=[alt.Tooltip("words:N", title="cross")]
        )
        bars = table.mark_bar(color=_chart.MUTED, opacity=0.22, height=14).encode(x=alt.X("low:Q"), x2="high:Q")
        where = table.transform_filter("datum.estimate != null")
        layers = [
            bars,
            line,
            where.mark_tick(color=_chart.INK, thickness=2, height=18).encode(x=alt.X("estimate:Q")),
            marks,
        ]
    return _chart.layered(layers, [], height=ROW_PIXELS * len(rows) + 10)


def _span(each: Verdicts, least: float, most: float, num_classes: int) -> dict[str, object] | None:
    """The crossing with its interval, in labels per class, cut to the picture; nothing where it is not in the study."""
    found = each["catches_up"]
    if found["estimate"] is None and found["low"] is None:
        return None
    ends = (found["low"], found["estimate"], found["high"])
    low, estimate, high = (None if end is None else max(least, end / num_classes) for end in ends)
    return {
        "row": each["a"], "low": least if low is None else low, "estimate": estimate, "high": most if high is None else high,
        "words": _range(found, each["fewest"]),
    }  # fmt: skip


def _range(found: LabelRange, fewest: float) -> str:
    """ "at 140 labels (90 to 260)", or that it is at neither side of what the study tried."""
    if found["estimate"] is None:
        return "beyond the labels of this study"
    high = "beyond" if found["high"] is None else _names.count(found["high"])
    low = (
        "below"
        if found["low"] is None
        else f"{_names.count(found['low'])}{' or fewer' if found['low'] <= fewest else ''}"
    )
    where = f"at {_names.count(found['estimate'])} labels{' or fewer' if found['estimate'] <= fewest else ''}"
    return where if found["low"] == found["high"] else f"{where} ({low} to {high})"


def _saved(found: Sequence[LabelsSaved], record: StudyRecord) -> Table:
    lines: list[list[Cell]] = []
    fewest = record.num_labels(record.labels[0])
    for each in found:
        needed, number = each["needed"], each["num_labels"]
        estimate, low, high = needed["estimate"], needed["low"], needed["high"]
        beyond = f"more than {_names.count(each['most'])}"
        shown = beyond if estimate is None else _names.count(estimate) + (" or fewer" if estimate <= fewest else "")
        start = "?" if low is None else _names.count(low) + (" or fewer" if low <= fewest else "")
        ends = start if low == high else f"{start} to {_names.count(high) if high is not None else beyond}"
        times = "" if estimate is None else f"{estimate / number:.2g}"
        key = each["most"] if estimate is None else estimate
        lines.append([
            (each["a"], each["a"]), (_names.labels(each["labels"]), record.num_labels(each["labels"])),
            (_names.count(number), number), (f"{100 * each['score']:.1f}", each["score"]), (shown, key), (ends, key),
            (times, key / number),
        ])  # fmt: skip
    headers = [
        "row",
        "with",
        f"labelled {record.unit}s",
        "score, %",
        "from scratch needs",
        "95 % interval",
        "times as many",
    ]
    return Table(
        caption=f"How many labelled {record.unit}s training from scratch needs to score what each pretrained row scores.",
        headers=headers, lines=lines, words=2, sortable=True,
    )  # fmt: skip


def _places(each: Verdicts) -> Mapping[str, Sequence[str]]:
    """The label counts of every verdict, in the order of LOOKS."""
    return {
        "better": each["better_at"],
        "equivalent": each["equivalent_at"],
        "undecided": each["undecided_at"],
        "worse": each["worse_at"],
    }


def _sentence(each: Verdicts) -> str:
    words = [f"{verdict} {at_labels(places)}" for verdict, places in _places(each).items() if places]
    return f"{each['a']} against {each['b']}: {'; '.join(words)}; the means cross {_range(each['catches_up'], each['fewest'])}."
