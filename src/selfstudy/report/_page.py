"""The page: answer first, then the figures, then all that is needed to doubt it and to repeat it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from selfstudy import catalog
from selfstudy.report import _chart, _facts
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

ROOM = Path(__file__).parent


@dataclass(frozen=True)
class Shown:
    """A figure as the template needs it."""

    name: str  # of its file, and its anchor on the page
    title: str
    caption: str
    columns: int
    key: Sequence[Style]
    panels: Sequence["ShownPanel"]


@dataclass(frozen=True)
class ShownPanel:
    heading: str
    alternative: str
    content: Markup  # the still picture of a chart, or HTML
    specification: Markup  # of a chart, as JSON that may stand in a script element; else empty
    rows: frozenset[str]  # of the study, drawn in the chart


def page(record: StudyRecord, summary: Summary, answer: Sequence[str]) -> str:
    """The whole report as HTML. Names of classes, rows and files are the user's, so all text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(ROOM), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tight"] = _tight
    return environment.get_template("page.html.j2").render(
        answer=answer,
        figures=list(figures(record, summary)),
        style=Markup((ROOM / "page.css").read_text(encoding="utf-8")),
        charts=Markup(_chart.script()),
        behaviour=Markup((ROOM / "page.js").read_text(encoding="utf-8")),
        summary=summary,
        facts=_facts.gather(record, summary),
    )


def figures(record: StudyRecord, summary: Summary) -> Iterator[Shown]:
    """All figures that have something to show, in their order."""
    looks = styles(record)
    members = {name: catalog.find("report", name, Figure) for name in catalog.names("report")}
    for name, member in sorted(members.items(), key=lambda item: item[1].place):
        panels = member().draw(record, summary)
        if not panels:
            continue
        rows = -(-len(panels) // member.columns)
        columns = -(-len(panels) // rows)  # four panels for three columns stand two by two
        shown = [_shown(panel, columns) for panel in panels]
        drawn = {row for panel in shown for row in panel.rows}
        key = [look for row, look in looks.items() if row in drawn] if member.keyed else []
        yield Shown(name, member.title, member.caption, columns, key, shown)


def _shown(panel: Panel, columns: int) -> ShownPanel:
    if isinstance(panel.content, Markup):
        return ShownPanel(panel.heading, panel.alternative, panel.content, Markup(""), frozenset())
    found = _chart.specification(panel.content)
    rows = frozenset(line["row"] for table in found["datasets"].values() for line in table if "row" in line)
    return ShownPanel(panel.heading, panel.alternative, Markup(_chart.still(found, columns)), _json(found), rows)


def _tight(sentence: str) -> str:
    """A number and its per cent sign stay on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _json(value: Mapping[str, Any]) -> Markup:
    """JSON in which no text can end the script element around it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
