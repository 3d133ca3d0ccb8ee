"""knn: the k most similar labelled images vote, each with a weight that grows with its similarity.

Source  Wu, Xiong, Yu, Lin, CVPR 2018, arXiv:1805.01978, section 3.4: cosine s, weight exp(s / T).
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  k, by cross-validation inside the label budget; of equally good ones the largest, which varies least. Below
        5 labels per class k = 1: at 1, 2 and 4 per class the nearest label alone was as good as or better than more
        votes on learned and untrained features of MNIST (0.777 against 0.751 at 4 per class and k = 4).
Shares  the votes as shares of all votes are the probabilities. Of attributes each is voted on by those of the k nearest
        whose mark is known; where none is, the bank's own share decides.
Rows    a bank of B labelled images, Q queries, D width, K classes or A attributes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from selfstudy.evaluation._attributes import ATTRIBUTE_METRICS, undefined
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, ONE_VALUE, choose, folds
from selfstudy.evaluation._metrics import METRICS, ByKind, Metric, decide
from selfstudy.evaluation._protocol import Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores

_SIMILARITIES_AT_ONCE = 2**24  # 64 MiB of float32


@dataclass(frozen=True, kw_only=True)
class Config:
    metric: Metric | ByKind = "by_kind"  # decides the choice of k
    num_neighbours: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 5, 10, 20, 50, 200)
    temperature: Annotated[float, Field(gt=0)] = 0.1  # T; the paper has 0.07, MoCo's and lightly's monitors 0.1


def vote(
    similarity: Tensor, labels: Tensor, num_neighbours: Sequence[int], temperature: float, num_classes: int
) -> Tensor:
    """Float64 [len(num_neighbours), Q, K]: the share of the votes of each class, for each number of neighbours, all at most B.

    `similarity` is float32 [Q, B], `labels` int64 [B]. With similarities 0.9, 0.8, 0.7 of classes 0, 1, 1, T = 0.1 and
    k = 3 class 0 wins, by exp(9) = 8103 to exp(8) + exp(7) = 4078.
    """
    weights, place = _weights(similarity, max(num_neighbours), temperature)
    classes = labels[place]
    shares = []
    for k in num_neighbours:
        votes = similarity.new_zeros(len(similarity), num_classes).scatter_add_(1, classes[:, :k], weights[:, :k])
        shares.append(votes.double() / votes.double().sum(1, keepdim=True))
    return torch.stack(shares)


def vote_on_attributes(similarity: Tensor, marks: Tensor, num_neighbours: Sequence[int], temperature: float) -> Tensor:
    """Float64 [len(num_neighbours), Q, A]: the share of the votes that say it has the attribute.

    `similarity` is float32 [Q, B], `marks` int8 [B, A], -1 where unknown.
    """
    weights, place = _weights(similarity, max(num_neighbours), temperature)
    known, having = (marks >= 0).double(), (marks == 1).double()
    base = (having.sum(0) / known.sum(0).clamp(min=1)).expand(len(similarity), -1)
    shares = []
    for k in num_neighbours:
        part = weights[:, None, :k].double()
        votes = (part @ known[place[:, :k]])[:, 0]
        for_it = (part @ having[place[:, :k]])[:, 0]
        shares.append(torch.where(votes > 0, for_it / votes.clamp(min=torch.finfo(torch.float64).tiny), base))
    return torch.stack(shares)


def _weights(similarity: Tensor, most: int, temperature: float) -> tuple[Tensor, Tensor]:
    """[Q, most] each: the weights of the nearest, in order, and their places in the bank."""
    nearest, place = similarity.topk(most, dim=1)
    # Measured from the nearest: the common factor changes no vote, and exp(1 / T) may overflow.
    return ((nearest - nearest[:, :1]) / temperature).exp(), place


class KNN(Protocol[Config]):
    Config = Config
    needs = "features"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.features is not None
        started = time.perf_counter()
        bank = F.normalize(task.features[task.train_rows], dim=1)
        queries = F.normalize(task.features[task.test_rows], dim=1)
        k, chosen_by, score = self._choose(bank, task, rng)
        shares = [self._vote(part @ bank.T, task, [k])[0] for _, part in self._chunks(queries, bank, task)]
        chosen: dict[str, float | int | str] = {"num_neighbours": k, "chosen_by": chosen_by}
        if score is not None:
            chosen["validation_score"] = score
        return task.scores(torch.cat(shares), chosen, time.perf_counter() - started)

    def _vote(self, similarity: Tensor, task: Task, num_neighbours: Sequence[int]) -> Tensor:
        if task.multi_label:
            return vote_on_attributes(similarity, task.train_labels, num_neighbours, self.config.temperature)
        return vote(similarity, task.train_labels, num_neighbours, self.config.temperature, task.num_classes)

    def _choose(self, bank: Tensor, task: Task, rng: Rng) -> tuple[int, str, float | None]:
        """The k whose votes over the other folds are best, over all labels of the budget at once; how it was chosen, and its score."""
        labels = task.train_labels.numpy()
        found = folds(labels, task.train_groups, rng.fork("folds"))
        metric = decide(self.config.metric, multi_label=task.multi_label)
        if found is None:
            return 1, FIXED, None
        if task.multi_label and undefined(labels).all():
            return 1, ONE_VALUE, None
        fold = torch.from_numpy(found)
        smallest_bank = len(fold) - int(fold.bincount().max())
        candidates = sorted({min(k, smallest_bank) for k in self.config.num_neighbours}, reverse=True)
        parts = []
        for start, part in self._chunks(bank, bank, task):
            same_fold = fold[start : start + len(part), None] == fold
            shares = self._vote((part @ bank.T).masked_fill_(same_fold, -torch.inf), task, candidates)
            parts.append(shares if task.multi_label else shares.argmax(dim=2))
        answers = dict(zip(candidates, torch.cat(parts, dim=1).numpy(), strict=True))
        rate: Callable[[np.ndarray, np.ndarray], float] = (
            ATTRIBUTE_METRICS[metric] if task.multi_label else METRICS[metric]
        )
        scores = {k: rate(labels, answers[k]) for k in candidates}
        best = choose(candidates, scores.__getitem__)
        return best, CROSS_VALIDATED, scores[best]

    def _chunks(self, queries: Tensor, bank: Tensor, task: Task) -> Iterator[tuple[int, Tensor]]:
        """Queries in parts whose similarities to the bank fit in memory, each with its first row."""
        width = len(bank)
        if task.multi_label:  # the marks of the neighbours of every query, in float64 twice
            width += 4 * min(max(self.config.num_neighbours), len(bank)) * task.num_classes
        size = max(1, _SIMILARITIES_AT_ONCE // width)
        for start in range(0, len(queries), size):
            yield start, queries[start : start + size]
