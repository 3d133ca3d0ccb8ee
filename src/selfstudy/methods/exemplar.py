"""Exemplar: make every image a class of its own, known by its altered copies.

Family  pretext, 2014 and 2019
Source  classes: Dosovitskiy, Springenberg, Riedmiller, Brox, NeurIPS 2014 and PAMI 2016, arXiv:1406.6909. Triplets:
        Kolesnikov, Zhai, Beyer, CVPR 2019, arXiv:1901.09005, and its code; semi-hard negatives: Schroff, Kalenichenko,
        Philbin, CVPR 2015, arXiv:1503.03832, §3.2. That code normalises embeddings along the batch; here every row.
        Classes by cosine: Cao et al., NeurIPS 2020, arXiv:2006.14618 (parametric instance classification).
Scale   classes: mean cross-entropy, log N at the start. Triplets: mean hinge over all pairs of copies, the margin where
        all embeddings are equal, 0 where every image is farther from all others than its copies lie from each other.
Rows    N images of the set, V copies of each in a batch (1 with classes), D = embedding width.
Needs   classes: at most 16,000 images, as the head has a row for each and look-alikes end up in different classes.
        Triplets: batches of two images. Any backbone.
State   none, or one class for every image.
Kin     SimCLR and MoCo put a softmax over the batch or a queue in the place of the head.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements, split_decay
from selfstudy.nn import distributed
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, Crop, papers
from selfstudy.views.affine import Affine
from selfstudy.views.flip import Flip
from selfstudy.views.grey import Grey
from selfstudy.views.jitter import Jitter

MOST_CLASSES = 16_000  # Dosovitskiy et al. 2016 vary it: best between 8,000 and 16,000, then near duplicates collide


@dataclass(frozen=True, kw_only=True)
class Settings:
    form: Literal["classes", "triplet"] = "classes"
    temperature: float = 0.0  # classes only; 0: plain scores. Above: cosines divided by it (Cao et al. 2020 take 0.2)
    num_crops: int = 8  # V, triplets only
    out_dim: int = 1000  # D, triplets only
    margin: float = 0.5  # of squared distances, which reach 4; triplets only

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError("temperature must be 0 (plain scores) or above (cosines divided by it)")
        if self.num_crops < 2:
            raise ValueError("num_crops must be 2 or more: a triplet holds two copies of one image")
        if self.out_dim < 2:
            raise ValueError("out_dim must be 2 or more: of length 1, a single number is only a sign")
        if not 0.0 < self.margin < 4.0:
            raise ValueError(
                "margin must be above 0 and below 4, the largest squared distance of embeddings of length 1"
            )


@in_float32
def naming_loss(logits: Tensor, index: Tensor) -> Tensor:
    """Mean cross-entropy of [N, classes] scores, where row i is of class index[i]. All scores equal: log of the classes."""
    return F.cross_entropy(logits, index)


@in_float32
def cosine_scores(h: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """[N, D] features and [classes, D] rows, of any length > 0, to [N, classes]: within 1 / temperature of 0."""
    return F.linear(F.normalize(h, dim=1), F.normalize(rows, dim=1)) / temperature


def squared_distances(z: Tensor) -> Tensor:
    """[N, V, D], of any length > 0, to [N, V, N, V]: between all copies of all images, on the unit sphere, 0 to 4."""
    rows = F.normalize(z, dim=2).flatten(0, 1)
    return (2 - 2 * rows @ rows.T).view(*z.shape[:2], *z.shape[:2])


@in_float32
def triplet_loss(z: Tensor, margin: float) -> Tensor:
    """Mean over all (anchor, other copy) of max(0, to the copy - to a negative + margin), squared; z is [N, V, D].

    The negative is the nearest copy of another image that is farther away than the anchor's own copy (semi-hard), or
    the farthest of all where none is. All rows equal: the margin. Images farther apart than the margin from their
    well-packed copies: 0. Range [0, 4 + margin].
    """
    n, v = z.shape[:2]
    distance = squared_distances(z)
    to_copy = distance.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [N, V, V]
    same_image = torch.eye(n, dtype=torch.bool, device=z.device)[:, None, :, None]
    to_others = distance.masked_fill(same_image, torch.inf).flatten(2)[:, :, None]  # [N, V, 1, N * V]
    nearest = torch.where(to_others > to_copy[..., None], to_others, torch.inf).amin(3)  # [N, V, V]
    farthest = distance.masked_fill(same_image, -torch.inf).flatten(2).amax(2)[:, :, None]
    negative = torch.where(nearest.isinf(), farthest, nearest)
    another_copy = 1 - torch.eye(v, device=z.device, dtype=z.dtype)
    return ((to_copy - negative + margin).relu() * another_copy).sum() / (n * v * (v - 1))


def nearest_is_own(z: Tensor) -> Tensor:
    """The share of [N, V, D] rows whose nearest other row is of the same image; (V - 1) / (N V - 1) by chance."""
    n, v = z.shape[:2]
    distance = squared_distances(z.float()).view(n * v, n * v).fill_diagonal_(torch.inf)
    return (distance.argmin(1) // v == torch.arange(n * v, device=z.device) // v).float().mean()


class Exemplar(Method):
    Config = Settings
    causes = (
        "near duplicates among the images, which must not look alike here (remove them, or take simclr); a learning rate too high "
        "(try a tenth); copies altered so much that nothing is left in common; with triplets, a margin too small (try 0.5)"
    )
    recipes = {
        "paper": Recipe(
            source=(
                "triplets, Kolesnikov et al. 2019, code: SGD, learning rate 0.1 for 256 images, 5 warm-up epochs, ResNet-50; a "
                "cosine instead of its steps. Dosovitskiy et al. trained networks of their own on 32 px patches"
            ),
            optimizer="sgd", lr=0.1, weight_decay=1e-4, batch_size=64, epochs=35, warmup_epochs=5, backbone="resnet50",
            config={"form": "triplet"},
        ),
        "small": Recipe(
            source="classes and views: Dosovitskiy et al. 2014; optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"temperature": 0.1, "num_crops": 4, "out_dim": 128},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        if config.form == "triplet":
            return Requirements(smallest_batch=2, least_images=2)  # a negative is another image's
        return Requirements(least_images=2, most_images=MOST_CLASSES, held_out_loss=False)

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        if config.form == "triplet":  # Kolesnikov et al., code: to_gray with 0.66, random crops
            grey = (Grey(p=0.66),) if data.channels == 3 else ()
            return {"base": Chain(size=data.image_size, crop=Crop(), steps=(Flip(p=0.5), *grey))}
        # Dosovitskiy et al.: moved by a fifth, scaled by 0.7 to 1.4, turned by 20 degrees, hue by a tenth. Brightness
        # and saturation (theirs 0.7 to 1.4) and contrast (theirs 0.5 to 2, along principal colours) as near as our
        # jitter comes.
        moved = Affine(degrees=20.0, translate=0.2, scale=(0.7, 1.4), shear=0.0)
        coloured = Jitter(p=1.0, brightness=0.3, contrast=0.5, saturation=0.3, hue=0.1)
        return {"base": papers.whole(data.image_size).with_steps((moved, coloured))}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.num_copies = config.num_crops if config.form == "triplet" else 1
        by_cosine = config.form == "classes" and config.temperature > 0
        outputs = config.out_dim if config.form == "triplet" else data.num_images
        self.head = nn.Linear(self.backbone.dim, outputs, bias=not by_cosine)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        copies = [chains["base"](batch.images, batch.index, rng.fork("copy", i)) for i in range(self.num_copies)]
        return Views(batch.index, {"copies": torch.stack(copies, dim=1)})  # [N, V, C, S, S]

    def embed(self, views: Views, step: Step) -> Embedded:
        h = self.backbone(views["copies"].flatten(0, 1))
        return {"h": h.unflatten(0, (len(views), -1))}  # [N, V, backbone.dim]

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        by_view = embedded["h"].transpose(0, 1).flatten(0, 1)  # [V * N, backbone.dim]: one whole view after the other
        if self.config.form == "classes":
            temperature = self.config.temperature
            logits = cosine_scores(by_view, self.head.weight, temperature) if temperature > 0 else self.head(by_view)
            correct = (logits.argmax(1) == views.index).float().mean()
            return Output(
                loss=naming_loss(logits, views.index), watch={"h": by_view}, metrics={"pretext_accuracy": correct}
            )
        z = self.head(embedded["h"])  # [N, V, D]
        everyone = distributed.gather(z)
        return Output(
            loss=triplet_loss(everyone, self.config.margin), watched_views=self.num_copies,
            watch={"h": by_view, "z": z.transpose(0, 1).flatten(0, 1)},
            metrics={"pretext_accuracy": nearest_is_own(everyone.detach())},
        )  # fmt: skip

    def loss_of_nothing(self, batch_size: int) -> float:
        return self.config.margin if self.config.form == "triplet" else math.log(self.data.num_images)

    def param_groups(self) -> Sequence[ParamGroup]:
        """With classes the head does not decay: between two of its visits an image's row would only shrink."""
        if self.config.form == "triplet":
            return super().param_groups()
        head = list(self.head.parameters())
        return [*split_decay(self.backbone.parameters()), ParamGroup(params=head, weight_decay_scale=0.0)]

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
