"""Evaluation: protocols that judge an encoder by labels, one per file, and the numbers they report."""

from selfstudy.evaluation._choice import choose, folds
from selfstudy.evaluation._features import features, standardise
from selfstudy.evaluation._metrics import METRICS, Metric, confusion_matrix, measure
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task

__all__ = [
    "METRICS",
    "Budget",
    "LinearMap",
    "Metric",
    "Protocol",
    "Task",
    "choose",
    "confusion_matrix",
    "features",
    "folds",
    "measure",
    "standardise",
]
