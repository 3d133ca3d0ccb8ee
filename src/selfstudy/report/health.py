"""Whether the embeddings stayed spread out and the gradients finite: the signs of a run that learns."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._logs import training_logs
from selfstudy.report._palette import Style, styles
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary
from selfstudy.training.health import COLLAPSED_BELOW

CURVES: Mapping[str, tuple[str, str]] = {  # column: heading, and what a low or high value means
    "std": ("Spread of the embeddings", "1 is even, 0 is a point; projections below the line count as collapsed"),
    "rank": ("Effective rank", "how many directions the embeddings use"),
    "gradient_norm": ("Norm of the gradient", "before clipping"),
}


class Health(Figure):
    title = "Was it healthy?"
    caption = (
        "Watched in every run. Spread and rank are those of the embeddings that the loss acts on, or of the features where a method "
        "has no projection; ranks compare runs of one method, not methods. One line per seed."
    )
    place = 50
    columns = 3
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        logs = training_logs(record)
        if logs.empty:
            return []
        looks = styles(record)
        logs = logs.assign(std=_watched(logs, "std"), rank=_watched(logs, "rank"))
        panels = []
        for column, (heading, meaning) in CURVES.items():
            found = logs[logs[column].notna()] if column in logs else logs.iloc[:0]
            if found.empty:
                continue
            last = found.groupby("row", sort=False)[column].last()
            ends = ", ".join(f"{row} {value:.3g}" for row, value in last.items())
            panels.append(
                Panel(
                    content=_chart_of(found[["images_seen", "epoch", "row", "seed", column]], column, meaning, looks),
                    heading=heading,
                    alternative=f"{heading} ({meaning}) at the end of training: {ends}.",
                )
            )
        return panels


def _watched(logs: pd.DataFrame, name: str) -> pd.Series:
    """Of the projections z where there are any, else of the features h: as the verdict on health reads them."""
    empty = pd.Series(float("nan"), index=logs.index)
    z, h = (logs.get(f"{part}_{name}", empty) for part in ("z", "h"))
    return z.astype(float).fillna(h.astype(float))


def _chart_of(found: pd.DataFrame, column: str, meaning: str, looks: dict[str, Style]) -> alt.LayerChart:
    base = alt.Chart(_chart.rounded(found)).encode(
        x=alt.X("images_seen:Q", title="images seen", axis=alt.Axis(format="~s", grid=False, tickCount=4)),
        y=alt.Y(f"{column}:Q", title=None, scale=alt.Scale(zero=column == "std"), axis=alt.Axis(tickCount=4)),
        detail=["row:N", "seed:N"],
    )
    lines = base.mark_line(strokeWidth=1.25).encode(color=_chart.row_colour(looks), opacity=_chart.faded())
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("seed:Q"),
        alt.Tooltip(f"{column}:Q", format=".3~g", title=meaning.partition(";")[0]),
        alt.Tooltip("epoch:Q"),
    ]
    touch = base.mark_point(size=90, opacity=0, filled=True).encode(tooltip=tooltip)  # a line of a pixel is hard to hit
    layers = [lines, touch]
    if column == "std":
        limit = alt.Chart(_chart.rounded(pd.DataFrame({"limit": [COLLAPSED_BELOW]})))
        layers.append(limit.mark_rule(stroke=_chart.MUTED, strokeDash=[2, 3]).encode(y=alt.Y("limit:Q")))
    return _chart.layered(layers, [_chart.FOCUS], height=190)
