"""What a row looks at, whom it takes for alike, and where it is sure and wrong: whatever analyses were run on it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import altair as alt
import pandas as pd
from markupsafe import Markup

from selfstudy.explain import load, read_record, saved
from selfstudy.report import _chart
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._pictures import picture
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Summary

TITLES: Mapping[str, str] = {  # of the analyses, in the order to read them; others follow by their own names
    "neighbours": "Whom it takes for alike",
    "similarity": "Why it takes them for alike",
    "confused": "What it confuses most",
    "confident_mistakes": "Where it is sure and wrong",
    "saliency": "Which pixels it is sensitive to",
    "integrated_gradients": "Which pixels its answer came from",
    "occlusion": "What its answer needs to see",
    "grad_cam": "Where it looks",
    "border": "Whether it looks at the subject or at what surrounds it",
    "agreement": "Whether another encoder looks at the same",
    "sanity": "Whether these maps depend on what was learned",
    "deletion": "Whether these maps show what matters",
    "reconstructions": "What it drew",
    "jigsaws": "How it solved its jigsaws",
    "map": "How far the map below can be trusted",
}
DRAWN_ALREADY = ("map",)  # analyses whose pictures the page shows in a better way
CURVES: Mapping[str, tuple[str, str, tuple[int, int]]] = {  # columns of deletion.csv: what is done, colour, dash
    "deletion": ("deleting what matters most", _chart.WRONG, (1, 0)),
    "insertion": ("inserting it", _chart.ACCENT, (1, 0)),
    "random_deletion": ("deleting at random", _chart.WRONG, (4, 3)),
    "random_insertion": ("inserting at random", _chart.ACCENT, (4, 3)),
}
MOST_BYTES = 3_000_000  # of all pictures; the whole page may have 8 MiB


class Explanations(Figure):
    title = "What does it look at, and what does it take for what?"
    caption = (
        "Each picture is read as the words below it say. Maps show what mattered to this encoder, not what ought to matter. The tables "
        "behind them lie in the folder explain/ of the row's first run."
    )
    place = 68
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        found = [(row, folder, name) for row in record.rows for folder, name in _analyses(record, row)]
        records = [read_record(folder, name) for _, folder, name in found]
        count = sum(len(each["pictures"]) for each in records)
        panels = []
        for (row, folder, name), each in zip(found, records, strict=True):
            panels.append(
                Panel(
                    content=_content(folder, name, each, MOST_BYTES // max(1, count)),
                    heading=TITLES.get(name, name.replace("_", " ").capitalize()),
                    alternative=str(each["sentence"]),
                    row=row.name,
                )
            )
            panels += [_curves(load(folder, name).table, row.name)] if name == "deletion" and each["table"] else []
        return panels


def _analyses(record: StudyRecord, row: Row) -> Iterator[tuple[Path, str]]:
    """(folder, analysis) of what was found of the row, in the order of TITLES."""
    cells = [path.name for key, path in sorted(record.runs.items()) if key[:2] == (row.entry, row.unlabelled)]
    cells += record.table.loc[record.of(row), "cell"].unique().tolist()
    order = list(TITLES)
    for cell in cells:
        folder = record.folder / "cells" / cell / "explain"
        names = saved(folder)  # none where there is no such folder
        if names:
            places = {name: order.index(name) if name in order else len(order) for name in names}
            yield from ((folder, name) for name in sorted(names, key=lambda name: places[name]))
            return


def _curves(table: pd.DataFrame, row: str) -> Panel:
    """The score while ever more pixels go, or come: the further apart two lines of a colour, the more the map knows."""
    long = table.melt("share", list(CURVES), "curve", "score")
    long["what"] = long["curve"].map({name: words for name, (words, _, _) in CURVES.items()})
    domain, colours = [words for words, _, _ in CURVES.values()], [colour for _, colour, _ in CURVES.values()]
    dashes = [dash for _, _, dash in CURVES.values()]
    legend = alt.Legend(
        title=None,
        orient="top",
        columns=2,
        labelColor=_chart.INK,
        labelFontSize=12,
        symbolStrokeWidth=2,
        labelLimit=220,
        columnPadding=36,
    )
    chart = alt.Chart(_chart.rounded(long[["share", "score", "what"]])).mark_line(strokeWidth=1.75).encode(
        x=alt.X("share:Q", title="share of the pixels", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%", tickCount=5, grid=False)),
        y=alt.Y("score:Q", title="score", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
        color=alt.Color("what:N", scale=alt.Scale(domain=domain, range=colours), legend=legend),
        strokeDash=alt.StrokeDash("what:N", scale=alt.Scale(domain=domain, range=dashes), legend=legend),
        tooltip=[alt.Tooltip("what:N", title="line"), alt.Tooltip("share:Q", format=".0%"), alt.Tooltip("score:Q", format=".2f")],
    )  # fmt: skip
    half = table.iloc[(table["share"] - 0.5).abs().argmin()]
    ends = ", ".join(f"{half[name]:.2f} {words}" for name, (words, _, _) in CURVES.items())
    return Panel(
        content=_chart.layered([chart], [], height=220), heading="The score while pixels go and come",
        alternative=f"The score of {row} with half of the pixels: {ends}.", row=row,
    )  # fmt: skip


def _content(folder: Path, name: str, found: Mapping[str, object], most_bytes: int) -> Markup:
    """The sentence, and every picture with the words that say how to read it."""
    parts = [Markup("<p>{}</p>").format(found["sentence"])]
    pictures = found["pictures"]
    assert isinstance(pictures, list)
    for shown in [] if name in DRAWN_ALREADY else pictures:
        where = f"cells/{folder.parent.name}/explain/{shown['file']}"
        image = picture((folder / shown["file"]).read_bytes(), shown["alternative"], most_bytes, where)
        parts.append(Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(image, shown["caption"]))
    return Markup("\n").join(parts)
