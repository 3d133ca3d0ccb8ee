"""Which classes a row takes for which, with the most and with the fewest labels."""

import math
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Summary

MOST_CLASSES = 20  # a cell must stay large enough to point at; of more classes the most confused are shown
MOST_SQUARES = 10_000  # on the page, so that a study of many rows stays small
LEAST_SHARE = 0.0005  # smaller ones are 0.0 % and as pale as the page


class Confusion(Figure):
    title = "What does it mix up?"
    caption = (
        "Of the test {unit}s of each class (rows), the percentage that was given each name (columns): mean over draws and seeds. "
        "Right answers lie on the diagonal; the stronger the colour of a square elsewhere, the more often that mistake (by its square "
        "root, so rare mistakes are seen)."
    )
    place = 60
    columns = 2
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        if record.test_labels.ndim > 1:
            return []  # several attributes of one image are not taken for one another
        panels = []
        num_classes = min(MOST_CLASSES, math.isqrt(MOST_SQUARES // max(1, 2 * len(record.rows))))
        for row in record.rows:
            for labels in dict.fromkeys([*record.labels[-1:], *record.labels[:1]]):
                matrix = _matrix(record, row, labels)
                if matrix is None:
                    continue
                kept = _most_confused(matrix, num_classes)
                panels.append(
                    Panel(
                        content=_chart_of(matrix, kept, record.classes, record.unit),
                        heading=f"With {_names.labels(labels)}",
                        alternative=_sentence(matrix, record.classes, row.name, labels, len(kept)),
                        row=row.name,
                    )
                )
        return panels


def _matrix(record: StudyRecord, row: Row, labels: str) -> np.ndarray | None:
    """Float64 [classes, classes], rows sum to 1 (or 0 where nothing tested has the class); None without results."""
    cells = record.scores(row, record.protocol(row), labels)["cell"]
    if not len(cells):
        return None
    size = len(record.classes)
    counts = np.zeros((size, size))
    for cell in cells:
        counts += np.bincount(record.test_labels * size + record.predictions(cell), minlength=size * size).reshape(
            size, size
        )
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _most_confused(matrix: np.ndarray, count: int) -> np.ndarray:
    """The `count` classes to show, sorted: those with most mistakes, made or drawn in."""
    wrong = matrix * (1 - np.eye(len(matrix)))
    return np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:count])


def _chart_of(matrix: np.ndarray, kept: np.ndarray, classes: Sequence[str], unit: str) -> alt.LayerChart:
    names = [classes[place] for place in kept]
    values = [
        {"actual": classes[a], "given": classes[g], "share": round(float(matrix[a, g]), 4)}
        for a in kept
        for g in kept
        if matrix[a, g] >= LEAST_SHARE or a == g
    ]
    angle = 0 if max(map(len, names)) <= 3 else -45
    base = alt.Chart(_chart.rounded(pd.DataFrame(values))).encode(
        x=alt.X("given:N", scale=alt.Scale(domain=names), title="was called", axis=_axis(angle)),
        y=alt.Y("actual:N", scale=alt.Scale(domain=names), title="is", axis=_axis(0)),
        tooltip=[
            alt.Tooltip("actual:N", title="is"),
            alt.Tooltip("given:N", title="was called"),
            alt.Tooltip("share:Q", format=".1%", title=f"of its {unit}s"),
        ],
    )
    opacity = alt.Scale(type="sqrt", domain=[0, 1], range=[0.03, 1])
    squares = base.mark_rect(stroke=_chart.PAPER, strokeWidth=1).encode(
        fill=alt.condition("datum.actual == datum.given", alt.value(_chart.ACCENT), alt.value(_chart.WRONG)),
        fillOpacity=alt.FillOpacity("share:Q", scale=opacity, legend=None),
    )
    layers: list[alt.Chart] = [squares]
    if len(kept) <= 12:
        layers.append(
            base.transform_filter("datum.share >= 0.005")
            .transform_calculate(percent="format(100 * datum.share, '.0f')")
            .mark_text(fontSize=11)
            .encode(
                text="percent:N",
                color=alt.condition("datum.share > 0.35", alt.value(_chart.PAPER), alt.value(_chart.INK)),
            )
        )
    whole = _chart.layered(layers, [], height=max(200, min(420, 36 * len(kept))))
    return whole.properties(view=alt.ViewBackground(fill=_chart.CARD, stroke=None))


def _axis(angle: int) -> alt.Axis:
    return alt.Axis(grid=False, ticks=False, domain=False, labelLimit=90, labelColor=_chart.INK, labelAngle=angle)


def _sentence(matrix: np.ndarray, classes: Sequence[str], row: str, labels: str, shown: int) -> str:
    wrong = matrix * (1 - np.eye(len(matrix)))
    places = np.argsort(-wrong, axis=None)[:3]
    pairs = [np.unravel_index(place, wrong.shape) for place in places if wrong.flat[place] > 0]
    said = ", ".join(f"{classes[a]} called {classes[g]} ({matrix[a, g]:.1%})" for a, g in pairs) or "none"
    part = "" if shown == len(classes) else f" The {shown} most confused of {len(classes)} classes are shown."
    return f"{row} with {_names.labels(labels)}; its most frequent mistakes: {said}.{part}"
