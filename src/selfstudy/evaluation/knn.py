"""knn: the k most similar labelled images vote, each with a weight that grows with its similarity.

Source  Wu, Xiong, Yu, Lin, CVPR 2018, arXiv:1805.01978, section 3.4: cosine s, weight exp(s / T).
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  k, by cross-validation inside the label budget; of equally good ones the largest, which varies least. Below
        5 labels per class k = 1: at 1, 2 and 4 per class the nearest label alone was as good as or better than more
        votes on learned and untrained features of MNIST (0.777 against 0.751 at 4 per class and k = 4).
Rows    a bank of B labelled images, Q queries, D width, K classes.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, choose, folds
from selfstudy.evaluation._metrics import METRICS, Metric
from selfstudy.evaluation._protocol import Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores

_SIMILARITIES_AT_ONCE = 2**24  # 64 MiB of float32


@dataclass(frozen=True, kw_only=True)
class Config:
    metric: Metric = "accuracy"  # decides the choice of k
    num_neighbours: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 5, 10, 20, 50, 200)
    temperature: Annotated[float, Field(gt=0)] = 0.1  # T; the paper has 0.07, MoCo's and lightly's monitors 0.1


def vote(
    similarity: Tensor, labels: Tensor, num_neighbours: Sequence[int], temperature: float, num_classes: int
) -> Tensor:
    """Int64 [len(num_neighbours), Q]: the class with most votes, for each number of neighbours, all at most B.

    `similarity` is float32 [Q, B], `labels` int64 [B]. Of classes with equal votes the first wins. With similarities
    0.9, 0.8, 0.7 of classes 0, 1, 1, T = 0.1 and k = 3 class 0 wins, by exp(9) = 8103 to exp(8) + exp(7) = 4078.
    """
    nearest, place = similarity.topk(max(num_neighbours), dim=1)
    # Measured from the nearest: the common factor changes no vote, and exp(1 / T) may overflow.
    weights = ((nearest - nearest[:, :1]) / temperature).exp()
    classes = labels[place]
    winners = []
    for k in num_neighbours:
        votes = similarity.new_zeros(len(similarity), num_classes).scatter_add_(1, classes[:, :k], weights[:, :k])
        winners.append(votes.argmax(dim=1))
    return torch.stack(winners)


class KNN(Protocol[Config]):
    Config = Config
    needs = "features"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.features is not None
        started = time.perf_counter()
        bank = F.normalize(task.features[task.train_rows], dim=1)
        queries = F.normalize(task.features[task.test_rows], dim=1)
        fold = folds(task.train_labels.numpy(), task.train_groups, rng.fork("folds"))
        k = 1 if fold is None else self._choose(bank, task.train_labels, torch.from_numpy(fold), task.num_classes)
        parts = [
            vote(part @ bank.T, task.train_labels, [k], self.config.temperature, task.num_classes)[0]
            for _, part in _chunks(queries, bank)
        ]
        chosen_by = FIXED if fold is None else CROSS_VALIDATED
        seconds = time.perf_counter() - started
        return task.scores(torch.cat(parts), {"num_neighbours": k, "chosen_by": chosen_by}, seconds)

    def _choose(self, bank: Tensor, labels: Tensor, fold: Tensor, num_classes: int) -> int:
        """The k whose votes over the other folds are best, over all labels of the budget at once."""
        smallest_bank = len(fold) - int(fold.bincount().max())
        candidates = sorted({min(k, smallest_bank) for k in self.config.num_neighbours}, reverse=True)
        parts = []
        for start, part in _chunks(bank, bank):
            same_fold = fold[start : start + len(part), None] == fold
            similarity = (part @ bank.T).masked_fill_(same_fold, -torch.inf)
            parts.append(vote(similarity, labels, candidates, self.config.temperature, num_classes))
        predictions = dict(zip(candidates, torch.cat(parts, dim=1).numpy(), strict=True))
        truth: np.ndarray = labels.numpy()
        return choose(candidates, lambda k: METRICS[self.config.metric](truth, predictions[k]))


def _chunks(queries: Tensor, bank: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Queries in parts whose similarities to the bank fit in memory, each with its first row."""
    size = max(1, _SIMILARITIES_AT_ONCE // len(bank))
    for start in range(0, len(queries), size):
        yield start, queries[start : start + size]
