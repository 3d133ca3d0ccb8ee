"""Who is learnt from and who is tested: drawn by group, by class, and by content alone.

The order of files means nothing, and added images or labels never move an old one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch

from selfstudy.errors import UserError
from selfstudy.images._imageset import ImageSet
from selfstudy.images._units import UNLABELLED, Units, labels_of, strata
from selfstudy.rng import Rng


class SplitRecord(TypedDict):
    """What splits.json holds: a split by ids."""

    fingerprint: str
    classes: list[str]
    train: list[str]
    arrivals: list[int]  # beside `train`
    test: list[str]
    test_labels: list[int] | list[list[int]]  # beside `test`, as are the groups; one list per image of its attributes
    test_groups: list[str]


@dataclass(frozen=True)
class Split:
    """Positions in an ImageSet. Rows in neither part are unlabelled, and share their group with a test image."""

    train_rows: np.ndarray  # int64 [M], ascending; some may be unlabelled
    test_rows: np.ndarray  # int64 [T], ascending; all labelled
    arrivals: np.ndarray  # int64 [M]: how many times the split had been extended when this label came; -1 without label

    def to_json(self, images: ImageSet) -> SplitRecord:
        assert images.labels is not None
        return {
            "fingerprint": images.fingerprint,
            "classes": list(images.classes),
            "train": images.ids[self.train_rows].tolist(),
            "arrivals": self.arrivals.tolist(),
            "test": images.ids[self.test_rows].tolist(),
            "test_labels": images.labels[torch.from_numpy(self.test_rows)].tolist(),
            "test_groups": images.groups[self.test_rows].tolist(),
        }

    @classmethod
    def from_json(cls, record: SplitRecord, images: ImageSet) -> "Split":
        """The saved split of these very images. Raises UserError if one of its images is missing."""
        row_of = {name: row for row, name in enumerate(images.ids.tolist())}
        missing = [name for part in ("train", "test") for name in record[part] if name not in row_of]
        if missing:
            raise UserError(
                f"{len(missing)} images of the saved split are no longer in {images.name}; the first is {missing[0]}"
            )
        train = np.array([row_of[name] for name in record["train"]], dtype=np.int64)
        test = np.array([row_of[name] for name in record["test"]], dtype=np.int64)
        return cls(train, test, np.array(record["arrivals"], dtype=np.int64))


def split(images: ImageSet, *, test: float | int, rng: Rng, earlier: SplitRecord | None = None) -> Split:
    """Divide by group, the same share of every class: `test` is a share below one, else a number of labelled images.

    A class of two groups or more is in both parts; sizes are exact when groups hold one image each. A split that the
    source dictates is taken instead, less the images to learn from that share a group with one to test. `earlier` is the saved record of a split of some of these images: those stay.
    Raises UserError if a part would be empty, or if a group has come to lie in both.
    """
    labels = labels_of(images)
    if images.parts is not None:
        in_test = images.parts == "test"
        kin = ~in_test & np.isin(
            images.groups, images.groups[in_test]
        )  # copies of test images: nobody learns from them
    else:
        in_test = _draw_test(images, labels, test, rng.fork("split"), earlier)
        kin = np.zeros_like(in_test)
    train_rows, test_rows = np.flatnonzero(~in_test & ~kin), np.flatnonzero(in_test & (labels != UNLABELLED))
    if not len(test_rows) or not (labels[train_rows] != UNLABELLED).any():
        purpose = "to learn from" if len(test_rows) else "to test with"
        raise UserError(f"the split of {images.name} leaves no labelled image {purpose}")
    return Split(train_rows, test_rows, _arrivals(images, labels, train_rows, earlier))


def tested_in_turn(images: ImageSet, earlier: SplitRecord | None = None) -> Split:
    """Every row to learn from and every labelled row to test with: what cross-validation divides anew in each round."""
    labels = labels_of(images)
    every_row = np.arange(len(images))
    return Split(every_row, np.flatnonzero(labels != UNLABELLED), _arrivals(images, labels, every_row, earlier))


def _arrivals(images: ImageSet, labels: np.ndarray, rows: np.ndarray, earlier: SplitRecord | None) -> np.ndarray:
    """Int64: when the label of each row came; -1 without label."""
    known = dict(zip(earlier["train"], earlier["arrivals"], strict=True)) if earlier else {}
    now = 1 + max(known.values(), default=-1)
    before = np.array([known.get(name, UNLABELLED) for name in images.ids[rows].tolist()], dtype=np.int64)
    return np.where(labels[rows] == UNLABELLED, UNLABELLED, np.where(before == UNLABELLED, now, before))


def _draw_test(images: ImageSet, labels: np.ndarray, test: float, rng: Rng, earlier: SplitRecord | None) -> np.ndarray:
    """Bool [N]: whose group is in the test part."""
    every_row = np.arange(len(images))
    units = Units.of(images, every_row, labels, np.where(labels == UNLABELLED, UNLABELLED, 0))
    in_test, in_train = _earlier_units(images, units, earlier)
    order = units.order(rng)
    order = order[~(in_test | in_train)[order]]
    wanted = _shares(images, units, test)
    for number, quota in enumerate(wanted):
        of_class = units.classes == number
        candidates = order[units.classes[order] == number]
        if not (in_train & of_class).any():
            candidates = candidates[:-1]  # one group stays to learn from
        taken = int(units.sizes[in_test & of_class].sum())
        in_test[candidates[_fill(units.sizes[candidates].tolist(), quota - taken, taken == 0)]] = True
    return in_test[units.unit]


def _earlier_units(images: ImageSet, units: Units, earlier: SplitRecord | None) -> tuple[np.ndarray, np.ndarray]:
    """Bool [G] twice: which groups an earlier split put into test, which into train."""
    parts = []
    for part in ("test", "train"):
        found = np.zeros(len(units.names), dtype=bool)
        found[units.unit[np.isin(images.ids, list(earlier[part]) if earlier else [])]] = True
        parts.append(found)
    both = np.flatnonzero(parts[0] & parts[1])
    if len(both):
        name = units.names[both[0]]
        raise UserError(f'the group "{name}" has images in both parts of the saved split: undo the regrouping')
    return parts[0], parts[1]


def _shares(images: ImageSet, units: Units, test: float) -> list[int]:
    """How many test images each class should give: in proportion, by largest remainders, and adding up to the whole."""
    sizes = [int(units.sizes[units.classes == number].sum()) for number in range(len(strata(images)))]
    several = [int((units.classes == number).sum()) > 1 for number in range(len(strata(images)))]
    most = [size - 1 if more else 0 for size, more in zip(sizes, several, strict=True)]
    whole = sum(sizes)
    if not test > 0 or (test >= 1 and not float(test).is_integer()):
        raise UserError(f"test is {test:g}, but must be a share below 1 or a whole number of images")
    total = round(test * whole) if test < 1 else int(test)
    if not 1 <= total <= sum(most):
        raise UserError(f"test={test:g} asks for {total} of the images of {images.name}; possible are 1 to {sum(most)}")
    least = [int(more) for more in several] if total >= sum(several) else [0] * len(sizes)
    shares = [min(max(total * size // whole, low), high) for size, low, high in zip(sizes, least, most, strict=True)]

    def missing(number: int) -> int:
        return total * sizes[number] - shares[number] * whole

    while sum(shares) < total:
        shares[max((k for k in range(len(sizes)) if shares[k] < most[k]), key=missing)] += 1
    while sum(shares) > total:
        shares[min((k for k in range(len(sizes)) if shares[k] > least[k]), key=missing)] -= 1
    return shares


def _fill(sizes: Sequence[int], wanted: int, at_least_one: bool) -> list[int]:
    """Positions, in order, of sizes that add up to about `wanted`: each is taken if the sum comes nearer by it."""
    chosen, missing = [], wanted
    for position, size in enumerate(sizes):
        if missing <= 0:
            break
        if abs(missing - size) < missing:
            chosen.append(position)
            missing -= size
    if not chosen and at_least_one and wanted > 0 and sizes:
        chosen.append(min(range(len(sizes)), key=lambda position: sizes[position]))
    return chosen
