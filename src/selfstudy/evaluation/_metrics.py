"""How predictions are scored, thin over scikit-learn. All are in [0, 1]; 1 is perfect.

A predictor that always names one class has an accuracy of that class's share, a balanced accuracy of 1 / K and a macro
F1 of at most 1 / K, for K classes in the truth.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor

Metric = Literal["accuracy", "macro_f1", "balanced_accuracy"]


def accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The share of right predictions; both int64 [T]."""
    return float(metrics.accuracy_score(truth, predictions))


def macro_f1(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of F1 over the classes that occur in the truth or in the predictions; both int64 [T].

    A class of the set that occurs in neither has no F1 and is left out, which is scikit-learn's default.
    """
    return float(metrics.f1_score(truth, predictions, average="macro", zero_division=0))


def balanced_accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The mean over the classes that occur in the truth of the share of their images found; both int64 [T].

    It is macro recall: scikit-learn's balanced_accuracy_score, less its warning about classes seen only in predictions.
    """
    return float(metrics.recall_score(truth, predictions, labels=np.unique(truth), average="macro", zero_division=0))


METRICS: Mapping[Metric, Callable[[np.ndarray, np.ndarray], float]] = MappingProxyType(
    {"accuracy": accuracy, "macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}
)


def measure(truth: Tensor, predictions: Tensor) -> dict[str, float]:
    """Every metric of predictions int64 [T] against the truth int64 [T], T > 0."""
    return {name: metric(truth.numpy(), predictions.numpy()) for name, metric in METRICS.items()}


def confusion_matrix(truth: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Int64 [K, K]: row i, column j counts the images of class i that were called j; absent classes have rows too."""
    counts = metrics.confusion_matrix(truth.numpy(), predictions.numpy(), labels=np.arange(num_classes))
    return torch.from_numpy(counts.astype(np.int64))
