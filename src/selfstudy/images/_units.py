"""Groups as the units of every split and draw, in an order that follows from (stream, name of the group) alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from selfstudy.errors import UserError
from selfstudy.images._imageset import ImageSet
from selfstudy.rng import Rng

UNLABELLED = -1


@dataclass(frozen=True)
class Units:
    """The groups of some rows: what is drawn."""

    names: np.ndarray  # str [G]
    unit: np.ndarray  # int64 [rows]: the group of each row
    classes: np.ndarray  # int64 [G]: the commonest label, among the rows that came first; -1 without label
    sizes: np.ndarray  # int64 [G]: labelled rows
    arrivals: np.ndarray  # int64 [G]: when the first label came; -1 without label

    @staticmethod
    def of(images: ImageSet, rows: np.ndarray, labels: np.ndarray, arrivals: np.ndarray) -> "Units":
        names, unit = np.unique(images.groups[rows], return_inverse=True)
        first = np.full(len(names), np.iinfo(np.int64).max)
        labelled = labels != UNLABELLED
        np.minimum.at(first, unit[labelled], arrivals[labelled])
        founding = labelled & (arrivals == first[unit])
        most = labels.max(initial=0) + 1
        pairs, counts = np.unique(unit[founding] * most + labels[founding], return_counts=True)
        group, label = np.divmod(pairs, most)
        best = np.lexsort((-label, counts))  # the commonest last, so that it is what stays
        classes = np.full(len(names), UNLABELLED)
        classes[group[best]] = label[best]
        first[classes == UNLABELLED] = UNLABELLED
        return Units(names, unit, classes, np.bincount(unit[labelled], minlength=len(names)), first)

    def order(self, rng: Rng) -> np.ndarray:
        """Labelled groups: earlier arrivals first, then at random by name."""
        order = np.lexsort((priorities(self.names.tolist(), rng), self.arrivals))
        return order[self.classes[order] != UNLABELLED]


def labels_of(images: ImageSet) -> np.ndarray:
    if images.labels is None:
        raise UserError(f"{images.name} has no labels")
    return images.labels.numpy()


def priorities(names: Sequence[str], rng: Rng) -> np.ndarray:
    """Int64 [N]: a random number for each name, the same in whatever company the name stands."""
    digests = b"".join(
        hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest() for name in names
    )
    keys = torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))
    return rng.per_image(keys).bits(1)[:, 0].numpy()
