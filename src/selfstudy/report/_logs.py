"""The training logs of a study, thinned to what a curve can show."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from selfstudy.study._record import Row, StudyRecord

MOST_POINTS = 120  # of one curve: on a phone a point for every third pixel
MOST_POINTS_OF_ALL = 2000  # of all curves, so that the page of a large study stays small


@lru_cache(maxsize=1)  # two figures draw them
def training_logs(record: StudyRecord) -> pd.DataFrame:
    """Logged steps of all runs: the columns of metrics.jsonl and `row`, `seed`.

    Pretraining runs, and for rows that train on labels their trainings on most labels.
    """
    logs = []
    for row in record.rows:
        runs = [(key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled)]
        for seed, path in runs or _labelled_runs(record, row):
            log = record.metrics(path)
            if not log.empty:
                logs.append(log.assign(row=row.name, seed=seed))
    most = min(MOST_POINTS, MOST_POINTS_OF_ALL // max(1, len(logs)))
    return pd.concat([_thinned(log, most) for log in logs], ignore_index=True) if logs else pd.DataFrame()


def _labelled_runs(record: StudyRecord, row: Row) -> list[tuple[int, Path]]:
    """(seed, folder) of the evaluations of a row that trained, on the most labels it was given."""
    for labels in reversed(record.labels):
        scores = record.scores(row, record.protocol(row), labels)
        if len(scores):
            return [
                (int(seed), record.folder / "cells" / cell)
                for seed, cell in zip(scores["seed"], scores["cell"], strict=True)
            ]
    return []


def _thinned(log: pd.DataFrame, most: int) -> pd.DataFrame:
    """About `most` steps, evenly spread, and as many of those with a validation loss, where it is measured rarely."""
    places = np.arange(len(log))
    measured = places[log["validation_loss"].notna()] if "validation_loss" in log else places[:0]
    return log.iloc[np.union1d(_spread(places, most), _spread(measured, most))]


def _spread(places: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the places, first and last among them."""
    return places[np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int))]
