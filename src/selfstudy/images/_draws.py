"""Whose labels are known, and which unlabelled images are seen: nested draws, by group, class and content alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from selfstudy.errors import UserError
from selfstudy.images._imageset import ImageSet
from selfstudy.images._splits import Split
from selfstudy.images._units import UNLABELLED, Units, labels_of, priorities, strata
from selfstudy.rng import Rng


@dataclass(frozen=True)
class LabelDraw:
    """The rows whose labels are known."""

    rows: np.ndarray  # int64, ascending
    short: Mapping[str, int]  # classes that had fewer groups than asked for, and how many they gave


def draw_labels(images: ImageSet, split: Split, labels: int | float | str, draw: int, rng: Rng) -> LabelDraw:
    """Choose whose labels are known: a number of groups per class, a share of each class, "total:N" or "all".

    For equal `draw` a smaller amount is a subset of a larger one; early arrivals are drawn first. A class that has too
    few gives all it has and is named in `short`; if every class has too few it is a UserError. A share is below one and
    gives at least one group of each class. "total:N" counts groups and keeps the classes' natural frequencies. "fold" takes
    the published draw of that number.
    """
    if labels == "fold":
        return LabelDraw(_published(images, split, draw), {})
    units = Units.of(images, split.train_rows, labels_of(images)[split.train_rows], split.arrivals)
    order = units.order(rng.fork("labels", draw))
    short: dict[str, int] = {}
    if labels == "all":
        chosen = order
    elif isinstance(labels, str):
        chosen = _by_frequency(units, order)[: _total(labels, len(order), images.name)]
    else:
        chosen, short = _per_class(units, order, strata(images), _amount(labels))
    is_chosen = np.zeros(len(units.names), dtype=bool)
    is_chosen[chosen] = True
    return LabelDraw(split.train_rows[is_chosen[units.unit] & (split.arrivals != UNLABELLED)], short)


def draw_unlabelled(images: ImageSet, rows: np.ndarray, fraction: float, rng: Rng) -> np.ndarray:
    """A share, in (0, 1], of `rows` in their order, at least one. A smaller share is a subset of a larger one."""
    if not 0 < fraction <= 1:
        raise UserError(f"unlabelled is {fraction}, but must be a fraction above 0 and at most 1")
    order = np.argsort(priorities(images.ids[rows].tolist(), rng.fork("unlabelled")), kind="stable")
    return rows[np.sort(order[: max(1, round(fraction * len(rows)))])]


def _per_class(
    units: Units, order: np.ndarray, classes: tuple[str, ...], amount: int | float
) -> tuple[np.ndarray, dict[str, int]]:
    """The first groups of every class, and the classes that are short."""
    by_class = [order[units.classes[order] == number] for number in range(len(classes))]
    if amount < 1:
        return np.concatenate([found[: max(1, round(amount * len(found)))] for found in by_class]), {}
    short = {name: len(found) for name, found in zip(classes, by_class, strict=True) if len(found) < amount}
    if len(short) == len(classes):
        most = max(short, key=lambda name: short[name])
        raise UserError(
            f"{amount} labels per class are asked for, but no class has so many to learn from; "
            f'"{most}" has most, {short[most]}'
        )
    return np.concatenate([found[: int(amount)] for found in by_class]), short


def _published(images: ImageSet, split: Split, draw: int) -> np.ndarray:
    if draw >= len(images.folds):
        raise UserError(
            f"draw {draw + 1} of fold is asked for, but {images.name} has {len(images.folds)} published folds"
        )
    known = np.isin(images.ids[split.train_rows], images.folds[draw]) & (split.arrivals != UNLABELLED)
    if not known.any():
        raise UserError(f"no image of fold {draw + 1} of {images.name} is there to learn from")
    return split.train_rows[known]


def _by_frequency(units: Units, order: np.ndarray) -> np.ndarray:
    """`order` so changed that every beginning holds the classes at about their frequencies."""
    blocks = list(zip(units.arrivals[order].tolist(), units.classes[order].tolist(), strict=True))
    sizes, ranks = Counter(blocks), Counter[tuple[int, int]]()
    keys = []
    for position, block in enumerate(blocks):
        keys.append((block[0], (ranks[block] + 0.5) / sizes[block], position))
        ranks[block] += 1
    return order[[position for _, _, position in sorted(keys)]]


def _amount(labels: int | float) -> int | float:
    if isinstance(labels, float) and labels == 1:
        raise UserError("labels is 1.0, which could mean one per class or all of them: write 1 or all")
    if isinstance(labels, bool) or not labels > 0 or (labels > 1 and not float(labels).is_integer()):
        raise UserError(f"labels is {labels}, but must be {_FORMS}")
    return labels


def _total(labels: str, available: int, name: str) -> int:
    word, _, number = labels.partition(":")
    if word != "total" or not number.isdecimal() or int(number) < 1:
        raise UserError(f'labels is "{labels}", but must be {_FORMS}')
    if int(number) > available:
        raise UserError(f"{number} labels are asked for, but {name} has {available} to learn from")
    return int(number)


_FORMS = "a whole number per class, a fraction below 1, total:N, fold or all"
