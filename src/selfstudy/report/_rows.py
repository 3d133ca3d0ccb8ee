"""The part of the page that each row has to itself: what it is, its figures, its recipe, where its files lie."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from selfstudy.report import _names
from selfstudy.report._palette import Style, styles
from selfstudy.report._reading import PROTOCOLS
from selfstudy.report._recipe import recipe
from selfstudy.report._shown import Shown
from selfstudy.report._tuning import mark
from selfstudy.study._record import Kind, Row, StudyRecord
from selfstudy.study._summary import Summary

KINDS: Mapping[Kind, str] = {
    "majority": "A baseline: always answers with the class that has most labels.",
    "untrained": "A baseline: an encoder that was never trained.",
    "supervised": "A baseline: trained from scratch on the labels alone.",
    "learned": "Pretrained without labels.",
}

Setting = tuple[str, str, str]  # name, value, where it came from


@dataclass(frozen=True)
class RowPart:
    """Text and figures; the template gives them their place."""

    anchor: str
    style: Style
    headline: str  # its scores in a few words, beside its name
    about: str  # what kind of row it is, and how it was judged
    collapsed: str
    figures: Sequence[Shown]
    troubles: Sequence[tuple[str, str]]
    recipe: str
    settings: Sequence[Setting]
    folders: Sequence[tuple[str, str]]  # what, and where below the study folder


def parts(
    record: StudyRecord,
    summary: Summary,
    figures: Mapping[str, Sequence[Shown]],
    troubles: Iterable[tuple[str, str, str]],
    collapsed: Mapping[str, str],
) -> list[RowPart]:
    """One for every row of the study file, in its order; `troubles` are (entry, where, what)."""
    looks, found = styles(record), []
    cards = {key: record.run_card(path) for key, path in record.runs.items()}
    rows = {row.name: row for row in (*record.rows, *record.rows_without_results)}
    names = _names.anchors(looks)
    for name, look in looks.items():
        row = rows[name]
        found.append(
            RowPart(
                anchor=f"row-{names[name]}",
                style=look,
                headline=_headline(row, summary),
                about=_about(record, row, summary),
                collapsed=collapsed.get(name, ""),
                figures=figures.get(name, ()),
                troubles=[(where, what) for entry, where, what in troubles if entry == row.entry],
                recipe=recipe(record, row, cards),
                settings=_settings(cards, row),
                folders=_folders(record, row),
            )
        )
    return found


def _headline(row: Row, summary: Summary) -> str:
    points = {
        point["labels"]: point["mean"] for point in summary["points"] if point["row"] == row.name and point["decides"]
    }
    there = [labels for labels in summary["conditions"]["labels"] if labels in points]
    ends = dict.fromkeys([*there[:1], *there[-1:]])
    return ", ".join(f"{100 * points[labels]:.1f} % with {_names.labels(labels)}" for labels in ends) or "no scores yet"


def _about(record: StudyRecord, row: Row, summary: Summary) -> str:
    words = [KINDS[row.kind]]
    table = record.table[record.of(row)]
    encoders = [name for name in table["backbone"].unique() if name != "none"]
    if encoders:
        words.append(f"Encoder: {', '.join(encoders)}.")
    if row.kind == "learned" and len(record.settings.get("unlabelled", [1.0])) > 1:  # type: ignore[arg-type]
        words.append(f"It saw {100 * row.unlabelled:g} % of the images without labels.")
    words += mark(summary, row.name)
    if not table.empty:
        judged = PROTOCOLS.get(record.protocol(row), "")
        words.append(f"The scores here are its {_names.metric(summary['metric'])}{f' by {judged}' if judged else ''}.")
    return " ".join(words)


def _settings(cards: Mapping[tuple[str, float, int], Mapping[str, object]], row: Row) -> list[Setting]:
    """Of the row's first run, after defaults."""
    own = (
        sorted((key[2], card) for key, card in cards.items() if key[:2] == (row.entry, row.unlabelled)) if cards else []
    )
    if not own:
        return []
    settings, origins = own[0][1].get("settings", {}), own[0][1].get("origins", {})
    assert isinstance(settings, Mapping) and isinstance(origins, Mapping)
    return [(key, str(value), str(origins.get(key, ""))) for key, value in _flat(settings)]


def _flat(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Nested settings as `method.temperature`; the method's own are under `config` or `method`."""
    lines: list[tuple[str, object]] = []
    for key, value in settings.items():
        name = f"{prefix}{'method' if key == 'config' else key}"
        lines += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return lines


def _folders(record: StudyRecord, row: Row) -> list[tuple[str, str]]:
    """The row's pretraining runs; for a row without any, its trainings on most labels."""
    own = sorted((key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled))
    found = [(f"seed {seed}", f"cells/{path.name}") for seed, path in own]
    if found or row.kind == "majority":
        return found
    planned = [cell for cell in record.plan if cell["entry"] == row.entry and str(cell["labels"]) == record.labels[-1]]
    return [
        (f"{_names.labels(str(cell['labels']))}, seed {cell['seed']}", f"cells/{cell['hash']}")
        for cell in planned
        if (record.folder / "cells" / str(cell["hash"]) / "scores.json").is_file()
    ]
