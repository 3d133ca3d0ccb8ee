"""majority: the largest class among the training labels, for every image. What accuracy is worth is what exceeds it.

Range   accuracy: the test share of that class; macro F1 and balanced accuracy: at most 1 / K of K classes. Of attributes
        each has its own majority: a balanced accuracy and an area under the ROC curve of 0.5.
Shares  its probabilities are the shares of the training labels, so that it is calibrated, at least.
"""

import time
from dataclasses import dataclass

import torch

from selfstudy.evaluation._protocol import Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings: it chooses nothing."""


class Majority(Protocol[Config]):
    Config = Config
    needs = "labels"

    def run(self, task: Task, rng: Rng) -> Scores:
        started = time.perf_counter()
        if task.multi_label:
            having, known = (task.train_labels == 1).sum(0), (task.train_labels >= 0).sum(0)
            shares = having.double() / known.clamp(min=1)
            chosen = {
                "chosen_by": "each attribute's commoner value among the training labels; of equal ones not having it"
            }
        else:
            counts = torch.bincount(task.train_labels, minlength=task.num_classes)
            shares = counts.double() / len(task.train_labels)
            chosen = {
                "class": task.images.classes[int(counts.numpy().argmax())],  # of equal ones NumPy gives the first
                "chosen_by": "largest class of the training labels; of equal ones the first",
            }
        return task.scores(shares.expand(len(task.test_rows), -1), chosen, time.perf_counter() - started)
