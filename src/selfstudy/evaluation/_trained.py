"""What protocols that train by gradient share: the loss of labels, the budget as a training set, and the schedule.

N images of a batch, K classes or A attributes.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from selfstudy.evaluation._metrics import ByKind, Metric
from selfstudy.evaluation._protocol import Budget
from selfstudy.images import ImageSet
from selfstudy.training import Training

MIN_BATCHES = 10  # of a training set after repetition, so that the loop checks it at an even pace
Weighting = Literal["none", "balanced"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the labels are learned. `search` is a number of trials, of which the recipe itself is the first; 0: no search."""

    metric: Metric | ByKind = "by_kind"  # decides the search
    optimizer: Literal["sgd", "adamw", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    images_seen: int = 38_400
    batch_size: int = 64
    warmup: float = 0.1  # share of the steps
    label_smoothing: float = 0.0
    class_weight: Literal["none", "balanced", "choose"] = "none"  # balanced: rare classes count as much as common ones
    search: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.class_weight == "choose" and self.search < 2:
            raise ValueError(f"class_weight is choose, but search is {self.search}: choosing takes 2 trials or more")

    def training(self, lr: float, weight_decay: float) -> Training:
        return Training(
            optimizer=self.optimizer, lr=lr, weight_decay=weight_decay, momentum=0.9, betas=(0.9, 0.999),
            warmup=self.warmup, final_lr_factor=0.0, clip_norm=0.0, batch_size=self.batch_size,
            steps=-(-self.images_seen // self.batch_size), on_collapse="continue",
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelLoss:
    """Cross-entropy of classes, or binary cross-entropy of attributes, the mean over the known marks."""

    multi_label: bool
    label_smoothing: float = 0.0
    weights: Tensor | None = None  # [K]: of each class's loss; [A]: of the loss of those that have the attribute

    @classmethod
    def of(cls, budget: Budget, label_smoothing: float, weighting: Weighting) -> "LabelLoss":
        """Balanced weights are scikit-learn's n / (K n_class) over the classes that have labels, and n_not / n_having."""
        if weighting == "none":
            return cls(budget.multi_label, label_smoothing)
        labels = budget.train_labels
        if budget.multi_label:
            having, not_having = (labels == 1).sum(0), (labels == 0).sum(0)
            weights = torch.where((having > 0) & (not_having > 0), not_having / having.clamp(min=1), 1.0)
        else:
            counts = torch.bincount(labels, minlength=budget.num_classes)
            weights = torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)
        return cls(budget.multi_label, label_smoothing, weights)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Float32 [N, K] and int64 [N], or [N, A] and int8 [N, A] with -1 where unknown, to 0-d; 0 if nothing is known."""
        weights = None if self.weights is None else self.weights.to(logits.device)
        if not self.multi_label:
            return F.cross_entropy(logits, labels, weight=weights, label_smoothing=self.label_smoothing)
        known = (labels >= 0).to(logits.dtype)
        targets = (labels == 1).to(logits.dtype) * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)


def probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    """Float [N, K] to float64 [N, K]."""
    return logits.double().sigmoid() if multi_label else logits.double().softmax(1)


def repeated_rows(budget: Budget, batch_size: int) -> Tensor:
    """The label budget, repeated to at least ten batches: each copy has its own index, hence its own views."""
    rows = budget.train_rows
    return rows.repeat(max(1, -(-MIN_BATCHES * batch_size // len(rows))))


def repeated(budget: Budget, batch_size: int) -> ImageSet:
    """The images of `repeated_rows`."""
    return budget.images.select(repeated_rows(budget, batch_size).numpy())
