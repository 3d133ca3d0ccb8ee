"""The training logs of a study, thinned to what a curve can show."""

from pathlib import Path

import numpy as np
import pandas as pd

from selfstudy.study._record import Row, StudyRecord

MOST_POINTS = 240  # of one curve: more than a phone has pixels for it, and the page stays small


def training_logs(record: StudyRecord) -> pd.DataFrame:
    """Logged steps of all runs: the columns of metrics.jsonl and `row`, `line` (one curve's name), `seed`.

    Pretraining runs, and for rows that train on labels their trainings on most labels.
    """
    parts = []
    for row in record.rows:
        runs = [(key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled)]
        for seed, path in runs or _labelled_runs(record, row):
            log = record.metrics(path)
            if not log.empty:
                parts.append(_thinned(log).assign(row=row.name, seed=seed, line=f"{row.name}, seed {seed}"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _labelled_runs(record: StudyRecord, row: Row) -> list[tuple[int, Path]]:
    """(seed, folder) of the evaluations of a row that trained, on the most labels it was given."""
    for labels in reversed(record.labels):
        scores = record.scores(row, record.protocol(row), labels)
        if len(scores):
            return [(int(seed), record.folder / "cells" / cell) for seed, cell in zip(scores["seed"], scores["cell"], strict=True)]
    return []


def _thinned(log: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS steps, evenly; the steps with a validation loss stay, being few."""
    keep = np.zeros(len(log), dtype=bool)
    keep[np.unique(np.linspace(0, len(log) - 1, MOST_POINTS).round().astype(int))] = True
    if "validation_loss" in log:
        keep |= log["validation_loss"].notna().to_numpy()
    return log[keep]
