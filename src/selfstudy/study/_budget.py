"""Which rows are outside the study's budget of pretraining: by their time, or by a length of their own."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfstudy.study._findings import OutsideBudget
from selfstudy.study._record import Row, StudyRecord

# Machines vary by a fifth; a count is met but for a batch.
TOLERANCE = {"seconds": 0.2, "epochs": 0.01, "images_seen": 0.01}
LENGTHS = ("epochs", "images_seen")


def outside_budget(record: StudyRecord) -> list[OutsideBudget]:
    """Every pretrained row that had more or less than the budget, in the order of the study file."""
    budget = record.settings.get("budget", {})
    if not isinstance(budget, Mapping) or not budget:
        return []
    [(kind, asked)] = budget.items()
    found = []
    for row in record.rows:
        had = _had(record, row, kind) if row.kind == "learned" else None
        if had is not None and abs(had / asked - 1) > TOLERANCE[kind]:
            found.append(OutsideBudget(row=row.name, budget=kind, asked=float(asked), had=had))
    return found


def _had(record: StudyRecord, row: Row, kind: str) -> float | None:
    """Seconds, epochs of the whole set or images of a run of the row, the mean over its runs; None if that is the budget's."""
    cards = [card for card in record.trial_cards(row) if card["status"] == "done"]
    if kind == "seconds":
        return float(np.mean([float(str(card["seconds"])) for card in cards])) if cards else None
    own = _own_lengths(record, row)
    if kind in own:
        return own[kind]
    if not own or not cards:
        return None
    settings = cards[0].get("settings", {})
    assert isinstance(settings, Mapping)
    return float(settings[kind]) * (row.unlabelled if kind == "epochs" else 1.0)  # a fraction sees as many images


def _own_lengths(record: StudyRecord, row: Row) -> dict[str, float]:
    """What the study file says of the length of this row alone."""
    methods = record.settings.get("methods", [])
    assert isinstance(methods, list)
    for item in methods:
        [(method, values)] = item.items() if isinstance(item, Mapping) else [(item, {})]
        name = str((values or {}).get("as", Path(str(method)).stem))
        if row.entry in (name, f"{name} {record.backbone(row)}"):  # of several backbones each row is named by both
            return {key: float(value) for key, value in (values or {}).items() if key in LENGTHS}
    return {}
