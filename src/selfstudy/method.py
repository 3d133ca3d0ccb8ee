"""The contract of a method: what a self-supervised method is, and all that training knows of it.

A method is a module whose `forward` returns its loss. It has no optimiser, device, logger, loop, file or callback, and
sees no labels unless it says so. Everything random comes from counter-based streams, so a step can be repeated.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed, Region
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, Operation

Schedule = Callable[[float], float]  # progress in [0, 1] to a value: a pure function, so resume needs no state


class MakeBackbone(Protocol):
    """Each call gives another backbone, differently initialised."""

    def __call__(
        self, *, channels: int | None = None, image_size: int | None = None, region: Region = "whole"
    ) -> Backbone: ...


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What a method needs, checked before anything is built. The defaults ask for nothing."""

    smallest_batch: int = 1
    least_images: int = 1
    most_images: int | None = None  # None: any number
    smallest_image: int = 1  # pixels a side
    channels: tuple[int, ...] = ()  # the numbers of channels it can work with; empty: any
    needs_tokens: bool = False  # only backbones with tokens (vision transformers) will do
    held_out_loss: bool = True  # whether the loss of images it was not trained on means anything


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a method is trained by default, in one regime. "small" means at most 64 px and 100,000 images."""

    source: str  # where these numbers come from
    optimizer: Literal["sgd", "adamw", "lars"]
    lr: float
    lr_scaling: Literal["linear", "sqrt", "none"] = (
        "linear"  # lr is for a batch of 256 images and scaled to the actual one
    )
    weight_decay: float  # at the start
    momentum: float = 0.9  # sgd, lars
    betas: tuple[float, float] = (0.9, 0.999)  # adamw
    batch_size: int
    epochs: int
    warmup_epochs: float
    final_lr_factor: float = 0.0  # the half cosine ends at this share of the peak
    final_weight_decay_factor: float = 1.0  # half a cosine over the whole training ends at this multiple of the start
    clip_norm: float = 0.0  # largest norm of the whole gradient; 0 clips nothing
    backbone: str
    config: Mapping[str, object] = field(
        default_factory=dict
    )  # fields of the method's Config that differ from the paper


@dataclass(frozen=True, kw_only=True)
class ParamGroup:
    """Parameters that are optimised alike."""

    params: Sequence[nn.Parameter]
    lr_scale: float = 1.0
    lr_fixed: bool = False  # True: stays at its peak instead of following warm-up and cosine
    weight_decay_scale: float = 1.0  # 0 for biases and norms
    freeze_until_epoch: float = 0.0  # no updates before this epoch


class Method(nn.Module, ABC):
    """Subclass it in methods/NAME.py; that file is all a new method needs."""

    Config: ClassVar[type]  # frozen dataclass beside the class; its defaults are the paper's
    recipes: ClassVar[Mapping[str, Recipe]]  # "paper", "small"
    version: ClassVar[int] = 1  # raised when the method's results change: results of another version are not reused
    uses_labels: ClassVar[bool] = False
    causes: ClassVar[str]  # "Usual causes": of a collapse of this method, the likeliest first, each with what to change

    @classmethod
    def requires(cls, config: Any, data: DataCard) -> Requirements:
        return Requirements()

    @classmethod
    def spoils(cls, config: Any, operation: Operation) -> str:
        """Why a study may not add this operation to the method's views: how it would spoil the target. "" if it may."""
        return ""

    def loss_of_nothing(self, batch_size: int) -> float | None:
        """The loss while nothing is learned (all embeddings equal, all classes alike): a loss that stays there is stuck.

        None where the loss has no such value, or where that value is also the optimum (BYOL, SimSiam).
        """
        return None

    @classmethod
    @abstractmethod
    def chains(cls, config: Any, data: DataCard) -> Mapping[str, Chain]:
        """The method's slots by name (`base`; DINO: `global`, `local`), each with the paper's chain of operations."""

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Any) -> None:
        """A subclass calls this first, then makes its backbone and heads; initial weights follow torch's generator."""
        super().__init__()
        self.data, self.config = data, config

    @abstractmethod
    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        """What the method sees of a batch: pure in its arguments, reads no parameter."""

    @abstractmethod
    def embed(self, views: Views, step: Step) -> Embedded:
        """The backbone only, image by image: the part that cached gradients split into smaller batches."""

    @abstractmethod
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        """Heads and loss over the whole batch. Changes no state but BatchNorm's; what changes rides in `carry`."""

    def forward(self, views: Views, step: Step) -> Output:
        return self.objective(self.embed(views, step), views, step)

    def schedules(self) -> Mapping[str, Schedule]:
        """Values that change with progress, such as a teacher's momentum; they arrive as `step.scheduled`."""
        return {}

    def after_step(self, carry: Tensors, step: Step) -> None:
        """Teacher, queue, centre: called once per optimiser step, after it."""

    def refresh_due(self, step: Step) -> bool:
        """Whether `refresh` is to be called before this step. Asked at every step; a pure function of it."""
        return False

    def refresh(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor], step: Step) -> None:
        """Relabel the set: `scan(fn)` is fn over all images in index order, concatenated along dimension 0."""

    def param_groups(self) -> Sequence[ParamGroup]:
        """By default biases and the scales of norms (1-D parameters) do not decay."""
        return split_decay(self.parameters())

    def show(self, views: Views, step: Step) -> Tensors:
        """Pictures for people once training is over: what the method was given and what it makes of it, by name.

        Float [N, C, H, W] in [0, 1], image by image; called in eval mode, without gradients. explain/reconstructions.py reads
        "original", "input" and "drawn", explain/jigsaws.py "in order", "shuffled" and "put back". {}: nothing to show.
        """
        return {}

    @abstractmethod
    def encoder(self) -> tuple[Backbone, Feed]:
        """What is kept after training, and how it is fed."""


def split_decay(params: Iterable[nn.Parameter]) -> list[ParamGroup]:
    """Two groups: weights that decay; biases and norms that do not. Parameters without gradient are left out."""
    trained = [p for p in params if p.requires_grad]
    groups = [
        ParamGroup(params=[p for p in trained if p.ndim > 1]),
        ParamGroup(params=[p for p in trained if p.ndim <= 1], weight_decay_scale=0.0),
    ]
    return [group for group in groups if group.params]
