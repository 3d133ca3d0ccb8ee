"""distill: regress a large teacher's features from the backbone's: what the teacher learned, in an encoder that is small.

Family  from a teacher, 2015
Source  Romero et al., ICLR 2015, "FitNets", arXiv:1412.6550 (its hints: features of a trained teacher, regressed
        through an extra layer); Beyer et al., CVPR 2022, arXiv:2106.05237 (teacher and student see the same view, and
        training is long).
Scale   cosine: mean over images of 1 - cos, 0 to 2; squared: mean over images and dimensions of the squared error. Both
        are 0 for a perfect student and 1 for one that learned nothing, since each of the teacher's dimensions has zero
        mean and unit variance over the batch. Without that the common part of all features would be most of the match.
Rows    N images; T = the teacher's width.
Needs   a teacher: any model of timm by name, with timm's weights or a file of them. Grey or RGB images; batches of many,
        whose statistics stand for the set's. Any backbone. The teacher costs a forward pass of every view at its own size.
State   none: the teacher stays as it is, and is no part of a checkpoint.
Kin     BYOL's teacher is the student's own past. What the teacher cannot tell apart this student will not learn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Encoder, Feed
from selfstudy.errors import UserError
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, papers
from selfstudy.weights import PUBLISHED, published

VARIANCE_FLOOR = 1e-8  # of a teacher's dimension: one that is the same for all images stays 0


@dataclass(frozen=True, kw_only=True)
class Settings:
    teacher: str = ""  # timm's name, with or without the tag of its weights; there is no default worth its bill
    weights: str = ""  # a file of the teacher's weights; empty: timm's, from its cache or the hub
    loss: Literal["cosine", "squared"] = "cosine"


@in_float32
def cosine_distance(z: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of 1 - cos(z, target), both [N, T]; no gradient reaches the target.

    Range [0, 2]: 0 where they point the same way, 1 where orthogonal, 2 where opposite.
    """
    return (1 - F.cosine_similarity(z, target.detach(), dim=1)).mean()


@in_float32
def squared_distance(z: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of [N, T]; no gradient reaches the target. z = 0 gives 1 for standardised targets."""
    return F.mse_loss(z, target.detach())


class Teacher(nn.Module):
    """A frozen timm model that sees views as it was trained to: at its size, in colour, normalised by its statistics (its backbone does that)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.backbone, self.dim, self.size = encoder.backbone, encoder.dim, encoder.feed.size
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """Float [N, 1 or 3, S, S] in [0, 1] to [N, dim]."""
        size = (self.size, self.size)
        views = F.interpolate(views, size, mode="bicubic", antialias=True, align_corners=False).clamp(0.0, 1.0)
        return self.backbone(views.expand(-1, 3, -1, -1))


class Distill(Method):
    Config = Settings
    causes = (
        "a teacher that sees no difference between these images (evaluate it with `pretrained`); a file with other weights than "
        "the teacher's; a learning rate too high (try a tenth)"
    )
    recipes = {
        "paper": Recipe(
            source="shared views, long training: Beyer et al.; they match classes, so rate, decay and batch are ours",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=512, epochs=300, warmup_epochs=10, backbone="resnet50",
        ),
        "small": Recipe(
            source="benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, channels=(1, 3))  # a single image has no variance

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.mae(data.image_size)}  # crops and flips; colours are what a teacher may go by

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        if not config.teacher:
            raise UserError(
                "distill needs a teacher: set method.teacher to the name of a timm model, such as resnet50.a1_in1k or "
                "vit_small_patch14_dinov2.lvd142m"
            )
        self.backbone = make_backbone()
        teacher = Teacher(published(config.teacher, config.weights or PUBLISHED, channels=3))
        self.project = nn.Linear(self.backbone.dim, teacher.dim)
        self.standardise = nn.BatchNorm1d(teacher.dim, eps=VARIANCE_FLOOR, affine=False)
        # In a tuple no module sees it: neither optimiser, nor checkpoint, nor train().
        self.frozen = (teacher,)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `to`, `double` and the like do to every weight: the teacher goes along."""
        self.frozen[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.backbone(views["base"]), "teacher": self.frozen[0](views["base"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        z = self.project(embedded["h"])  # [N, T]
        target = in_float32(self.standardise)(embedded["teacher"].detach())
        distance = cosine_distance if self.config.loss == "cosine" else squared_distance
        return Output(
            loss=distance(z, target),
            watch={"h": embedded["h"], "z": z},
            metrics={"cosine": 1 - cosine_distance(z, target).detach()},
        )

    def loss_of_nothing(self, batch_size: int) -> float:
        return 1.0

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
