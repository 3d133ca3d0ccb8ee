"""How the score of a cell varies with the test groups, as a vector: the inner product of two cells' is their covariance.

Accuracy has a closed form, and so has the area under the ROC curve (DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988).
Macro F1 and balanced accuracy of classes resample the groups from counts. Every other metric is computed again without
each of NUM_BLOCKS blocks of groups: the delete-a-group jackknife (Kott, Journal of Official Statistics 17, 2001), whose
error of a standard error is 1 / sqrt(2 (NUM_BLOCKS - 1)), or 10 %.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from selfstudy.rng import Rng

NUM_RESAMPLES = 1000  # of the test groups, for metrics without a closed form; the error of a standard error is then 2 %
NUM_BLOCKS = 50


def accuracy_deviations(predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Float64 [G] whose inner products are the covariances of accuracies over test groups, in closed form.

    `predictions` int64 [T], `labels` int64 [T], `groups` int64 [T] in 0 .. G - 1.
    """
    right = (predictions == labels).astype(np.float64)
    sums = np.bincount(groups, weights=right - right.mean())
    return sums / len(right) * np.sqrt(len(sums) / max(1, len(sums) - 1))


def resample_weights(num_groups: int, rng: Rng) -> np.ndarray:
    """How often each test group is in each resample, float32 [NUM_RESAMPLES, G]."""
    share = np.full(num_groups, 1 / num_groups)
    return rng.fork("test groups").numpy().multinomial(num_groups, share, NUM_RESAMPLES).astype(np.float32)


def bootstrap_deviations(
    metric: str, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray, num_classes: int, weights: np.ndarray
) -> np.ndarray:
    """Float64 [NUM_RESAMPLES]: as `accuracy_deviations`, for macro_f1 and balanced_accuracy, by resampling groups."""
    num_groups = weights.shape[1]
    counts = np.stack(
        [
            np.bincount(groups * num_classes + classes, weights=kept, minlength=num_groups * num_classes).reshape(
                num_groups, num_classes
            )
            for classes, kept in (
                (labels, predictions == labels),
                (labels, np.ones(len(labels))),
                (predictions, np.ones(len(labels))),
            )
        ]
    )  # fmt: skip  [3, G, classes]: hits, actual, predicted
    hits, actual, predicted = np.einsum("rg,cgk->crk", weights, counts.astype(np.float32), optimize=True).astype(
        np.float64
    )
    with np.errstate(invalid="ignore"):  # a class that a resample lacks has no score there
        per_class = hits / actual if metric == "balanced_accuracy" else 2 * hits / (actual + predicted)
    scores = np.nanmean(per_class, axis=1)
    return (scores - scores.mean()) / np.sqrt(len(scores) - 1)


def auc_deviations(truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Float64 [G]: as `accuracy_deviations`, for the mean of the areas under the ROC curves of attributes.

    `truth` int8 [T, A]: 1 has it, 0 not, -1 unknown; `probabilities` float [T, A]. An attribute of which the known marks
    have one value only has no curve, and no part in the mean.
    """
    num_groups, parts = int(groups.max()) + 1, []
    for marks, values in zip(truth.T, probabilities.T, strict=True):
        having, lacking = np.flatnonzero(marks == 1), np.flatnonzero(marks == 0)
        if not len(having) or not len(lacking):
            continue
        both = np.concatenate([having, lacking])
        ranks = stats.rankdata(values[both])  # of equal ones the mean: they count as half above each other
        above = (ranks[: len(having)] - stats.rankdata(values[having])) / len(
            lacking
        )  # of those lacking it, below each
        below = 1 - (ranks[len(having) :] - stats.rankdata(values[lacking])) / len(having)
        area = above.mean()
        weights = np.concatenate([(above - area) / len(having), (below - area) / len(lacking)])
        parts.append(np.bincount(groups[both], weights=weights, minlength=num_groups))
    if not parts:
        return np.zeros(num_groups)
    return np.mean(parts, axis=0) * np.sqrt(num_groups / max(1, num_groups - 1))


def jackknife_blocks(num_groups: int, rng: Rng) -> np.ndarray:
    """The block of each test group, int64 [G]: NUM_BLOCKS of sizes that differ by one, or one for each group."""
    order = rng.fork("test blocks").numpy().permutation(num_groups)
    return order % min(NUM_BLOCKS, num_groups)


def jackknife_deviations(score: Callable[[np.ndarray], float], blocks: np.ndarray) -> np.ndarray:
    """Float64 [B]: as `accuracy_deviations`, for any metric. `score` takes the test images kept, int64 [T' <= T].

    `blocks` int64 [T] in 0 .. B - 1 of each test image. A block without which the metric is undefined (NaN) counts as
    one that changes nothing.
    """
    num_blocks = int(blocks.max()) + 1
    if num_blocks == 1:
        return np.zeros(1)
    scores = np.array([score(np.flatnonzero(blocks != number)) for number in range(num_blocks)])
    if np.isnan(scores).all():
        return np.zeros(num_blocks)
    return np.nan_to_num(scores - np.nanmean(scores)) * np.sqrt((num_blocks - 1) / num_blocks)
