"""The probabilities behind the predictions of a study's cells, where they were kept."""

import numpy as np
import pandas as pd
import safetensors

from selfstudy.study._record import Row, StudyRecord


def most_labelled(record: StudyRecord, row: Row) -> tuple[str, pd.DataFrame]:
    """The most labels a row has scores for by the protocol that decides for it, and those scores; "" for a row without any."""
    for labels in reversed(record.labels):
        scores = record.scores(row, record.protocol(row), labels)
        if len(scores):
            return labels, scores
    return "", record.table.iloc[:0]


def probabilities(record: StudyRecord, cell: str) -> np.ndarray | None:
    """Float32 [T, K] of the classes, or [T, A] of the attributes; None where the cell kept none."""
    path = record.folder / "cells" / cell / "predictions.safetensors"
    if not path.is_file():
        return None
    with safetensors.safe_open(path, framework="numpy") as tensors:
        return record.probabilities(cell) if "probabilities" in tensors.keys() else None  # noqa: SIM118  (no mapping)
