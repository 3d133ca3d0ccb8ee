"""The page: answer first, then the figures, then every row, then all that is needed to doubt it and to repeat it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from selfstudy.report import _chart, _facts, _rows, _thumbnails
from selfstudy.report._first_screen import first_screen
from selfstudy.report._phrases import typeset
from selfstudy.report._shown import Shown
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

ROOM = Path(__file__).parent


def page(
    record: StudyRecord,
    summary: Summary,
    answer: Sequence[str],
    figures: Sequence[Shown],
    by_row: Mapping[str, Sequence[Shown]],
) -> str:
    """The whole report as HTML."""
    facts = _facts.gather(record, summary)
    return render(
        "page.html.j2",
        answer=answer,
        first=first_screen(summary),
        figures=figures,
        rows=_rows.parts(record, summary, by_row, facts.troubles, facts.collapsed),
        charts=Markup(_chart.script()),
        thumbnails=_thumbnails.sheet(record) if any(by_row.values()) else None,
        summary=summary,
        facts=facts,
    )


def render(template: str, **values: object) -> str:
    """A template of this folder. Names of classes, rows and files are the user's, so all text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(ROOM), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_finished,
    )  # fmt: skip
    environment.filters["coded"] = _coded
    environment.filters["verbatim"] = escape
    return environment.get_template(template).render(
        style=Markup((ROOM / "page.css").read_text(encoding="utf-8")),
        behaviour=Markup((ROOM / "page.js").read_text(encoding="utf-8")),
        **values,
    )


def _finished(value: object) -> object:
    """Whatever a template writes: text with numbers kept beside their units. Markup, which `verbatim` makes too, stays."""
    return typeset(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _coded(sentence: str) -> Markup:
    """What stands between backticks as code."""
    form = [Markup("{}"), Markup("<code>{}</code>")]
    parts = [part if place % 2 else typeset(part) for place, part in enumerate(sentence.split("`"))]
    return Markup("").join(form[place % 2].format(part) for place, part in enumerate(parts))
