"""Where a row's encoder puts the test images, on a plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from selfstudy.report import _chart, _thumbnails
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import NUM_CLASS_COLOURS
from selfstudy.report._phrases import count_text
from selfstudy.study._record import Row, StudyRecord, read_json
from selfstudy.study._summary import Summary

MOST_DOTS = 4000  # on the page, so that a study of many rows stays small
NO_CLASS = "no class"  # of an image without a label, or with several


class Embedding(Figure):
    title = "What does it see as alike?"
    caption = (
        "Each dot is an image that was tested, each colour a class: close dots have similar features (t-SNE, a fixed seed; PCA below 40 images). "
        "No label was used to place them. Point at a dot to see its image. A cross is an image that the row gets wrong with the "
        "most labels. Clusters and neighbours mean something; distances between far clusters, their sizes and the axes do not."
    )
    place = 70
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        panels = []
        planes = [(row, found) for row in record.rows if (found := _plane(record, row)) is not None]
        thumbnails = _thumbnails.places(record)
        for row, whole in planes:
            found = whole.iloc[:: -(-len(whole) * len(planes) // MOST_DOTS)]
            wrong = int((~found["right"]).sum())
            panels.append(
                Panel(
                    content=_chart_of(found, record.classes, thumbnails),
                    alternative=f"A map of {count_text(len(found), 'tested image')} as {row.name} sees them; it gets {wrong} of them wrong.",
                    row=row.name,
                )
            )
        return panels


def _plane(record: StudyRecord, row: Row) -> pd.DataFrame | None:
    """id, x, y, `is` (class), `said` (the class predicted, if known) of the row's first run; None if no map was made."""
    runs = sorted((key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled))
    path = next((run / "map.csv" for _, run in runs if (run / "map.csv").is_file()), None)
    if path is None:
        return None
    plane = pd.read_csv(path, dtype={"id": str})
    classes = pd.Series(record.classes)
    said = _predictions(record, row, seed=runs[0][0])
    found = plane[["id", "x", "y"]].assign(said=plane["id"].map(said))
    found["is"] = plane["label"].map(classes).fillna(NO_CLASS) if "label" in plane else NO_CLASS
    return found.assign(right=found["said"].isna() | (found["said"] == found["is"]))


def _predictions(record: StudyRecord, row: Row, seed: int) -> dict[str, str]:
    """Test image id to predicted class, with the most labels there are results for."""
    if record.test_labels.ndim > 1:
        return {}
    splits: Mapping[str, Any] = read_json(record.folder / "splits.json")
    ids = splits["test"]
    places = splits.get("test_pages") or range(len(ids))  # of a tile that of its page
    for labels in reversed(record.labels):
        scores = record.scores(row, record.protocol(row), labels)
        scores = scores[scores["seed"] == seed]
        if len(scores):
            predictions = record.predictions(str(scores["cell"].iloc[0]))
            return {name: record.classes[predictions[place]] for name, place in zip(ids, places, strict=True)}
    return {}


def _chart_of(found: pd.DataFrame, classes: Sequence[str], thumbnails: Mapping[str, int]) -> alt.LayerChart:
    colours = [f"var(--class-{place % NUM_CLASS_COLOURS + 1})" for place in range(len(classes))]
    scale = alt.Scale(domain=[*classes, NO_CLASS], range=[*colours, _chart.MUTED])
    colour = alt.Color("is:N", scale=scale, legend=None)
    plane = alt.Scale(domain=[-1.06, 1.06], nice=False)
    x, y = alt.X("x:Q", scale=plane, axis=None), alt.Y("y:Q", scale=plane, axis=None)
    tooltip = [alt.Tooltip("is:N", title="is"), alt.Tooltip("said:N", title="was called")]
    picture = found["id"].map(thumbnails)
    if picture.notna().any():
        found = found.assign(picture=picture.astype("Int64"))
        tooltip.append(alt.Tooltip("picture:Q", title="picture"))  # page.js shows the thumbnail of this number
    base = alt.Chart(_chart.rounded(found.drop(columns="id"))).encode(x=x, y=y, color=colour, tooltip=tooltip)
    right = base.transform_filter("datum.right").mark_point(filled=True, size=22, opacity=0.75)
    wrong = base.transform_filter("!datum.right").mark_point(
        shape="M-1-1L1 1M1-1L-1 1", size=34, strokeWidth=1.75, filled=False
    )
    layers: list[alt.Chart] = [right, wrong]
    if 1 < found["is"].nunique() <= 2 * NUM_CLASS_COLOURS:
        middle = found.groupby("is", sort=False)[["x", "y"]].median().reset_index()
        names = alt.Chart(_chart.rounded(middle)).encode(x=x, y=y, text="is:N")
        halo = names.mark_text(fontSize=13, fontWeight="bold", stroke=_chart.PAPER, strokeWidth=4, strokeJoin="round")
        layers += [halo, names.mark_text(fontSize=13, fontWeight="bold", color=_chart.INK)]
    return _chart.layered(layers, [], height=440)
