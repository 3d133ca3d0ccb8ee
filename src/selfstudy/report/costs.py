"""What each row cost: parameters, time, memory, disk."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._record import Row, StudyRecord, read_json
from selfstudy.study._summary import Cost, Summary

COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {  # of run.json
    "seconds": ("one training", _names.duration),
    "images_seen": ("images seen", _names.count),
    "images_per_second": ("images/s", _names.count),
    "trainable_parameters": ("trainable parameters", _names.count),
    "peak_memory_mb": ("peak memory, MB", _names.count),
    "checkpoint_mb": ("checkpoint, MB", "{:.1f}".format),
}


class Costs(Figure):
    title = "What did it cost?"
    caption = (
        "Means over the trainings of a row. A training is one pretraining or, for rows that train on the labels themselves, one "
        "training on one draw of labels. Scoring is all that was done to judge the row, at every label count. Where settings were "
        "searched, every trial counts."
    )
    place = 80

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        costs = {cost["row"]: cost for cost in summary["costs"]}
        lines = [_line(record, row, costs[row.name]) for row in record.rows]
        if not lines:
            return []
        headers = ["row", *(title for title, _ in COLUMNS.values()), "trainings", "scoring", "altogether"]
        total = _names.duration(sum(cost["seconds"] for cost in costs.values()))
        alternative = f"The cost of every row; {total} of computing altogether."
        names = ["row", *COLUMNS, "trainings", "scoring_seconds", "seconds_altogether"]
        content = Table(caption=alternative, headers=headers, lines=lines, words=1, sortable=True, csv_headers=names)
        return [Panel(content=content, alternative=alternative)]


def _line(record: StudyRecord, row: Row, cost: Cost) -> list[Cell]:
    trainings = _trainings(record, row)
    means = pd.DataFrame(trainings, columns=list(COLUMNS)).apply(pd.to_numeric).mean()
    return [
        (row.name, row.name),
        *(_cell(means[name], words) for name, (_, words) in COLUMNS.items()),
        _cell(len(trainings), _names.count),
        NOT_KNOWN if row.kind == "supervised" else _cell(cost["evaluation_seconds"], _names.duration),
        _cell(cost["seconds"], _names.duration),
    ]


def _trainings(record: StudyRecord, row: Row) -> list[Mapping[str, object]]:
    """What is known of each training of a row; none for rows that do not train."""
    if row.kind != "supervised":
        return [card for card in record.trial_cards(row) if card.get("steps")]
    found: list[Mapping[str, object]] = []
    for cell in record.table.loc[record.of(row) & record.table["value"].notna(), "cell"].unique():
        scores = read_json(record.folder / "cells" / cell / "scores.json")
        found.append({"seconds": scores["seconds"], **scores.get("costs", {})})  # type: ignore[dict-item]
    return found


def _cell(value: float, words: Callable[[float], str]) -> Cell:
    return NOT_KNOWN if pd.isna(value) else (words(value), float(value))
