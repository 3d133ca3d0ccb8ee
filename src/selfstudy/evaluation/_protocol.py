"""The contract of a protocol: a way to judge an encoder with a given budget of labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation._attributes import measure_attributes, require_defined, undefined
from selfstudy.evaluation._features import require_finite
from selfstudy.evaluation._metrics import measure
from selfstudy.evaluation._pages import Pages
from selfstudy.images import ImageSet
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.types import Scores

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True, eq=False)
class Budget:
    """Everything a protocol may learn from. n labels in the budget, P images in the pool.

    Raises UserError if a row has no label, RunError if a feature is NaN or infinite.
    """

    images: ImageSet  # all rows, train and test
    train_rows: Tensor  # int64 [n]: the label budget; every label used for any choice is among them
    pool_rows: Tensor  # int64 [P]: training images without their labels (for the features' mean and deviation)
    encoder: Encoder | None
    features: Tensor | None  # float32 [len(images), D], one cached pass in eval mode; None if the protocol needs none
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # where a protocol that trains does so
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    folder: Path | None = None  # where a protocol that trains logs and keeps checkpoints

    def __post_init__(self) -> None:
        self._require_labels("training", self.train_rows)
        if not len(self.pool_rows):
            raise UserError(
                f"there are no training images in {self.images.name} to measure features on; at least one is needed"
            )
        if self.features is not None:
            require_finite(self.features)

    def _require_labels(self, part: str, rows: Tensor) -> None:
        if self.images.labels is None:
            raise UserError(f"{self.images.name} has no labels, so nothing can be evaluated on it")
        if not len(rows):
            raise UserError(f"there are no labelled {part} images in {self.images.name}; at least one is needed")
        unknown = self.images.labels[rows] < 0
        missing = int((unknown.all(1) if self.multi_label else unknown).sum())
        if missing:
            raise UserError(f"{missing} of the {len(rows)} {part} images of {self.images.name} have no label")

    @property
    def num_classes(self) -> int:
        """K, or A where the images have attributes."""
        return len(self.images.classes)

    @property
    def multi_label(self) -> bool:
        return self.images.multi_label

    @property
    def train_labels(self) -> Tensor:
        """Int64 [n], or int8 [n, A] with -1 where an attribute is unknown."""
        assert self.images.labels is not None
        return self.images.labels[self.train_rows]

    @property
    def train_groups(self) -> np.ndarray:
        """Str [n]: rows of one group are never split."""
        return self.images.groups[self.train_rows.numpy()]

    @property
    def constant(self) -> list[str]:
        """The classes without a label in the budget, or the attributes with one value only: what cannot be learned."""
        if self.multi_label:
            found = torch.from_numpy(undefined(self.train_labels.numpy()))
        else:
            found = torch.bincount(self.train_labels, minlength=self.num_classes) == 0
        return [name for name, missing in zip(self.images.classes, found.tolist(), strict=True) if missing]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task(Budget):
    """A budget and T test images. Raises UserError if one of them has no label or may be learned from."""

    test_rows: Tensor  # int64 [T]
    keep: bool = False  # what a protocol that trains has learned, in the folder, for its `hand_over` to find

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_labels("test", self.test_rows)
        leaked = int(torch.isin(self.test_rows, torch.cat([self.train_rows, self.pool_rows])).sum())
        if leaked:
            raise UserError(
                f"{leaked} of the {len(self.test_rows)} test images of {self.images.name} are training images too"
            )

        if self.multi_label:
            require_defined(self.truth.numpy(), self.images.name)

    @cached_property
    def pages(self) -> Pages:
        """The T pictures that are tested, which are pages where the images were cut from pages."""
        return Pages.of(self.images, self.test_rows)

    @property
    def truth(self) -> Tensor:
        """Int64 [T], or int8 [T, A]: what is read of the test labels, and by `scores` alone."""
        assert self.images.labels is not None
        return self.images.labels[self.test_rows[self.pages.first]]

    def scores(
        self,
        probabilities: Tensor,
        chosen: Mapping[str, float | int | str],
        seconds: float,
        details: Mapping[str, object] = MappingProxyType({}),
    ) -> Scores:
        """The end of every protocol, and the only place where test labels are read.

        `probabilities` is float [len(test_rows), K], of classes or of attributes; a page's are the mean of its rows'.
        """
        assert probabilities.shape == (len(self.test_rows), self.num_classes)
        answers = self.pages.average(probabilities)
        if self.multi_label:
            predictions = (answers > 0.5).long()
            metrics = measure_attributes(self.truth.numpy(), answers.numpy())
            missing = undefined(self.truth.numpy())
            names = [name for name, left_out in zip(self.images.classes, missing, strict=True) if left_out]
            details = {**details, "undefined_attributes": len(names), "undefined": names}
        else:
            predictions = answers.argmax(1)  # of equal ones the first
            metrics = measure(self.truth, answers)
        if self.constant:
            details = {**details, "cannot_be_learned": self.constant}
        return Scores(metrics, predictions, chosen, seconds, probabilities=answers.float(), details=details)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """Logits = features @ weight.T + bias. A class that had no label has a bias of -inf: it is never predicted.

    An attribute of which the labels had one value only has a bias of that sign, without end.
    """

    weight: Tensor  # float32 [K, D]
    bias: Tensor  # float32 [K]

    def __call__(self, features: Tensor) -> Tensor:
        """Float32 [N, D] to [N, K]."""
        return features @ self.weight.T + self.bias


class Protocol(ABC, Generic[Settings]):
    """Subclass it as `Protocol[Config]` in evaluation/NAME.py; that file is all a new protocol needs."""

    Config: ClassVar[type]  # frozen dataclass beside the class
    needs: ClassVar[Literal["labels", "features", "encoder"]]  # what of a task it reads beside rows and labels
    version: ClassVar[int] = 1  # raised when its results change: results of another version are not reused

    def __init__(self, config: Settings) -> None:
        self.config = config

    @abstractmethod
    def run(self, task: Task, rng: Rng) -> Scores:
        """Learn from the train labels, choose by them alone, predict the test images once, and score that.

        A pure function of the task and the stream; leaves the encoder as it was.
        """

    def hand_over(self, budget: Budget, rng: Rng) -> tuple[Encoder, LinearMap]:
        """What the protocol learned, to be kept: an encoder, and the logits of the classes as a map of its features.

        UserError from protocols whose answer is no such map.
        """
        raise UserError(
            f"the protocol {type(self).__name__.lower()} leaves no classifier behind; use linear or finetune"
        )
