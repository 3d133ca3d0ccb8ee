"""The loss of every run while it trained, beside the loss of images it was not trained on."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._logs import training_logs
from selfstudy.report._palette import Style, styles
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

FALLS_TO = 0.1  # of its highest value: on an even scale the rest of such a curve would lie on the floor
LEAST_SPAN = 0.02  # of the loss: a curve that varies by less is drawn flat, instead of its rounding errors large


class Curves(Figure):
    title = "Did training run its course?"
    caption = (
        "Loss against images seen; one thin line per seed, on a logarithmic scale where it falls to a tenth or less. Dashed: the loss of images held out of training, where the method has one; a circle, where it was measured once. "
        "Losses of different methods measure different things, and a contrastive loss depends on how many images are held against "
        "each other, in training more than outside it: only the shape of a curve says anything. "
        "A loss that still falls at the end asks for more epochs; a held-out loss that rises asks for fewer."
    )
    place = 40
    columns = 2
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        logs = training_logs(record)
        if logs.empty:
            return []
        looks = styles(record)
        panels = []
        for row, log in logs.groupby("row", sort=False):
            losses = _long(log)
            if losses.empty:
                continue
            first, last = (losses.loc[losses["part"] == "training", "loss"].iloc[place] for place in (0, -1))
            panels.append(
                Panel(
                    content=_chart_of(losses, looks[str(row)]),
                    row=str(row),
                    alternative=f"The training loss of {row} {_course(first, last)}.",
                )
            )
        return panels


def _long(log: pd.DataFrame) -> pd.DataFrame:
    """One line per loss: images_seen, epoch, seed, part, loss."""
    parts = []
    for column, part in (("loss", "training"), ("validation_loss", "held out")):
        if column in log:
            values = log[["images_seen", "epoch", "seed"]].assign(loss=log[column], part=part)
            parts.append(values[values["loss"].notna()])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _course(first: float, last: float) -> str:
    return f"stayed at {first:.3g}" if f"{first:.3g}" == f"{last:.3g}" else f"went from {first:.3g} to {last:.3g}"


def _scale(losses: pd.Series) -> alt.Scale:
    """Logarithmic where a loss above zero falls far; else even, and never finer than what a loss can mean."""
    low, high = float(losses.min()), float(losses.max())
    if 0 < low <= FALLS_TO * high:
        return alt.Scale(type="log", nice=False, padding=4)
    least = LEAST_SPAN * max(abs(low), abs(high)) or LEAST_SPAN
    if high - low < least:
        middle = (low + high) / 2
        return alt.Scale(zero=False, nice=False, domain=[middle - least / 2, middle + least / 2])
    return alt.Scale(zero=False)


def _chart_of(losses: pd.DataFrame, look: Style) -> alt.LayerChart:
    base = alt.Chart(_chart.rounded(losses)).encode(
        x=alt.X("images_seen:Q", title="images seen", axis=alt.Axis(format="~s", grid=False, tickCount=4)),
        y=alt.Y("loss:Q", title=None, scale=_scale(losses["loss"]), axis=alt.Axis(tickCount=4, format="~r")),
        detail=["seed:N", "part:N"],
    )
    lines = base.mark_line(stroke=look.colour, strokeWidth=1.25).encode(
        strokeDash=alt.StrokeDash(
            "part:N", scale=alt.Scale(domain=["training", "held out"], range=[[1, 0], [5, 3]]), legend=None
        )
    )
    tooltip = [
        alt.Tooltip("part:N", title="images"),
        alt.Tooltip("loss:Q", format=".4~g"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("images_seen:Q", format=",", title="images seen"),
        alt.Tooltip("seed:Q"),
    ]
    touch = base.mark_point(size=90, opacity=0, filled=True).encode(tooltip=tooltip)  # a line of a pixel is hard to hit
    lone = losses[losses.groupby(["seed", "part"])["loss"].transform("size") == 1]
    layers = [lines, touch]
    if not lone.empty:
        layers.append(
            base.properties(data=_chart.rounded(lone)).mark_point(stroke=look.colour, size=50).encode(tooltip=tooltip)
        )
    return _chart.layered(layers, [], height=220)
