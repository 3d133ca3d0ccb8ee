"""How probabilities of attributes are scored: every picture has any number of them, and some marks are unknown.

Names   in full, since others call different numbers alike: macro is the mean over attributes, micro is over all known
        cells at once. With every mark known macro and micro accuracy are the same number.
Truth   int8 [T, A]: 1 has it, 0 has it not, -1 unknown, which counts nowhere. A probability above 0.5 says it has.
Undefined  An attribute with one value only in the truth has no ROC curve, no precision, no balanced accuracy: it is left
        out of those means and counted. Macro and micro accuracy need no second value.
Chance  The majority of every attribute has an accuracy of about 0.8 on CelebA; a constant has a balanced accuracy and an
        area under the ROC curve of 0.5, and an average precision of the attribute's share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from sklearn import metrics

from selfstudy.errors import UserError
from selfstudy.evaluation._calibration import calibration_error

Columns = Callable[[np.ndarray, np.ndarray], float]  # truth and probabilities of one attribute, its known marks only


def undefined(truth: np.ndarray) -> np.ndarray:
    """Bool [A]: which attributes have fewer than two values among the known marks."""
    return np.logical_not((truth == 1).any(0) & (truth == 0).any(0))


def require_defined(truth: np.ndarray, name: str) -> None:
    """Raises UserError if no attribute has both values, so that nothing can be measured."""
    if undefined(truth).all():
        raise UserError(
            f"each of the {truth.shape[1]} attributes of {name} has one value only in the test part, so that neither the "
            "area under the ROC curve nor balanced accuracy is defined: test on more images"
        )


def _recall_of_both(truth: np.ndarray, probabilities: np.ndarray) -> float:
    called = probabilities > 0.5
    return float((called[truth == 1].mean() + (~called[truth == 0]).mean()) / 2)


def _f1(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(metrics.f1_score(truth, probabilities > 0.5, zero_division=0))


def _accuracy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(((probabilities > 0.5) == (truth == 1)).mean())


def _auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(metrics.roc_auc_score(truth, probabilities))


def _average_precision(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(metrics.average_precision_score(truth, probabilities))


def _mean(column: Columns, truth: np.ndarray, probabilities: np.ndarray, keep: np.ndarray) -> float:
    """Over the attributes `keep`, bool [A], of which there is at least one."""
    values = []
    for attribute in np.flatnonzero(keep):
        known = truth[:, attribute] >= 0
        values.append(column(truth[known, attribute], probabilities[known, attribute]))
    return float(np.mean(values))


def macro_accuracy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the attributes of the share of right answers."""
    return _mean(_accuracy, truth, probabilities, np.any(truth >= 0, axis=0))


def balanced_accuracy(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the attributes of the mean of two shares: of those that have it found, of those that have not."""
    return _mean(_recall_of_both, truth, probabilities, ~undefined(truth))


def macro_f1(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the attributes of the F1 of having it."""
    return _mean(_f1, truth, probabilities, ~undefined(truth))


def macro_auc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the attributes of the area under the ROC curve: how often one that has it ranks above one that has not."""
    return _mean(_auc, truth, probabilities, ~undefined(truth))


def mean_average_precision(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the attributes of average precision, without interpolation."""
    return _mean(_average_precision, truth, probabilities, ~undefined(truth))


# Those that may decide a choice. All are float(truth int8 [T, A], probabilities float [T, A]).
ATTRIBUTE_METRICS: Mapping[str, Columns] = MappingProxyType(
    {
        "macro_auc": macro_auc,
        "macro_accuracy": macro_accuracy,
        "balanced_accuracy": balanced_accuracy,
        "macro_f1": macro_f1,
        "mean_average_precision": mean_average_precision,
    }
)


def exact_match(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The share of pictures of which every known mark is right."""
    return float((((probabilities > 0.5) == (truth == 1)) | (truth < 0)).all(1).mean())


def measure_attributes(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every metric. At least one attribute has both values, see `require_defined`."""
    known = truth >= 0
    cells, answers = truth[known], probabilities[known]
    return {
        **{name: metric(truth, probabilities) for name, metric in ATTRIBUTE_METRICS.items()},
        "micro_accuracy": _accuracy(cells, answers),
        "micro_f1": _f1(cells, answers),
        "micro_auc": _auc(cells, answers),
        "micro_average_precision": _average_precision(cells, answers),
        "exact_match": exact_match(truth, probabilities),
        "calibration_error": calibration_error(cells == 1, answers),
    }


@dataclass(frozen=True, slots=True)
class AttributeScores:
    """One line of the report on attributes, in [0, 1]; nan where the attribute has one value only."""

    name: str
    accuracy: float
    balanced_accuracy: float
    f1: float
    auc: float
    average_precision: float
    having: int  # pictures that have it
    known: int  # pictures whose mark is known


def attribute_report(truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> list[AttributeScores]:
    """Every attribute's own numbers."""
    lines = []
    for number, (name, missing) in enumerate(zip(names, undefined(truth), strict=True)):
        known = truth[:, number] >= 0
        marks, answers = truth[known, number], probabilities[known, number]
        lines.append(
            AttributeScores(
                name,
                accuracy=_accuracy(marks, answers) if known.any() else float("nan"),
                balanced_accuracy=float("nan") if missing else _recall_of_both(marks, answers),
                f1=float("nan") if missing else _f1(marks, answers),
                auc=float("nan") if missing else _auc(marks, answers),
                average_precision=float("nan") if missing else _average_precision(marks, answers),
                having=int((marks == 1).sum()),
                known=int(known.sum()),
            )
        )
    return lines
