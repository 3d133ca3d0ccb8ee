"""Whether the rows look at the same places, and whether that is more than two seeds of one row share."""

import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

MEASURES = ("rank", "ssim", "rmse")  # columns of agreement.csv, each with a floor_
NAMES = {"first": str, "second": str, "method": str}


class Attributions(Figure):
    title = "Do the rows look at the same places?"
    caption = (
        "Maps of the pixels that mattered, compared on the same images. Rank correlation: 1 where two maps put all pixels in the same "
        "order. SSIM: structural similarity, 1 for the same picture. RMSE: root mean squared difference, 0 for the same picture. In brackets the same "
        "between two seeds of the first row: two rows that share as much as two seeds do cannot be told apart by where they look. "
        "SSIM and RMSE flatter maps that are empty nearly everywhere."
    )
    place = 55

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        path = record.folder / "explain" / "agreement.csv"
        if not path.is_file():
            return []
        found = pd.read_csv(
            path, dtype=NAMES, keep_default_na=False, na_values={f"floor_{name}": [""] for name in MEASURES}
        )
        pairs = found[found["first"] != found["second"]].sort_values("rank", ascending=False, kind="stable")
        if pairs.empty:
            return []
        caption = f"How much the attributions of {len(pairs)} pairs of rows agree."
        headers = ["one", "the other", "maps", "rank correlation", "SSIM", "RMSE", "images"]
        lines = [_line(pair) for pair in pairs.to_dict("records")]
        content = Table(caption=caption, headers=headers, lines=lines, words=3, sortable=True)
        return [Panel(content=content, alternative=caption)]


def _line(pair: Mapping[Hashable, object]) -> list[Cell]:
    words = [(str(pair[name]), str(pair[name])) for name in ("first", "second")]
    method = str(pair["method"]).replace("_", " ")
    images = int(str(pair["num_images"]))
    return [*words, (method, method), *(_measure(pair, name) for name in MEASURES), (_names.count(images), images)]


def _measure(pair: Mapping[Hashable, object], name: str) -> Cell:
    value, floor = float(str(pair[name])), float(str(pair.get(f"floor_{name}", "nan")))
    if math.isnan(value):
        return NOT_KNOWN
    decimals = 3 if name == "rmse" else 2
    return f"{value:.{decimals}f}" + ("" if math.isnan(floor) else f" ({floor:.{decimals}f})"), value
