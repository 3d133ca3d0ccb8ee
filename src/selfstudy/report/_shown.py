"""What the figures of a study have to show, drawn once: the page and the files for a paper are made of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from selfstudy import catalog
from selfstudy.report import _chart
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._palette import Style, styles
from selfstudy.report._table import Table
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary


@dataclass(frozen=True)
class Shown:
    """A figure with something to show, or its part that is about one row."""

    name: str  # of its file
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
    specification: Mapping[str, Any]  # of a chart; else empty
    table: Table | None
    rows: frozenset[str]  # of the study, drawn in the chart

    @property
    def script(self) -> Markup:
        """The specification as JSON in which no text can end the script element around it."""
        text = json.dumps(self.specification, separators=(",", ":"), allow_nan=False)
        return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def draw(record: StudyRecord, summary: Summary) -> tuple[list[Shown], dict[str, list[Shown]]]:
    """The figures of the study, and by row those of its own part of the page; both in their order."""
    looks = styles(record)
    members = {name: catalog.find("report", name, Figure) for name in catalog.names("report")}
    study: list[Shown] = []
    rows: dict[str, list[Shown]] = {name: [] for name in looks}
    for name, member in sorted(members.items(), key=lambda item: item[1].place):
        panels = member().draw(record, summary)
        if not member.by_row:
            study += [_figure(name, member, panels, looks, record.unit)] if panels else []
            continue
        for row, found in rows.items():
            own = [panel for panel in panels if panel.row == row]
            found += [_figure(name, member, own, looks, record.unit)] if own else []
    return study, rows


def _figure(name: str, member: type[Figure], panels: Sequence[Panel], looks: Mapping[str, Style], unit: str) -> Shown:
    rows = -(-len(panels) // member.columns)
    columns = -(-len(panels) // rows)  # four panels for three columns stand two by two
    shown = [_panel(panel, columns) for panel in panels]
    drawn = {row for panel in shown for row in panel.rows}
    key = [look for row, look in looks.items() if row in drawn] if member.keyed else []
    return Shown(name, member.title, member.caption.format(unit=unit), columns, key, shown)


def _panel(panel: Panel, columns: int) -> ShownPanel:
    content = panel.content
    if isinstance(content, Table):
        return ShownPanel(panel.heading, panel.alternative, content.html(), {}, content, frozenset())
    if isinstance(content, Markup):
        return ShownPanel(panel.heading, panel.alternative, content, {}, None, frozenset())
    found = _chart.specification(content)
    rows = frozenset(line["row"] for table in found["datasets"].values() for line in table if "row" in line)
    return ShownPanel(panel.heading, panel.alternative, Markup(_chart.still(found, columns)), found, None, rows)
