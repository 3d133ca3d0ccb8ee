"""Score against the number of images without labels: how much unlabelled data is enough."""

import math
from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._findings import Plateau as Found
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

HEIGHT, PADDING = 280, 8  # pixels, of a chart and between its frame and its marks
LABEL_PIXELS, LETTER_PIXELS = 15, 6.7  # between two labels at the ends of lines, and of a letter at 12 pixels
MOST_SHARE = 0.45  # of the width that labels may take
CHART_PIXELS = 410  # the width of a chart in two columns, less its axis


class Plateau(Figure):
    title = "How much unlabelled data is enough?"
    caption = (
        "Mean score by the share of the unlabelled images that a method was pretrained on; every share was shown as many images in all. "
        "Bars are 95 % intervals of each mean on its own. A filled dot is not worse than pretraining on all images, by more than the "
        "margin; a hollow one is, or it is undecided. Where dots are filled the curve is flat. The dashed line is training from scratch "
        "on the same labels, which sees no unlabelled image."
    )
    place = 24
    columns = 2

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        panels = []
        for labels in record.labels:
            found = [plateau for plateau in summary["plateaus"] if plateau["labels"] == labels]
            if found:
                panels.append(
                    Panel(
                        content=_chart_of(found, labels, record, summary),
                        heading=f"With {_names.labels(labels)}",
                        alternative=" ".join(map(_sentence, found)),
                    )
                )
        return panels


def _chart_of(found: Sequence[Found], labels: str, record: StudyRecord, summary: Summary) -> alt.LayerChart:
    looks, names = styles(record), {(row.entry, row.unlabelled): row.name for row in record.rows}
    points = {(p["row"], p["protocol"]): p for p in summary["points"] if p["labels"] == labels}
    lines = []
    for plateau in found:
        for step in plateau["steps"]:
            point = points[names[plateau["entry"], step["unlabelled"]], plateau["protocol"]]
            flat = step["verdict"] == "itself" or step["unlabelled"] >= (plateau["flat_from"] or 2.0)
            lines.append({
                "entry": plateau["entry"], "share": step["unlabelled"], "images": step["num_images"], "mean": step["mean"],
                "low": point["low"], "high": point["high"], "flat": flat, "verdict": step["verdict"],
                "difference": 100 * step["difference"],
            })  # fmt: skip
    table = _chart.rounded(pd.DataFrame(lines))
    scratch = [p["mean"] for p in points.values() if p["decides"] and _kinds(summary)[p["row"]] == "supervised"]
    ends = [min([*table["low"], *scratch]), max([*table["high"], *scratch])]
    scale = _scale(found, names, looks)
    colour = alt.Color("entry:N", scale=scale, legend=None)
    shares = sorted(table["share"].unique())
    x = alt.X(
        "share:Q",
        title="share of the unlabelled images",
        scale=alt.Scale(type="log", nice=False, domain=_with_room(shares, found)),
        axis=alt.Axis(values=shares, format="~%", grid=False, labelOverlap=True),
    )
    y = alt.Y(
        "mean:Q",
        title=_names.metric(record.metric),
        scale=alt.Scale(zero=False, nice=False, padding=PADDING, domain=ends),
        axis=alt.Axis(format="~%", tickCount=5),
    )
    base = alt.Chart(table).encode(x=x, y=y)
    tooltip = [
        alt.Tooltip("entry:N", title="row"), alt.Tooltip("share:Q", format="~%", title="of the images"),
        alt.Tooltip("images:Q", format=",", title="images"), alt.Tooltip("mean:Q", format=".1%"),
        alt.Tooltip("difference:Q", format="+.1f", title="points to all images"), alt.Tooltip("verdict:N", title="against all images"),
    ]  # fmt: skip
    layers = [
        *_scratch(labels, summary),
        base.mark_line(strokeWidth=1.75).encode(color=colour),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            fill=alt.condition("datum.flat", alt.Fill("entry:N", scale=scale, legend=None), alt.value(_chart.PAPER)),
            stroke=alt.Stroke("entry:N", scale=scale, legend=None),
            tooltip=tooltip,
        ),
    ]
    words = alt.Chart(_chart.rounded(_names_apart(table, ends))).mark_text(
        align="left", dx=10, limit=int(MOST_SHARE * CHART_PIXELS)
    )
    layers.append(words.encode(x=x, y=y, text="entry:N", color=colour))
    return _chart.layered(layers, [], height=HEIGHT)


def _names_apart(table: pd.DataFrame, ends: Sequence[float]) -> pd.DataFrame:
    """The last point of every line, moved up or down until its name can be read; `ends` are those of the axis."""
    last = table.loc[table.groupby("entry", sort=False)["share"].idxmax()]
    gap = LABEL_PIXELS * (ends[1] - ends[0]) / (HEIGHT - 2 * PADDING)
    return last.assign(mean=_chart.spread_apart(last["mean"].tolist(), gap))


def _with_room(shares: Sequence[float], found: Sequence[Found]) -> list[float]:
    """The ends of the axis: right of the largest share the names of the lines have room."""
    longest = max(len(plateau["entry"]) for plateau in found)
    taken = min(MOST_SHARE, (14 + LETTER_PIXELS * longest) / CHART_PIXELS)
    span = max(math.log(shares[-1] / shares[0]), 1.0)
    return [shares[0] * math.exp(-0.05 * span), shares[-1] * math.exp(1.05 * span * taken / (1 - taken))]


def _scale(found: Sequence[Found], names: dict[tuple[str, float], str], looks: dict[str, Style]) -> alt.Scale:
    """Every entry has the colour of its row on most images."""
    domain = [plateau["entry"] for plateau in found]
    range_ = [looks[names[plateau["entry"], plateau["steps"][-1]["unlabelled"]]].colour for plateau in found]
    return alt.Scale(domain=domain, range=range_)


def _scratch(labels: str, summary: Summary) -> list[alt.Chart]:
    """A dashed line at the score of training from scratch."""
    kinds = _kinds(summary)
    points = [
        p for p in summary["points"] if p["labels"] == labels and p["decides"] and kinds[p["row"]] == "supervised"
    ]
    if not points:
        return []
    found = pd.DataFrame([{"mean": point["mean"], "name": point["row"]} for point in points])
    base = alt.Chart(_chart.rounded(found)).encode(y=alt.Y("mean:Q"))
    tooltip = [alt.Tooltip("name:N", title="row"), alt.Tooltip("mean:Q", format=".1%")]
    return [base.mark_rule(stroke="var(--row-supervised)", strokeDash=[5, 4]).encode(tooltip=tooltip)]


def _kinds(summary: Summary) -> dict[str, str]:
    return {card["row"]: card["kind"] for card in summary["rows"]}


def _sentence(plateau: Found) -> str:
    steps = ", ".join(
        f"{step['mean']:.1%} on {100 * step['unlabelled']:g} % of the images" for step in plateau["steps"]
    )
    flat = {
        "flat": f"flat from {100 * (plateau['flat_from'] or 1):g} % on",
        "rising": "still rising at the end",
        "undecided": "whether it is flat is undecided",
    }
    return f"{plateau['entry']} with {_names.labels(plateau['labels'])}: {steps}; {flat[plateau['verdict']]}."
