"""Tasks on scikit-learn's digits, whose pixels serve as features: real data, and no encoder to train."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from selfstudy.evaluation import Task
from selfstudy.images import ImageSet

NUM_POOL, NUM_TEST = 1200, 400  # rows 0 .. 1199 to learn from, the next 400 to test


def pixels(images: ImageSet) -> Tensor:
    """Float32 [N, D]."""
    return images.images.flatten(1).float() / 255


def draw(images: ImageSet, per_class: int, seed: int = 0) -> Tensor:
    """Int64 [n]: that many rows of every class out of the pool."""
    assert images.labels is not None
    labels = images.labels[:NUM_POOL].numpy()
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.flatnonzero(labels == label))[:per_class] for label in range(len(images.classes))]
    return torch.from_numpy(np.concatenate(rows))


def make_task(images: ImageSet, train_rows: Tensor, *, features: Tensor | None = None) -> Task:
    return Task(
        images=images,
        train_rows=train_rows,
        test_rows=torch.arange(NUM_POOL, NUM_POOL + NUM_TEST),
        pool_rows=torch.arange(NUM_POOL),
        encoder=None,
        features=pixels(images) if features is None else features,
    )


def relabelled(task: Task, rows: Tensor, labels: Tensor) -> Task:
    """The same task, but for the labels of `rows`."""
    assert task.images.labels is not None
    changed = task.images.labels.clone()
    changed[rows] = labels
    return replace(task, images=replace(task.images, labels=changed))


ATTRIBUTES = ("even", "above four", "seven", "round")


def with_attributes(images: ImageSet, unknown: float = 0.1) -> ImageSet:
    """The digits with four attributes each instead of a class; that share of the marks is unknown, but none of the first."""
    assert images.labels is not None
    digit = images.labels
    truth = [digit % 2 == 0, digit > 4, digit == 7, torch.isin(digit, torch.tensor([0, 6, 8, 9]))]
    marks = torch.stack(truth, 1).to(torch.int8)
    hidden = torch.rand(marks.shape, generator=torch.Generator().manual_seed(0)) < unknown
    hidden[:, 0] = False
    return replace(images, labels=marks.masked_fill(hidden, -1), classes=ATTRIBUTES)


def in_pages(images: ImageSet, tiles: int = 4) -> ImageSet:
    """Every run of `tiles` digits of one class, within the pool or behind it, is one page."""
    assert images.labels is not None
    pages = np.empty(len(images), dtype=f"U{16}")
    for part, start, stop in (("pool", 0, NUM_POOL), ("test", NUM_POOL, len(images))):
        for label in range(10):
            rows = start + np.flatnonzero(images.labels[start:stop].numpy() == label)
            pages[rows] = [f"{part}-{label}-{number // tiles}" for number in range(len(rows))]
    return replace(images, pages=pages, groups=pages)
