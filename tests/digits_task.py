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
