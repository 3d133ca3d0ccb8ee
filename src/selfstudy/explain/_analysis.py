"""The contract of an analysis: one file of this folder asks one thing of an encoder and answers with numbers and pictures.

What it answers, and how that lies in a folder (also in a study's), stands at the top of `_findings.py`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from selfstudy import catalog
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation import LinearMap
from selfstudy.explain._findings import Findings
from selfstudy.images import ImageSet
from selfstudy.rng import Rng

Settings = TypeVar("Settings")
Need = Literal["labels", "classifier", "other", "shown"]
MISSING: Mapping[Need, str] = {  # what to do about a part of the subject that is not there
    "labels": "needs images with one class each: give a folder of classes or a table with labels",
    "classifier": "needs a classifier: give labelled images, to fit one on, or the folder of a finished study",
    "other": "compares two encoders: give the second with against=RUN",
    "shown": "shows what the method itself drew when its training ended, and this run kept no such pictures",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Viewer:
    """What looks at images: an encoder, and the classes it sees if a classifier was fitted on its features."""

    name: str  # for people: the row's, or the folder's
    encoder: Encoder
    features: Tensor  # float32 [N, D] of all images of the subject, on the CPU
    classifier: LinearMap | None = None

    def probabilities(self, rows: Tensor) -> Tensor:
        """Float32 [n, K], summing to 1, of the images at int64 positions `rows`."""
        assert self.classifier is not None
        return self.classifier(self.features[rows]).softmax(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is to be explained. N images, of which n are looked at one by one and m may be judged."""

    viewer: Viewer
    images: ImageSet  # N rows: where neighbours are looked for
    rows: Tensor  # int64 [n], n > 0
    judged_rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # [m]: not learned from
    answers: Tensor | None = None  # float32 [m, K]: probabilities that were kept; None: the classifier gives them
    other: Viewer | None = None  # a second encoder, of the same images
    twin: Viewer | None = None  # the viewer's method, trained with another seed: what chance alone changes
    shown: Mapping[str, Tensor] = field(default_factory=dict)  # uint8 [k, C, H, W]: what the method drew, by name
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rng: Rng = field(default_factory=lambda: Rng.from_seed(0))

    @cached_property
    def labels(self) -> Tensor | None:
        """Int64 [N], -1 where missing; None where images have no class, or several."""
        labels = self.images.labels
        return None if labels is None or self.images.multi_label or not (labels >= 0).any() else labels

    def has(self, need: Need) -> bool:
        """Whether the subject has what an analysis needs."""
        match need:
            case "labels":
                return self.labels is not None
            case "classifier":
                return self.viewer.classifier is not None
            case "other":
                return self.other is not None
            case "shown":
                return bool(self.shown)

    def class_of(self, row: int) -> str:
        """The name of an image's class; "" where it has none."""
        number = -1 if self.labels is None else int(self.labels[row])
        return self.images.classes[number] if number >= 0 else ""

    def id_of(self, row: int) -> str:
        """What names an image in a table."""
        return str(self.images.ids[row])


class Analysis(ABC, Generic[Settings]):
    """Subclass it as `Analysis[Config]` in explain/NAME.py; that file is all a new analysis needs."""

    Config: ClassVar[type]  # frozen dataclass beside the class
    needs: ClassVar[frozenset[Need]] = frozenset()  # without these it cannot run
    version: ClassVar[int] = 1  # raised when its results change: results of another version are not reused

    def __init__(self, config: Settings) -> None:
        self.config = config

    @abstractmethod
    def run(self, subject: Subject) -> Findings:
        """Pure in the subject: equal subjects give equal findings, and the encoder stays as it was.

        UserError where this encoder or these images cannot be explained so.
        """

    def require(self, subject: Subject) -> None:
        """UserError that says what is missing, if anything is."""
        for need in sorted(self.needs):
            if not subject.has(need):
                raise UserError(f"{catalog.name_of(type(self))} {MISSING[need]}")

    def explain(self, subject: Subject) -> Findings:
        """`run`, once all that is needed is there."""
        self.require(subject)
        return self.run(subject)

    def how(self, about: Mapping[str, object]) -> dict[str, object]:
        """What decides the findings beside the encoder, as JSON holds it: equal to a saved one's, and nothing is to be done."""
        settings = json.loads(json.dumps(asdict(self.config)))  # type: ignore[call-overload]
        return {"version": self.version, "settings": settings, "about": dict(about)}
