"""Logistic regression on standardised features, with the penalty chosen inside the label budget: what every probe fits.

Classes: multinomial. Attributes: one regression each, on the labels that are known, all at the same penalty. n labels,
D width, K classes or A attributes.
"""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from selfstudy.evaluation._attributes import ATTRIBUTE_METRICS, undefined
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, NUM_FOLDS, ONE_CLASS, ONE_VALUE, choose
from selfstudy.evaluation._metrics import METRICS, ByKind, Metric, decide
from selfstudy.evaluation._protocol import LinearMap

FIXED_C = 1.0
_PATIENCE = 2  # values of C in a row that are worse than the best before the path ends


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How a probe is fitted and its penalty chosen."""

    metric: Metric | ByKind = "by_kind"  # decides the choice of C
    C: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    class_weight: Literal["none", "balanced", "choose"] = "none"  # balanced: rare classes count as much as common ones
    # Largest gradient of the mean loss: in cross-validation, and of the fit that predicts. 1e-4 in the former gave the
    # same accuracy within 0.1 point on MNIST features for 1.4 times the time; 1e-3 stops fits of large C too early.
    search_tolerance: Annotated[float, Field(gt=0)] = 3e-4
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    max_iterations: Annotated[int, Field(ge=1)] = 5000


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted map: logits = standardised features @ weight.T + bias, of the classes (or attributes) `known`."""

    weight: np.ndarray  # float64 [k, D]
    bias: np.ndarray  # float64 [k]; of an attribute that had one value only: without end, of that sign
    known: np.ndarray  # int64 [k]: the classes that had labels; every attribute
    num_classes: int
    multi_label: bool

    def probabilities(self, features: np.ndarray) -> Tensor:
        """Standardised features [N, D] to float64 [N, K]; 0 for a class that had no label."""
        with threadpool_limits(1, user_api="blas"):
            logits = features.astype(np.float64) @ self.weight.T + self.bias
        found = np.zeros((len(features), self.num_classes))
        found[:, self.known] = expit(logits) if self.multi_label else softmax(logits, axis=1)
        return torch.from_numpy(found)

    def linear_map(self, mean: Tensor, scale: Tensor) -> LinearMap:
        """The same of features as they come: the standardisation by `mean` and `scale`, [D] each, is folded in."""
        weight, bias = torch.from_numpy(self.weight), torch.from_numpy(self.bias)
        mean, scale = mean.double(), scale.double()
        full = LinearMap(torch.zeros(self.num_classes, weight.shape[1]), torch.full((self.num_classes,), -torch.inf))
        full.weight[self.known] = (weight / scale).float()
        full.bias[self.known] = (bias - weight @ (mean / scale)).float()
        return full


@dataclass(frozen=True, slots=True)
class Fitted:
    """A probe and how it was chosen."""

    probe: Probe
    chosen: dict[str, float | int | str]
    score: float | None  # of the choice, by cross-validation; None where nothing was chosen


def fit_probe(
    settings: ProbeSettings, features: np.ndarray, labels: np.ndarray, fold: np.ndarray | None, num_classes: int
) -> Fitted:
    """Fit standardised float32 [n, D] to int64 [n] classes or int8 [n, A] attributes.

    `fold` is the fold of each label, None where there are too few to choose by. Products this small gain nothing from
    a second BLAS thread, and on cores that are shared the threads wait for each other: a probe of 4,000 x 128 took 3 s
    on one and 240 s on two. So each fold has a thread of its own instead, as far as torch may have them, and waits for
    nobody; the result depends on no thread count.
    """
    num_fits = 0
    with threadpool_limits(1, user_api="blas"), _failures() as failures:
        if nothing_to_tell_apart(labels):
            return Fitted(_constant(features, labels, num_classes), {"chosen_by": _one_value(labels)}, None)
        if fold is None:
            weight = "none" if settings.class_weight == "choose" else settings.class_weight
            best = _Choice(FIXED_C, weight, None)
        else:
            best, num_fits = _choose(settings, features, labels, fold)
        # From zero and in float64, so that one line of scikit-learn repeats it.
        models = {"C": best.C, "class_weight": _weight(best.class_weight), "tol": settings.tolerance}
        probe, last = _fit(models | {"max_iter": settings.max_iterations}, features, labels, num_classes)
    chosen: dict[str, float | int | str] = {
        "C": best.C,
        "chosen_by": FIXED if fold is None else CROSS_VALIDATED,
        "converged": f"no: {len(failures)} of {num_fits + last} fits did not" if failures else "yes",
    }
    if best.score is not None:
        chosen["validation_score"] = best.score
    if settings.class_weight != "none":
        chosen["class_weight"] = best.class_weight
    if fold is not None and (lonely := _folds_of_one_class(labels, fold)):
        chosen["folds"] = f"without {lonely} of {NUM_FOLDS} folds all labels are of one class, which was named there"
    return Fitted(probe, chosen, best.score)


def nothing_to_tell_apart(labels: np.ndarray) -> bool:
    """Whether all labels are of one class, or every attribute has one value only."""
    return bool((labels == labels[0]).all()) if labels.ndim == 1 else bool(undefined(labels).all())


@dataclass(frozen=True, slots=True)
class _Choice:
    C: float
    class_weight: str
    score: float | None


def _choose(settings: ProbeSettings, features: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> tuple[_Choice, int]:
    """The C (and weights) whose fits on the other folds score best over all labels at once, and how many fits that took."""
    metric = decide(settings.metric, multi_label=labels.ndim == 2)
    rate: Callable[[np.ndarray, np.ndarray], float] = METRICS[metric] if labels.ndim == 1 else ATTRIBUTE_METRICS[metric]
    weights = ("none", "balanced") if settings.class_weight == "choose" else (settings.class_weight,)
    scores: dict[tuple[str, float], float] = {}
    num_fits = 0
    for weight in weights:
        path: list[float] = []
        for C, answers in _path(settings, features, labels, fold, weight):
            path.append(rate(labels, answers))
            scores[weight, C] = path[-1]
            num_fits += NUM_FOLDS * (1 if labels.ndim == 1 else labels.shape[1])
            if all(recent < max(path) for recent in path[-_PATIENCE:]):
                break
    best = choose(scores, scores.__getitem__)
    return _Choice(best[1], best[0], scores[best]), num_fits


def _path(
    settings: ProbeSettings, features: np.ndarray, labels: np.ndarray, fold: np.ndarray, weight: str
) -> Iterator[tuple[float, np.ndarray]]:
    """For rising C: what fits on the other folds say of every label. Each fit starts from the one before."""
    options = {"tol": settings.search_tolerance, "max_iter": settings.max_iterations, "class_weight": _weight(weight)}
    columns = labels[:, None] if labels.ndim == 1 else labels
    models = [
        [LogisticRegression(**options, warm_start=True) for _ in range(columns.shape[1])] for _ in range(NUM_FOLDS)
    ]

    def of_fold(number: int, C: float, answers: np.ndarray) -> None:
        held_out = fold == number
        for column, model in enumerate(models[number]):
            known = ~held_out & (columns[:, column] >= 0)
            targets = columns[known, column]
            if not len(targets) or (targets == targets[0]).all():  # what is rare may lie in one fold whole
                answers[held_out, column] = targets[0] if len(targets) else 0
                continue
            model.set_params(C=C).fit(features[known], targets)
            answers[held_out, column] = _answer(model, features[held_out], labels.ndim == 2)

    with ThreadPoolExecutor(min(NUM_FOLDS, torch.get_num_threads())) as threads:
        for C in sorted(settings.C):
            answers = np.empty(columns.shape, dtype=labels.dtype if labels.ndim == 1 else np.float64)
            list(
                threads.map(of_fold, range(NUM_FOLDS), repeat(C), repeat(answers))
            )  # a list, so that errors are raised
            yield C, answers[:, 0] if labels.ndim == 1 else answers


def _answer(model: LogisticRegression, features: np.ndarray, multi_label: bool) -> np.ndarray:
    """The classes, or the probabilities of having the attribute."""
    return expit(model.decision_function(features)) if multi_label else model.predict(features)


def _fit(options: dict[str, Any], features: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[Probe, int]:
    """The probe on all labels, and how many fits that took."""
    values = features.astype(np.float64)
    if labels.ndim == 1:
        model = LogisticRegression(**options).fit(values, labels)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:  # scikit-learn gives one logit
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return Probe(weight, bias, model.classes_, num_classes, False), 1
    probe, attributes = _constant(features, labels, num_classes), np.flatnonzero(~undefined(labels))
    for attribute in attributes:
        known = labels[:, attribute] >= 0
        model = LogisticRegression(**options).fit(values[known], labels[known, attribute])
        probe.weight[attribute], probe.bias[attribute] = model.coef_[0], model.intercept_[0]
    return probe, len(attributes)


def _constant(features: np.ndarray, labels: np.ndarray, num_classes: int) -> Probe:
    """What the labels say of every image alike: the one class, or of each attribute the one value (0.5 where unknown)."""
    if labels.ndim == 1:
        return Probe(np.zeros((1, features.shape[1])), np.zeros(1), labels[:1], num_classes, False)
    bias = np.where((labels == 1).any(0), np.inf, np.where((labels == 0).any(0), -np.inf, 0.0))
    return Probe(np.zeros((num_classes, features.shape[1])), bias, np.arange(num_classes), num_classes, True)


def _folds_of_one_class(labels: np.ndarray, fold: np.ndarray) -> int:
    """Without how many folds all labels left are of one class."""
    if labels.ndim == 2:
        return 0
    return sum(len(np.unique(labels[fold != number])) == 1 for number in range(NUM_FOLDS))


def _one_value(labels: np.ndarray) -> str:
    return ONE_CLASS if labels.ndim == 1 else ONE_VALUE


def _weight(name: str) -> str | None:
    """By scikit-learn's names: balanced weighs a class by n / (K n_class)."""
    return None if name == "none" else name


@contextmanager
def _failures() -> Iterator[list[str]]:
    """Fills, on leaving, with a line for every fit within that did not converge, which scikit-learn says by a warning only."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield found
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            found.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
