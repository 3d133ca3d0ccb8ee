"""What the verdicts of a study are conditional on, how its runs ended, and what they cost."""

from collections.abc import Mapping

import numpy as np

from selfstudy.study._budget import outside_budget
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study._summary import Conditions, Cost, RowCard


def conditions(record: StudyRecord) -> Conditions:
    """What every statement is conditional on."""
    data = record.settings.get("data", "")
    source = data.get("labelled", data) if isinstance(data, Mapping) else data
    if isinstance(source, Mapping):
        source = source.get("table", source.get("images", "the labelled images"))
    return Conditions(
        data=str(source),
        unit=record.unit,
        num_train=record.num_train,
        num_test_images=len(record.test_labels),
        num_test_groups=len(np.unique(record.test_groups)),
        classes=list(record.classes),
        image_size=int(str(record.settings["image_size"])),
        backbones=sorted(record.table.loc[record.table["method"] != "majority", "backbone"].unique().tolist()),
        protocols=list(record.protocols),
        labels=list(record.labels),
        num_folds=record.num_folds,
        transductive=bool(record.settings.get("transductive", False)),
        trials=record.num_trials,
        outside_budget=outside_budget(record),
    )


def _cards(record: StudyRecord, row: Row) -> list[Mapping[str, object]]:
    """The run.json of the pretraining that stands for a row, seed by seed."""
    return [
        record.run_card(path)
        for (entry, unlabelled, _), path in record.runs.items()
        if (entry, unlabelled) == (row.entry, row.unlabelled)
    ]


def row_cards(record: StudyRecord) -> list[RowCard]:
    """Every row that the study asks for, those without results last."""
    rows = record.rows
    found = []
    for row in (*rows, *record.rows_without_results):
        statuses = [card["status"] for card in _cards(record, row)]
        found.append(
            RowCard(
                row=row.name,
                kind=row.kind,
                protocol=record.protocol(row) if row in rows else None,
                num_runs=len(statuses),
                num_collapsed=statuses.count("collapsed"),
                num_failed=statuses.count("failed"),
            )
        )
    return found


def costs(record: StudyRecord) -> list[Cost]:
    """What every row with results took, all trials of its settings with it."""
    found = []
    for row in record.rows:
        cards = record.trial_cards(row)
        pretraining = [float(str(card["seconds"])) for card in cards if card["status"] in ("done", "collapsed")]
        cells = record.table[record.of(row)].drop_duplicates("cell")
        evaluation = float(cells["seconds"].sum())
        found.append(
            Cost(
                row=row.name,
                pretraining_seconds=sum(pretraining, 0.0),
                num_runs=len(pretraining),
                evaluation_seconds=evaluation,
                num_evaluations=len(cells),
                seconds=sum(pretraining) + evaluation,
            )
        )
    return found
