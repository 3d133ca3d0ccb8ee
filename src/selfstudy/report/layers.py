"""How much a classifier reads from each layer of an encoder, where the protocol `layers` was asked for."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.report._table import NOT_KNOWN, Cell, Table, percent
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Summary

PROTOCOL = "layers"

Scores = Mapping[str, float]  # by layer, the one next to the image first


class Layers(Figure):
    title = "In which layer does it lie?"
    caption = (
        "A linear probe on one layer at a time, from the image to the features, with the most labels there are scores for; means over "
        "draws and seeds. A score that falls towards the end says that the last layers serve the pretext task and no longer the classes: "
        "take an earlier one."
    )
    place = 28
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        looks = styles(record)
        found: dict[tuple[str, ...], dict[str, Scores]] = {}  # rows whose encoders have the same layers stand together
        for row in record.rows:
            if scores := _scores(record, row):
                found.setdefault(tuple(scores), {})[row.name] = scores
        panels = []
        for layers, rows in found.items():
            metric = _names.metric(record.metric)
            alternative = (
                f"Mean {metric} by layer: {'; '.join(_sentence(name, scores) for name, scores in rows.items())}."
            )
            caption = f"Mean {metric} of {len(rows)} rows in per cent, from each of {len(layers)} layers."
            lines: list[list[Cell]] = [
                [(name, name), *map(percent, scores.values()), _best(scores)] for name, scores in rows.items()
            ]
            headers = ["row", *layers, "best layer"]
            panels += [
                Panel(content=_chart_of(rows, layers, looks, metric), alternative=alternative),
                Panel(
                    content=Table(caption=caption, headers=headers, lines=lines, words=1, sortable=True),
                    alternative=caption,
                ),
            ]
        return panels


def _scores(record: StudyRecord, row: Row) -> Scores:
    """The mean over the cells of a row; empty where the protocol was not asked for, or kept no layers."""
    for labels in reversed(record.labels):
        cells = record.scores(row, PROTOCOL, labels)["cell"]
        parts = [record.evaluation(cell).get("details", {}).get("layers", {}) for cell in cells]
        parts = [part for part in parts if part]
        if parts:
            return {name: float(np.mean([part[name]["metrics"][record.metric] for part in parts])) for name in parts[0]}
    return {}


def _best(scores: Scores) -> Cell:
    if not scores:
        return NOT_KNOWN
    name = max(scores, key=lambda layer: scores[layer])
    return name, list(scores).index(name)


def _sentence(name: str, scores: Scores) -> str:
    return f"{name} " + ", ".join(f"{score:.1%} from {layer}" for layer, score in scores.items())


def _chart_of(
    rows: Mapping[str, Scores], layers: Sequence[str], looks: Mapping[str, Style], metric: str
) -> alt.LayerChart:
    table = pd.DataFrame([
        {"row": name, "layer": layer, "score": score} for name, scores in rows.items() for layer, score in scores.items()
    ])  # fmt: skip
    x = alt.X(
        "layer:N", scale=alt.Scale(domain=list(layers)), title="layer, from the image to the features",
        axis=alt.Axis(grid=False, labelAngle=0 if len(layers) <= 6 else -45),
    )  # fmt: skip
    y = alt.Y(
        "score:Q",
        title=metric,
        scale=alt.Scale(zero=False, nice=False, padding=8),
        axis=alt.Axis(format="~%", tickCount=5),
    )
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("layer:N"), alt.Tooltip("score:Q", format=".1%", title=metric)]
    colour, opacity = _chart.row_colour(looks), _chart.faded()
    base = alt.Chart(_chart.rounded(table)).encode(x=x, y=y, color=colour, opacity=opacity)
    lines = base.mark_line(strokeWidth=1.75).encode(strokeDash=_chart.row_dash(looks))
    dots = base.mark_point(filled=True, size=56).encode(shape=_chart.row_shape(looks), tooltip=tooltip)
    return _chart.layered([lines, dots], [_chart.FOCUS], height=320)
