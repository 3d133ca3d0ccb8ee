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
    """Int64 [N]: what splits and draws are stratified by; -1 where nothing is known, or where a row is only to pretrain on.

    A row with attributes counts as one of its rarest attribute, as the first step of iterative stratification takes it
    (Sechidis et al., ECML 2011); one without any, as one of a class of its own.
    """
    if images.labels is None:
        raise UserError(f"{images.name} has no labels")
    labels = _rarest(images.labels.numpy()) if images.multi_label else images.labels.numpy()
    return labels if images.parts is None else np.where(images.parts == "unlabelled", UNLABELLED, labels)


def strata(images: ImageSet) -> tuple[str, ...]:
    """The names of the numbers that `labels_of` gives."""
    return (*images.classes, "none of them") if images.multi_label else images.classes


def _rarest(marks: np.ndarray) -> np.ndarray:
    """Int64 [N] of int8 [N, A]: the attribute that fewest rows have, of those that the row has; A where it has none."""
    counts = (marks == 1).sum(0)
    rank = np.empty_like(counts)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranks = np.where(marks == 1, rank, len(counts))
    rarest = np.append(np.argsort(rank), len(counts))[ranks.min(1)]
    return np.where((marks < 0).all(1), UNLABELLED, rarest)


def priorities(names: Sequence[str], rng: Rng) -> np.ndarray:
    """Int64 [N]: a random number for each name, the same in whatever company the name stands."""
    digests = b"".join(
        hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest() for name in names
    )
    keys = torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))
    return rng.per_image(keys).bits(1)[:, 0].numpy()
