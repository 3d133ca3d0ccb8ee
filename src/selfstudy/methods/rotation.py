"""Rotation: name the angle by which each image was turned.

Family  pretext, 2018
Source  Gidaris, Singh, Komodakis, ICLR 2018, arXiv:1803.07728 (task: §2; CIFAR-10 and the sets of angles: §3.1).
        On CIFAR-10 the paper found 4 angles best, then 8, then 0 and 180, then 90 and 270 degrees.
Scale   mean cross-entropy over all copies: log R at the start, 0 for a solved task.
Rows    N images, R angles; the R copies of an image lie in dimension 1 and are all in the batch, as in the paper.
Needs   images with an upright. A digit 0, 1 or 8, a texture, a picture from above or a round thing cannot be solved;
        files turned by their camera must be upright when they are loaded. Any backbone.
State   none.
Kin     context and jigsaw ask where parts lie; exemplar wants turned copies to look alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, Operation, papers
from selfstudy.views.affine import Affine, affine
from selfstudy.views.flip import Flip


@dataclass(frozen=True, kw_only=True)
class Settings:
    angles: tuple[int, ...] = (0, 90, 180, 270)  # classes, in degrees counter-clockwise: multiples of 45

    def __post_init__(self) -> None:
        if len(self.angles) < 2 or len(set(self.angles)) < len(self.angles):
            raise ValueError("angles must be at least two different ones: each is a class")
        if any(angle % 45 != 0 or not 0 <= angle < 360 for angle in self.angles):
            raise ValueError("angles must be multiples of 45 degrees from 0 to 315, such as 0,90,180,270")


def turned(images: Tensor, angles: Sequence[int]) -> Tensor:
    """[N, C, S, S] to [N, R, C, S, S]: copy r is turned counter-clockwise by angles[r] degrees.

    Quarter turns move pixels and change none, so nothing but the content tells them apart. With any other angle all
    copies, upright ones too, show the middle square of side S / sqrt(2), which no angle turns out of the image, read
    bilinearly at S x S places: else black corners or a blur would tell the angle.
    """
    start = {0: images}
    if any(angle % 90 for angle in angles):
        start = {angle: _middle(images, angle) for angle in (0, 45)}
    return torch.stack([start[angle % 90].rot90(angle // 90, (2, 3)) for angle in angles], dim=1)


def _middle(images: Tensor, angle: int) -> Tensor:
    clockwise, enlarged = (images.new_full((len(images),), value) for value in (-float(angle), math.sqrt(2.0)))
    nothing = images.new_zeros(len(images), 2)
    return affine(images, clockwise, nothing, enlarged, nothing[:, 0])


def closest(angles: Sequence[int]) -> int:
    """Degrees between the two classes that are hardest to tell apart: 90 for 0, 90, 180, 270."""
    around = sorted(angles)
    return min(second - first for first, second in pairwise([*around, around[0] + 360]))


@in_float32
def naming_loss(logits: Tensor) -> Tensor:
    """Mean cross-entropy of [N, R, R] class scores, where copy r is of class r. All scores equal: log R."""
    classes = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), classes.flatten())


class Rotation(Method):
    Config = Settings
    causes = (
        "images without an upright, or all turned already: no angle can be told (try exemplar or simclr); a learning rate too high "
        "(try a tenth); a task solved by one trivial cue, such as a logo or a border that always lies on the same side"
    )
    recipes = {
        "paper": Recipe(
            source=(
                "the paper's code for CIFAR-10: SGD, learning rate 0.1 for 128 images, twice the paper's 100 epochs "
                "(§3.1); a cosine instead of its steps, ResNet-18 instead of its network in network"
            ),
            optimizer="sgd", lr=0.1, lr_scaling="none", weight_decay=5e-4, batch_size=128, epochs=200, warmup_epochs=0,
            backbone="resnet18",
        ),
        "small": Recipe(
            source="views: the code for CIFAR-10; angles: paper §3.1; optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
        ),
    }  # fmt: skip

    @classmethod
    def spoils(cls, config: Settings, operation: Operation) -> str:
        if isinstance(operation, Flip) and operation.vertical:
            return "an image upside down looks like the mirror image turned by 180 degrees, so its label would be wrong"
        limit = closest(config.angles) / 2
        if isinstance(operation, Affine) and operation.degrees >= limit:
            return (
                f"turned by up to {operation.degrees:g} degrees, an image looks like one of another class; keep degrees "
                f"below {limit:g}, half the distance between two classes"
            )
        return ""

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        # The paper's code for CIFAR-10: 4 of 32 pixels of black around the image, a random crop, a mirror image.
        shift = Affine(degrees=0.0, translate=0.125, scale=(1.0, 1.0), shear=0.0)
        return {"base": papers.whole(data.image_size).with_steps((shift, Flip(p=0.5)))}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.classify = nn.Linear(self.backbone.dim, len(config.angles))

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        upright = chains["base"](batch.images, batch.index, rng)
        return Views(batch.index, {"turned": turned(upright, self.config.angles)})

    def embed(self, views: Views, step: Step) -> Embedded:
        h = self.backbone(views["turned"].flatten(0, 1))  # one call: BatchNorm sees all angles
        return {"h": h.unflatten(0, (len(views), -1))}  # [N, R, backbone.dim]

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = embedded["h"]
        logits = self.classify(h)  # [N, R, R]
        correct = logits.argmax(2) == torch.arange(h.shape[1], device=h.device)
        return Output(
            loss=naming_loss(logits), watch={"h": h.transpose(0, 1).flatten(0, 1)}, watched_views=h.shape[1],
            metrics={"pretext_accuracy": correct.float().mean()},
        )  # fmt: skip

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(len(self.config.angles))

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
