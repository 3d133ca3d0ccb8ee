"""How predictions of classes are scored, thin over scikit-learn, and which metric decides. All are in [0, 1].

1 is perfect, but for `calibration_error`, where 0 is. A predictor that always names one class has an accuracy of that
class's share, a balanced accuracy of 1 / K and a macro F1 of at most 1 / K, for K classes in the truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from sklearn import metrics
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.evaluation._attributes import ATTRIBUTE_METRICS
from selfstudy.evaluation._calibration import calibration_error

Metric = Literal[
    "accuracy", "macro_f1", "balanced_accuracy", "macro_accuracy", "macro_auc", "mean_average_precision"
]  # fmt: skip
ByKind = Literal["by_kind"]  # accuracy of classes; of attributes macro_auc, which no threshold decides


def accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The share of right predictions; both int64 [T]."""
    return float(metrics.accuracy_score(truth, predictions))


def macro_f1(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of F1 over the classes that occur in the truth or in the predictions; both int64 [T].

    A class of the set that occurs in neither has no F1 and is left out, which is scikit-learn's default.
    """
    return float(metrics.f1_score(truth, predictions, average="macro", zero_division=0))


def weighted_f1(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of F1 over the classes, each weighted by its images in the truth; both int64 [T]."""
    return float(metrics.f1_score(truth, predictions, average="weighted", zero_division=0))


def balanced_accuracy(truth: np.ndarray, predictions: np.ndarray) -> float:
    """The mean over the classes that occur in the truth of the share of their images found; both int64 [T].

    It is macro recall: scikit-learn's balanced_accuracy_score, less its warning about classes seen only in predictions.
    """
    return float(metrics.recall_score(truth, predictions, labels=np.unique(truth), average="macro", zero_division=0))


METRICS: Mapping[Metric, Callable[[np.ndarray, np.ndarray], float]] = MappingProxyType(
    {"accuracy": accuracy, "macro_f1": macro_f1, "balanced_accuracy": balanced_accuracy}
)


def decide(metric: Metric | ByKind, *, multi_label: bool) -> Metric:
    """The metric that decides. Raises UserError for one of classes where there are attributes, and the other way round."""
    if metric == "by_kind":
        return "macro_auc" if multi_label else "accuracy"
    if metric in (ATTRIBUTE_METRICS if multi_label else METRICS):
        return metric
    kind, valid = ("attributes", ATTRIBUTE_METRICS) if multi_label else ("classes", METRICS)
    raise UserError(f"metric is {metric}, but the images have {kind}, which are scored by {', '.join(valid)}")


def score(metric: Metric, truth: np.ndarray, probabilities: np.ndarray) -> float:
    """One metric of class probabilities [T, K] against int64 [T], or of attributes [T, A] against int8 [T, A]."""
    if truth.ndim == 2:
        return ATTRIBUTE_METRICS[metric](truth, probabilities)
    return METRICS[metric](truth, probabilities.argmax(1))


def measure(truth: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Every metric of class probabilities, float [T, K], against the truth, int64 [T], T > 0."""
    actual, predictions = truth.numpy(), probabilities.argmax(1).numpy()
    confidence = probabilities.max(1).values.double().numpy()
    return {
        **{name: metric(actual, predictions) for name, metric in METRICS.items()},
        "weighted_f1": weighted_f1(actual, predictions),
        "calibration_error": calibration_error(predictions == actual, confidence),
    }


def confusion_matrix(truth: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    """Int64 [K, K]: row i, column j counts the images of class i that were called j; absent classes have rows too."""
    counts = metrics.confusion_matrix(truth.numpy(), predictions.numpy(), labels=np.arange(num_classes))
    return torch.from_numpy(counts.astype(np.int64))


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One line of a classification report, each number but the last in [0, 1]."""

    name: str  # of a class, or macro, micro, weighted: the mean over classes, over images, over classes by their images
    precision: float  # of the images that were called so, the share that are; 0 if none was called so
    recall: float  # of the images that are, the share that was called so; 0 if there are none
    f1: float
    images: int  # of the truth


def classification_report(truth: Tensor, predictions: Tensor, classes: Sequence[str]) -> list[ClassScores]:
    """Precision, recall and F1 of every class, and their averages; both tensors int64 [T].

    The macro average is over the classes in the truth or the predictions, as `macro_f1` is. The micro average of
    answers of one class each is the accuracy, three times.
    """
    actual, called = truth.numpy(), predictions.numpy()
    columns = metrics.precision_recall_fscore_support(actual, called, labels=np.arange(len(classes)), zero_division=0)
    lines = [
        ClassScores(name, float(precision), float(recall), float(f1), int(images))
        for name, precision, recall, f1, images in zip(classes, *columns, strict=True)
    ]
    for average in ("macro", "micro", "weighted"):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            actual, called, average=average, zero_division=0
        )
        lines.append(ClassScores(average, float(precision), float(recall), float(f1), len(actual)))
    return lines
