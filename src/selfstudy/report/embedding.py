"""Where each encoder puts the test images, on a plane."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from selfstudy.report import _chart
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import NUM_CLASS_COLOURS
from selfstudy.study._record import Row, StudyRecord, read_json
from selfstudy.study._summary import Summary

MOST_DOTS = 6000  # on the page, so that a study of many rows stays small


class Embedding(Figure):
    title = "What does it see as alike?"
    caption = (
        "Each dot is a test image, each colour a class: close dots have similar features (t-SNE, a fixed seed; PCA below 40 images). "
        "No label was used to place them. A cross is an image that the row gets wrong with all its labels. Clusters and neighbours "
        "mean something; distances between far clusters, their sizes and the axes do not."
    )
    place = 70
    columns = 3

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        panels = []
        planes = [(row, found) for row in record.rows if (found := _plane(record, row)) is not None]
        for row, whole in planes:
            found = whole.iloc[:: -(-len(whole) * len(planes) // MOST_DOTS)]
            wrong = found["said"].notna() & (found["said"] != found["is"])
            panels.append(
                Panel(
                    content=_chart_of(found, record.classes),
                    heading=row.name,
                    alternative=f"A map of {len(found)} test images as {row.name} sees them; it gets {wrong.sum()} of them wrong.",
                )
            )
        return panels


def _plane(record: StudyRecord, row: Row) -> pd.DataFrame | None:
    """x, y, `is` (class), `said` (the class predicted, if known) of the row's first run; None if no map was made."""
    runs = sorted((key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled))
    path = next((run / "map.csv" for _, run in runs if (run / "map.csv").is_file()), None)
    if path is None:
        return None
    plane = pd.read_csv(path, dtype={"id": str})
    classes = pd.Series(record.classes)
    said = _predictions(record, row, seed=runs[0][0])
    found = pd.DataFrame(
        {"x": plane["x"], "y": plane["y"], "is": plane["label"].map(classes), "said": plane["id"].map(said)}
    )
    return found.assign(right=found["said"].isna() | (found["said"] == found["is"]))


def _predictions(record: StudyRecord, row: Row, seed: int) -> dict[str, str]:
    """Test image id to predicted class, with the most labels there are results for."""
    ids: Sequence[str] = read_json(record.folder / "splits.json")["test"]  # type: ignore[assignment]
    for labels in reversed(record.labels):
        scores = record.scores(row, record.protocol(row), labels)
        scores = scores[scores["seed"] == seed]
        if len(scores):
            predictions = record.predictions(str(scores["cell"].iloc[0]))
            return {name: record.classes[place] for name, place in zip(ids, predictions, strict=True)}
    return {}


def _chart_of(found: pd.DataFrame, classes: Sequence[str]) -> alt.LayerChart:
    colours = [f"var(--class-{place % NUM_CLASS_COLOURS + 1})" for place in range(len(classes))]
    colour = alt.Color("is:N", scale=alt.Scale(domain=list(classes), range=colours), legend=None)
    scale = alt.Scale(domain=[-1.06, 1.06], nice=False)
    x, y = alt.X("x:Q", scale=scale, axis=None), alt.Y("y:Q", scale=scale, axis=None)
    tooltip = [alt.Tooltip("is:N", title="is"), alt.Tooltip("said:N", title="was called")]
    base = alt.Chart(_chart.rounded(found)).encode(x=x, y=y, color=colour, tooltip=tooltip)
    right = base.transform_filter("datum.right").mark_point(filled=True, size=13, opacity=0.7)
    wrong = base.transform_filter("!datum.right").mark_point(
        shape="M-1-1L1 1M1-1L-1 1", size=26, strokeWidth=1.75, filled=False
    )
    layers: list[alt.Chart] = [right, wrong]
    if found["is"].nunique() <= 2 * NUM_CLASS_COLOURS:
        middle = found.groupby("is", sort=False)[["x", "y"]].median().reset_index()
        names = alt.Chart(_chart.rounded(middle)).encode(x=x, y=y, text="is:N")
        halo = names.mark_text(fontSize=13, fontWeight="bold", stroke=_chart.PAPER, strokeWidth=4, strokeJoin="round")
        layers += [halo, names.mark_text(fontSize=13, fontWeight="bold", color=_chart.INK)]
    return _chart.layered(layers, [], height=300)
