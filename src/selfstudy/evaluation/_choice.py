"""How a hyper-parameter is chosen inside the label budget: by cross-validation over groups, or not at all.

No label outside the budget is read, so a row of few labels is not helped by a validation set that it could not have.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from sklearn.model_selection import StratifiedKFold

from selfstudy.rng import Rng

NUM_FOLDS = 5  # five parts leave 80 % of the labels to fit on, and every class of five labels has one in each
CROSS_VALIDATED = f"{NUM_FOLDS}-fold cross-validation inside the label budget"
FIXED = f"fixed: fewer than {NUM_FOLDS} labels per class"
ONE_CLASS = "fixed: all labels are of one class"
ONE_VALUE = "fixed: every attribute has one value only among the labels"

Value = TypeVar("Value")


def folds(labels: np.ndarray, groups: np.ndarray, rng: Rng) -> np.ndarray | None:
    """The fold of each label, int64 [n] in 0 .. NUM_FOLDS - 1, or None if there are too few labels to choose by.

    `labels` is int64 [n] of classes, or int8 [n, A] of attributes, which are not stratified: having and not having an
    attribute count as two classes, so too few are less than 2 * NUM_FOLDS groups.

    Stratified by class, and a group (page, product, person) never lies in two folds. A group counts as one label, of
    the class of its first row: below NUM_FOLDS per class, on average over the classes present, there are too few. The
    average, since one rare class should not take the choice from a set of thousands of labels.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    stratum = labels[first] if labels.ndim == 1 else np.zeros(len(first), dtype=np.int64)
    if len(stratum) < NUM_FOLDS * (len(np.unique(labels)) if labels.ndim == 1 else 2):
        return None
    seed = int(rng.numpy().integers(2**31))
    splitter = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    fold = np.empty(len(stratum), dtype=np.int64)
    with warnings.catch_warnings():  # that a rare class is missing from some folds is expected, see above
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(stratum, stratum)):
            fold[held_out] = number
    return fold[group]


def choose(values: Iterable[Value], score: Callable[[Value], float]) -> Value:
    """The value that scores best. Of equal ones (to 1e-12, so that rounding decides nothing) the first."""
    return max(values, key=lambda value: round(score(value), 12))
