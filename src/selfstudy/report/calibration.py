"""Whether a row is right as often as it is sure."""

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from selfstudy.evaluation import calibration_error
from selfstudy.report import _answers, _chart, _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.report._table import Cell, Table, percent
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Summary

NUM_BINS = 10  # of equal width; a bin with fewer answers than LEAST_ANSWERS is not drawn
LEAST_ANSWERS = 10  # of all cells: the share of right ones among fewer is anything


class Calibration(Figure):
    title = "Is it right as often as it is sure?"
    caption = (
        "Answers with the most labels, grouped by how sure the row was of them, against the share that was right. On the diagonal, "
        "confidence can be taken at its word; below it, the row is too sure of itself. Larger dots hold more answers. The "
        "calibration error is how far, on average, confidence and truth lie apart, in points."
    )
    place = 32
    columns = 2
    keyed = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        bins: list[pd.DataFrame] = []
        errors: dict[str, float] = {}
        lines: list[list[Cell]] = []
        for row in record.rows:
            right, sure = _confidences(record, row)
            if len(right) and row.kind != "majority":
                bins.append(_binned(right, sure).assign(row=row.name))
                errors[row.name] = error = calibration_error(right, sure)
                lines.append(
                    [(row.name, row.name), percent(error), percent(float(sure.mean())), percent(float(right.mean()))]
                )
        if not bins:
            return []
        words = "; ".join(f"{name} {100 * error:.1f} points" for name, error in errors.items())
        words = f"Calibration errors, with {_names.labels(record.labels[-1])}: {words}."
        chart = _chart_of(pd.concat(bins, ignore_index=True), errors, styles(record))
        headers = ["row", "calibration error", "mean confidence, %", "right, %"]
        table = Table(
            caption=f"Calibration of {len(lines)} rows.", headers=headers, lines=lines, words=1, sortable=True
        )
        return [Panel(content=chart, alternative=words), Panel(content=table, alternative=table.caption)]


def _confidences(record: StudyRecord, row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Bool and float64 [M], over all cells: whether each answer is right, and how sure the row was of it."""
    _, scores = _answers.most_labelled(record, row)
    right, sure = [np.empty(0, dtype=bool)], [np.empty(0)]
    for cell in scores["cell"]:
        found = _answers.probabilities(record, cell)
        if found is None:
            continue
        if record.test_labels.ndim > 1:  # every known mark is an answer
            known = record.test_labels >= 0
            right.append(((found > 0.5) == (record.test_labels == 1))[known])
            sure.append(np.maximum(found, 1 - found)[known].astype(np.float64))
        else:
            right.append(found.argmax(1) == record.test_labels)
            sure.append(found.max(1).astype(np.float64))
    return np.concatenate(right), np.concatenate(sure)


def _binned(right: np.ndarray, sure: np.ndarray) -> pd.DataFrame:
    """One line per bin with enough answers: confidence and share of right answers, both means, and how many there are."""
    bins = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    found = pd.DataFrame({"bin": bins, "right": right.astype(float), "sure": sure}).groupby("bin")
    table = found.agg(confidence=("sure", "mean"), share=("right", "mean"), answers=("right", "size"))
    return table[table["answers"] >= LEAST_ANSWERS].reset_index(drop=True)


def _chart_of(bins: pd.DataFrame, errors: dict[str, float], looks: dict[str, Style]) -> alt.LayerChart:
    bins = bins.assign(error=bins["row"].map(errors))
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("confidence:Q", title="how sure", scale=scale, axis=alt.Axis(format="~%", tickCount=5, grid=False))
    y = alt.Y("share:Q", title="share that was right", scale=scale, axis=alt.Axis(format="~%", tickCount=5))
    ends = alt.Chart(pd.DataFrame({"confidence": [0.0, 1.0], "share": [0.0, 1.0]}))
    diagonal = ends.mark_line(stroke=_chart.MUTED, strokeDash=[2, 3], strokeWidth=1).encode(x=x, y=y)
    base = alt.Chart(_chart.rounded(bins)).encode(x=x, y=y, color=_chart.row_colour(looks), opacity=_chart.faded())
    dots = base.mark_point(filled=True).encode(
        shape=_chart.row_shape(looks),
        size=alt.Size("answers:Q", scale=alt.Scale(range=[24, 160]), legend=None),
        tooltip=[
            alt.Tooltip("row:N"), alt.Tooltip("confidence:Q", format=".1%", title="how sure"),
            alt.Tooltip("share:Q", format=".1%", title="right"), alt.Tooltip("answers:Q", format=","),
            alt.Tooltip("error:Q", format=".1%", title="calibration error"),
        ],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=1.5).encode(strokeDash=_chart.row_dash(looks))
    return _chart.layered([diagonal, lines, dots], [_chart.FOCUS], height=320)
