"""How far a score would move on other test images: the percentile bootstrap over groups.

Source  Efron, Tibshirani 1993, chapter 13. Groups (pages, products, persons) are drawn anew with replacement, whole,
        as many as there are; images of one group are no independent witnesses.
Exact   a resample is a weight for every picture, and a score of weighted pictures: the number scikit-learn gives for the
        pictures repeated so often. What it covers is the test images alone, neither seeds nor draws of labels.
T pictures tested, R resamples, K classes, A attributes.
"""

from dataclasses import dataclass

import numpy as np

from selfstudy.evaluation._attributes import undefined
from selfstudy.evaluation._metrics import Metric
from selfstudy.rng import Rng

NUM_RESAMPLES = 1000  # ends of a 95 % interval then vary by a few hundredths of its width
CONFIDENCE = 0.95
_AT_ONCE = 50  # resamples: 8 MB of weights for 20,000 pictures


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the score lies with `confidence`, as far as the choice of test images decides."""

    low: float
    high: float
    confidence: float = CONFIDENCE


def interval(metric: Metric, truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, rng: Rng) -> Interval:
    """The interval of one metric: `truth` int64 [T] or int8 [T, A], `probabilities` [T, K] or [T, A], `groups` str [T]."""
    _, group = np.unique(groups, return_inverse=True)
    number, random = int(group.max()) + 1, rng.numpy()
    found = []
    for start in range(0, NUM_RESAMPLES, _AT_ONCE):
        size = min(_AT_ONCE, NUM_RESAMPLES - start)
        drawn = random.multinomial(number, np.full(number, 1 / number), size=size)
        found.append(weighted(metric, truth, probabilities, drawn[:, group].astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(found), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def weighted(metric: Metric, truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Float64 [R]: the metric with picture t counted weights[r, t] times; nan where nothing of it is left."""
    if truth.ndim == 1:
        return _of_classes(metric, truth, probabilities.argmax(1), weights)
    columns = []
    for attribute in np.flatnonzero(~undefined(truth) if metric != "macro_accuracy" else (truth >= 0).any(0)):
        known = truth[:, attribute] >= 0
        columns.append(
            _of_attribute(metric, truth[known, attribute], probabilities[known, attribute], weights[:, known])
        )
    with np.errstate(invalid="ignore"):
        values = np.stack(columns)
        defined = ~np.isnan(values)
        return np.where(defined, values, 0).sum(0) / np.where(defined.any(0), defined.sum(0), np.nan)


def _of_classes(metric: Metric, truth: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    classes = np.arange(max(int(truth.max()), int(predictions.max())) + 1)
    right = (truth == predictions).astype(np.float64)
    if metric == "accuracy":
        return weights @ right / weights.sum(1)
    is_class = (truth[:, None] == classes).astype(np.float64)
    hits, actual = weights @ (is_class * right[:, None]), weights @ is_class
    called = weights @ (predictions[:, None] == classes).astype(np.float64)
    if metric == "balanced_accuracy":
        return _mean_where(hits, actual)
    return _mean_where(2 * hits, actual + called)


def _mean_where(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The mean over the columns of above / below, where below is not 0: classes that are there."""
    there = below > 0
    return np.divide(above, below, out=np.zeros_like(above), where=there).sum(1) / there.sum(1)


def _of_attribute(metric: Metric, truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Float64 [R] of one attribute with known marks only; nan in resamples that have one value of it."""
    having = truth == 1
    positives, negatives = weights[:, having].sum(1), weights[:, ~having].sum(1)
    called = probabilities > 0.5
    hits, right_no = weights[:, having & called].sum(1), weights[:, ~having & ~called].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "macro_accuracy":
            return (hits + right_no) / (positives + negatives)
        if metric == "balanced_accuracy":
            return (hits / positives + right_no / negatives) / 2
        if metric == "macro_f1":
            value = 2 * hits / (2 * hits + (positives - hits) + (negatives - right_no))
        else:
            value = _ranked(metric, having, probabilities, weights) / positives
            if metric == "macro_auc":
                value = value / negatives
    return np.where((positives > 0) & (negatives > 0), value, np.nan)


def _ranked(metric: Metric, having: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of falling probabilities: pairs in the right order (ties a half), or the sum of precision over those that have it."""
    order = np.argsort(-probabilities, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probabilities[order]) != 0, True))  # of equal probabilities the last
    sums = weights[:, order].cumsum(1)[:, ends]
    found = (weights * having)[:, order].cumsum(1)[:, ends]
    step = np.diff(found, axis=1, prepend=0.0)
    if metric == "macro_auc":
        missed = sums - found
        here = np.diff(missed, axis=1, prepend=0.0)
        return (step * (missed[:, -1:] - missed + here / 2)).sum(1)
    return (step * np.divide(found, sums, out=np.zeros_like(found), where=sums > 0)).sum(1)
