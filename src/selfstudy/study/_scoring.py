"""The metric that decides, of the answers of a cell, and how it varies over the test groups."""

from collections.abc import Callable

import numpy as np

from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import ATTRIBUTE_METRICS, METRICS
from selfstudy.rng import Rng
from selfstudy.study._deviations import (
    accuracy_deviations,
    auc_deviations,
    bootstrap_deviations,
    jackknife_blocks,
    jackknife_deviations,
    resample_weights,
)
from selfstudy.study._record import StudyRecord

RESAMPLED = ("macro_f1", "balanced_accuracy")

Score = Callable[[np.ndarray, np.ndarray], float]  # of the truth and the answers
Deviations = Callable[[str], np.ndarray]  # of a cell


def cell_deviations(record: StudyRecord, groups: np.ndarray, num_groups: int) -> Deviations:
    """How the deciding metric of a cell varies over the test groups."""
    metric, labels = record.metric, record.test_labels
    if metric == "accuracy" and not record.multi_label:
        return lambda cell: accuracy_deviations(record.predictions(cell), labels, groups)
    if metric in RESAMPLED and not record.multi_label:
        weights = resample_weights(num_groups, Rng.from_seed(0))
        return lambda cell: bootstrap_deviations(
            metric, record.predictions(cell), labels, groups, len(record.classes), weights
        )
    if metric == "macro_auc":
        return lambda cell: auc_deviations(labels, record.probabilities(cell), groups)
    score, blocks = deciding_score(record), jackknife_blocks(num_groups, Rng.from_seed(0))[groups]

    def deviations(cell: str) -> np.ndarray:
        answers = record.answers(cell)
        return jackknife_deviations(lambda kept: score(labels[kept], answers[kept]), blocks)

    return deviations


def deciding_score(record: StudyRecord) -> Score:
    """The deciding metric. Raises UserError if it is none of classes, or of attributes, as the images have."""
    known: dict[str, Score] = {str(name): score for name, score in METRICS.items()}
    if record.multi_label:
        known = dict(ATTRIBUTE_METRICS)
    if record.metric not in known:
        raise UserError(
            f'the study is judged by "{record.metric}", which cannot decide a verdict.{nearest(record.metric, known)}'
        )
    return known[record.metric]
