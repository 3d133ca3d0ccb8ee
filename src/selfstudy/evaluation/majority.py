"""majority: the largest class among the training labels, for every image. What accuracy is worth is what exceeds it.

Range   accuracy: the test share of that class; macro F1 and balanced accuracy: at most 1 / K of K classes.
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
        largest = int(torch.bincount(task.train_labels).numpy().argmax())  # of equal ones NumPy gives the first
        chosen = {
            "class": task.images.classes[largest],
            "chosen_by": "largest class of the training labels; of equal ones the first",
        }
        return task.scores(torch.full_like(task.test_rows, largest), chosen, time.perf_counter() - started)
