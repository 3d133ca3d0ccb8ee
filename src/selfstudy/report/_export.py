"""The figures as SVG and PNG and the tables as CSV and LaTeX, for a paper: on white, with a key of their own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import vl_convert

from selfstudy import files
from selfstudy.report import _chart
from selfstudy.report._names import anchors
from selfstudy.report._shown import Shown, ShownPanel

WIDTH_PIXELS = 560  # of a chart; two stand side by side on a page of A4
PNG_SCALE = 3  # 560 pixels at 8.5 cm are 167 to the inch; three times that is what journals ask for at least
ALONE = {"background": "white", "font": "sans-serif", "padding": {"left": 4, "top": 6, "right": 26, "bottom": 4}}
STYLE = Path(__file__).parent / "page.css"


def export(folder: Path, figures: Sequence[Shown], rows: Mapping[str, Sequence[Shown]]) -> list[Path]:
    """Write figures/NAME.svg and .png and tables/NAME.csv and .tex into a study folder; what was written.

    Those of a row are called ROW-NAME. A chart's scripts are not run: it is drawn as the page shows it at first.
    """
    written: list[Path] = []
    names = anchors(rows)
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "tables").mkdir(exist_ok=True)
    whole = [("", figures), *((f"{names[row]}-", found) for row, found in rows.items())]
    for prefix, found in whole:
        for figure in found:
            for name, panel in _named(figure):
                written += _write(folder, prefix + name, panel, [style.row for style in figure.key])
    return written


def _named(figure: Shown) -> Iterator[tuple[str, ShownPanel]]:
    """`accuracy`, or `accuracy-linear-probe` where it is one of several."""
    headings = anchors([panel.heading or figure.name for panel in figure.panels])
    for place, panel in enumerate(figure.panels):
        which = f"-{headings[panel.heading]}" if panel.heading else f"-{place + 1}" if place else ""
        yield figure.name + (which if len(figure.panels) > 1 else ""), panel


def _write(folder: Path, name: str, panel: ShownPanel, key: Sequence[str]) -> list[Path]:
    if panel.table is not None:
        contents = {"csv": panel.table.csv(), "tex": panel.table.latex()}
        paths = [folder / "tables" / f"{name}.{ending}" for ending in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            files.write_text(path, content)
        return paths
    if not panel.specification:
        return []  # pictures: views.png and the like are files in the study folder already
    svg = picture(panel.specification, [row for row in key if row in panel.rows])
    paths = [folder / "figures" / f"{name}.{ending}" for ending in ("svg", "png")]
    files.write_text(paths[0], svg)
    files.write_bytes(paths[1], vl_convert.svg_to_png(svg, scale=PNG_SCALE))
    return paths


def picture(specification: Mapping[str, Any], key: Sequence[str]) -> str:
    """A chart of the page as SVG that stands alone: colours in figures, white ground, the rows of `key` named."""
    found = deepcopy({name: value for name, value in specification.items() if name != "datasets"})
    found["datasets"] = specification["datasets"]
    found["layer"] = [layer for layer in found.get("layer", []) if layer["mark"].get("opacity") != 0]
    if key:
        _name_rows(found, key)
    found |= {"width": WIDTH_PIXELS, "config": {**found["config"], **ALONE}}
    svg = vl_convert.vegalite_to_svg(found, vl_version=_chart.VEGALITE)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", STYLE.read_text(encoding="utf-8").partition("@media")[0]))
    return re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match.group(1)], svg)


def _name_rows(node: Any, key: Sequence[str]) -> None:
    """Give the colours, shapes and dashes of the rows the one legend that the page's key stands for."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("color", "shape", "strokeDash") and isinstance(value, dict) and value.get("field") == "row":
                value["legend"] = {
                    "title": None,
                    "orient": "bottom",
                    "columns": 3,
                    "values": list(key),
                    "symbolOpacity": 1,
                }
            else:
                _name_rows(value, key)
    elif isinstance(node, list):
        for value in node:
            _name_rows(value, key)
