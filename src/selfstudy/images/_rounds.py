"""Repeated grouped cross-validation: where one test part would be too small, every labelled image is tested in its turn.

In every round the labelled images are dealt into folds; each fold is tested by what learned from the others, so a round
tests every image once. Groups stay whole and classes are spread evenly. Intervals know that the folds' training images
overlap (study/_intervals.py).
"""

import numpy as np

from selfstudy.images._imageset import ImageSet
from selfstudy.images._units import UNLABELLED, Units
from selfstudy.rng import Rng

NUM_FOLDS = 5  # as where settings are chosen: 80 % of the labels to learn from
FEWEST_TEST = 300  # test images below which an accuracy of 0.9 is known to 3.4 points or worse
FEWEST_OF_A_CLASS = 30  # below which a recall of one half is known to 17 points or worse


def too_few_to_test(labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether a test part is too small to be the only one: int64 [T] classes and str [T] groups, which count."""
    pairs = np.unique(np.stack([labels, np.unique(groups, return_inverse=True)[1]]), axis=1)[0]
    counts = np.unique(pairs, return_counts=True)[1]
    return len(np.unique(groups)) < FEWEST_TEST or bool(counts.min() < FEWEST_OF_A_CLASS)


def rounds(images: ImageSet, rows: np.ndarray, num_rounds: int, rng: Rng) -> np.ndarray:
    """The fold of each labelled row in each round, int64 [num_rounds, len(rows)] in 0 .. NUM_FOLDS - 1.

    The largest groups are dealt first, in an order of their own for each round, each to the fold that has fewest images
    of its class, of those to the smallest. More rounds begin with the same ones. A class of fewer than NUM_FOLDS groups
    is missing from some folds; a class of one group is unknown to whatever is tested on it.
    """
    assert images.labels is not None
    labels = images.labels.numpy()[rows]
    if labels.ndim == 2:  # attributes are not stratified, as in evaluation
        labels = np.zeros(len(rows), dtype=np.int64)
    units = Units.of(images, rows, labels, np.where(labels == UNLABELLED, UNLABELLED, 0))
    return np.stack([_deal(units, rng.fork("round", number))[units.unit] for number in range(num_rounds)])


def _deal(units: Units, rng: Rng) -> np.ndarray:
    """The fold of each group, int64 [G]."""
    order = units.order(rng)
    order = order[np.argsort(-units.sizes[order], kind="stable")]
    of_class = np.zeros((int(units.classes.max()) + 1, NUM_FOLDS), dtype=np.int64)
    fold = np.zeros(len(units.names), dtype=np.int64)
    for unit in order.tolist():
        counts = of_class[units.classes[unit]]
        fold[unit] = np.lexsort((of_class.sum(0), counts))[0]
        counts[fold[unit]] += units.sizes[unit]
    return fold
