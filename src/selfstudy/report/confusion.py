"""Which classes are taken for which, by any row, with the fewest and the most labels."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from selfstudy.report import _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Summary

MOST_CLASSES = 20  # a cell must stay large enough to point at; of more classes the most confused are shown


class Confusion(Figure):
    title = "What does it mix up?"
    caption = (
        "Of the test images of each class (rows), the percentage that was given each name (columns): mean over draws and seeds. "
        "Right answers lie on the diagonal; the stronger the colour of a square elsewhere, the more often that mistake (by its square "
        "root, so rare mistakes are seen). Choose a row for each picture."
    )
    place = 60
    columns = 2

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        panels = []
        for labels in dict.fromkeys([*record.labels[-1:], *record.labels[:1]]):
            matrices = {row.name: found for row in record.rows if (found := _matrix(record, row, labels)) is not None}
            if not matrices:
                continue
            first = _first(matrices, labels, summary)
            kept = _most_confused(matrices)
            panels.append(
                Panel(
                    content=_chart_of(matrices, kept, record.classes, first),
                    heading=f"With {_names.labels(labels)}",
                    alternative=_sentence(matrices[first], record.classes, first, labels, len(kept)),
                )
            )
        return panels


def _matrix(record: StudyRecord, row: Row, labels: str) -> np.ndarray | None:
    """Float64 [classes, classes], rows sum to 1 (or 0 where no test image has the class); None without results."""
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


def _first(matrices: dict[str, np.ndarray], labels: str, summary: Summary) -> str:
    """The row shown before anyone chooses: the best one."""
    best = [
        s["a"] for s in summary["statements"] if s["kind"] == "best" and s["labels"] == labels and s["a"] in matrices
    ]
    return best[0] if best else list(matrices)[-1]


def _most_confused(matrices: dict[str, np.ndarray]) -> np.ndarray:
    """The classes to show, sorted: those with most mistakes, made or drawn in, over all rows."""
    mean = np.mean(list(matrices.values()), axis=0)
    wrong = mean * (1 - np.eye(len(mean)))
    return np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")[:MOST_CLASSES])


def _chart_of(matrices: dict[str, np.ndarray], kept: np.ndarray, classes: Sequence[str], first: str) -> alt.LayerChart:
    names = [classes[place] for place in kept]
    values = [
        {"row": row, "actual": classes[a], "given": classes[g], "share": round(float(matrix[a, g]), 4)}
        for row, matrix in matrices.items()
        for a in kept
        for g in kept
    ]
    chosen = alt.param(name="chosen", value=first, bind=alt.binding_select(options=list(matrices), name="Row "))
    angle = 0 if max(map(len, names)) <= 3 else -45
    base = (
        alt.Chart(_chart.rounded(pd.DataFrame(values)))
        .transform_filter("datum.row == chosen")
        .encode(
            x=alt.X("given:N", sort=names, title="was called", axis=_axis(angle)),
            y=alt.Y("actual:N", sort=names, title="is", axis=_axis(0)),
            tooltip=[
                alt.Tooltip("actual:N", title="is"),
                alt.Tooltip("given:N", title="was called"),
                alt.Tooltip("share:Q", format=".1%", title="of its images"),
                alt.Tooltip("row:N"),
            ],
        )
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
    return _chart.layered(layers, [chosen], height=max(200, min(420, 36 * len(kept))))


def _axis(angle: int) -> alt.Axis:
    return alt.Axis(grid=False, ticks=False, domain=False, labelLimit=90, labelColor=_chart.INK, labelAngle=angle)


def _sentence(matrix: np.ndarray, classes: Sequence[str], row: str, labels: str, shown: int) -> str:
    wrong = matrix * (1 - np.eye(len(matrix)))
    places = np.argsort(-wrong, axis=None)[:3]
    pairs = [np.unravel_index(place, wrong.shape) for place in places if wrong.flat[place] > 0]
    said = ", ".join(f"{classes[a]} called {classes[g]} ({matrix[a, g]:.1%})" for a, g in pairs) or "none"
    part = "" if shown == len(classes) else f" The {shown} most confused of {len(classes)} classes are shown."
    return f"{row} with {_names.labels(labels)}; its most frequent mistakes: {said}.{part}"
