"""What all charts share: data without limits, colours of rows, and the look that fits the page in light and dark.

The colours are CSS custom properties. Charts are SVG inside the page, so one picture serves both schemes and print.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from selfstudy.report._palette import Style

VEGALITE = "6.4"  # what altair 6 writes; vl-convert ships several
PAGE_PIXELS, GAP_PIXELS = 980, 34  # of page.css: what panels side by side share, and what lies between them
INK, MUTED, RULE, PAPER, CARD, ACCENT, WRONG = (
    f"var(--{name})" for name in ("ink", "muted", "rule", "paper", "card", "accent", "wrong")
)

CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    "padding": {"left": 2, "top": 6, "right": 10, "bottom": 2},
    "view": {"stroke": None},
    "mark": {"aria": False},  # the panel carries the words; a thousand labelled dots would drown them
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "gridColor": RULE, "domainColor": RULE, "tickColor": RULE,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8, "labelPadding": 5,
        "aria": False,
    },
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": MUTED},
}  # fmt: skip

FOCUS = alt.param(name="focus", value="")  # the row the reader points at in the key; page.js sets it


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of a table cut to six digits, which no eye can tell from all, at half the size."""
    short = frame.copy()
    for name in frame.select_dtypes("float"):
        short[name] = [float(f"{value:.6g}") for value in frame[name]]
    return short


def row_colour(styles: Mapping[str, Style]) -> alt.Color:
    """Each row in its colour; the key is the page's."""
    return alt.Color("row:N", scale=_row_scale(styles, "colour"), legend=None)


def row_shape(styles: Mapping[str, Style]) -> alt.Shape:
    return alt.Shape("row:N", scale=_row_scale(styles, "shape"), legend=None)


def row_dash(styles: Mapping[str, Style]) -> alt.StrokeDash:
    dashes = [[float(part) for part in style.dash.split()] or [1, 0] for style in styles.values()]
    scale = alt.Scale(domain=list(styles), range=dashes)
    return alt.StrokeDash("row:N", scale=scale, legend=None)


def layered(layers: Sequence[alt.Chart], params: Sequence[alt.Parameter], height: int) -> alt.LayerChart:
    """One view of several layers, `height` pixels high."""
    return alt.LayerChart(layer=list(layers)).add_params(*params).properties(height=height)


def faded() -> Any:
    """Opacity: a row steps back while the reader points at another one."""
    return alt.condition("focus == '' || focus == datum.row", alt.value(1), alt.value(0.12))


def _row_scale(styles: Mapping[str, Style], name: str) -> alt.Scale:
    return alt.Scale(domain=list(styles), range=[getattr(style, name) for style in styles.values()])


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """The places of labels moved as little as keeps `gap` between neighbours; in the order given.

    Neighbours that are too close become a block around their mean, and blocks that touch one block.
    """
    blocks: list[list[int]] = []
    for number in sorted(range(len(places)), key=lambda number: places[number]):
        blocks.append([number])
        while len(blocks) > 1 and _start(blocks[-1], places, gap) < _start(blocks[-2], places, gap) + gap * len(
            blocks[-2]
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    found = dict[int, float]()
    for block in blocks:
        found |= {number: _start(block, places, gap) + gap * rank for rank, number in enumerate(block)}
    return [found[number] for number in range(len(places))]


def _start(block: Sequence[int], places: Sequence[float], gap: float) -> float:
    """Where the first label of a block stands."""
    return sum(places[number] for number in block) / len(block) - gap * (len(block) - 1) / 2


def spelled(values: Sequence[float], words: Sequence[str], otherwise: str = "datum.label") -> str:
    """A Vega expression that writes `words[i]` at an axis's tick `values[i]`."""
    found = f"indexof({json.dumps(list(values))}, datum.value)"
    return f"{found} < 0 ? {otherwise} : {json.dumps(list(words))}[{found}]"


def specification(chart: alt.Chart | alt.LayerChart) -> dict[str, Any]:
    """The Vega-Lite of a chart, as wide as its place on the page, with its tables under `datasets`."""
    with alt.data_transformers.enable("default", max_rows=None):
        found = chart.to_dict()
    found.pop("$schema", None)  # an address on the network, which nothing needs
    return {**found, "config": dict(CONFIG), "width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}


def still(found: Mapping[str, Any], columns: int) -> str:
    """The same chart as SVG, for one of `columns` panels: what is seen without scripts, and before they run."""
    width = (PAGE_PIXELS - (columns - 1) * GAP_PIXELS) // columns
    seen = [
        layer for layer in found.get("layer", []) if layer["mark"].get("opacity") != 0
    ]  # the rest is for pointing at
    return vl_convert.vegalite_to_svg(
        {**found, **({"layer": seen} if seen else {}), "width": width}, vl_version=VEGALITE
    )


def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that loads nothing."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGALITE)
