"""Evaluation: protocols that judge an encoder by labels, one per file, and the numbers they report."""

from selfstudy.evaluation._attributes import (
    ATTRIBUTE_METRICS,
    AttributeScores,
    attribute_report,
    measure_attributes,
    undefined,
)
from selfstudy.evaluation._bootstrap import Interval, interval
from selfstudy.evaluation._calibration import calibration_error
from selfstudy.evaluation._choice import NUM_FOLDS, choose, folds
from selfstudy.evaluation._features import encode, features, standardise
from selfstudy.evaluation._metrics import (
    METRICS,
    ByKind,
    ClassScores,
    Metric,
    classification_report,
    confusion_matrix,
    decide,
    measure,
    score,
)
from selfstudy.evaluation._pages import Pages
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task
from selfstudy.evaluation._trained import TrainingSettings

__all__ = [
    "ATTRIBUTE_METRICS", "METRICS", "NUM_FOLDS", "AttributeScores", "Budget", "ByKind", "ClassScores", "Interval", "LinearMap", "Metric",
    "Pages", "Protocol", "Task", "TrainingSettings", "attribute_report", "calibration_error", "choose", "classification_report",
    "confusion_matrix", "decide", "encode", "features", "folds", "interval", "measure", "measure_attributes", "score",
    "standardise", "undefined",
]  # fmt: skip
