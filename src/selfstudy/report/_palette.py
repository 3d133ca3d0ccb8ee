"""How each row of a study looks, the same in every figure. The colours themselves, light and dark, are in page.css."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from selfstudy.study._record import Kind, StudyRecord

NUM_COLOURS = 8  # --row-1 to --row-8 in page.css; further rows repeat them with another dash
NUM_CLASS_COLOURS = 10  # --class-1 to --class-10
DASHES = ("", "6 3", "2 2")
SHAPES: Mapping[str, str] = {  # of points, by Vega's names; the paths are for the key, within [-5, 5]
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "square": "M-3.6-3.6h7.2v7.2h-7.2z",
    "diamond": "M0-5L5 0L0 5L-5 0z",
    "triangle-up": "M0-4.6L4.6 4H-4.6z",
    "triangle-down": "M0 4.6L4.6-4H-4.6z",
    "triangle-right": "M4.6 0L-4 4.6V-4.6z",
    "triangle-left": "M-4.6 0L4 4.6V-4.6z",
    "cross": "M-1.7-4.6h3.4v2.9h2.9v3.4h-2.9v2.9h-3.4v-2.9h-2.9v-3.4h2.9z",
}


@dataclass(frozen=True)
class Style:
    """Colour, dash and point of one row."""

    row: str
    colour: str
    dash: str  # as SVG writes it; "" is a line without gaps
    shape: str

    @property
    def glyph(self) -> Markup:
        """A piece of its line with its point, for a key."""
        line = f'<line x1="0" x2="28" y1="7" y2="7" stroke-width="2" stroke-dasharray="{self.dash or "none"}"/>'
        point = f'<path d="{SHAPES[self.shape]}" transform="translate(14 7)" stroke="none" fill="{self.colour}"/>'
        return Markup(
            f'<svg viewBox="0 0 28 14" width="28" height="14" aria-hidden="true" stroke="{self.colour}">{line}{point}</svg>'
        )


def styles(record: StudyRecord) -> dict[str, Style]:
    """The style of every row, in the order of the study file; baselines are quiet, learned rows have hues."""
    order = {entry: place for place, entry in enumerate(record.entries)}
    rows = sorted([*record.rows, *record.rows_without_results], key=lambda row: order[row.entry])
    baselines: Mapping[Kind, tuple[str, str, str]] = {
        "majority": ("var(--row-majority)", "2 3", "cross"),
        "untrained": ("var(--row-untrained)", "6 3", "triangle-down"),
        "supervised": ("var(--row-supervised)", "", "square"),
    }
    shapes = [shape for shape in SHAPES if shape not in ("cross", "triangle-down", "square")]
    found: dict[str, Style] = {}
    first = {row.kind: row.name for row in reversed(rows)}  # a second supervised row is told from the first by a hue
    num_hues = 0
    for row in rows:
        if row.kind in baselines and first[row.kind] == row.name:
            found[row.name] = Style(row.name, *baselines[row.kind])
            continue
        dash = DASHES[num_hues // NUM_COLOURS % len(DASHES)]
        found[row.name] = Style(
            row.name, f"var(--row-{num_hues % NUM_COLOURS + 1})", dash, shapes[num_hues % len(shapes)]
        )
        num_hues += 1
    return found
