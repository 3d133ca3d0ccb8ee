"""MoCo v3: predict a slowly moving encoder's projection of the other view, among those of the whole batch.

Family  contrastive, 2021
Source  Chen, Xie, He, ICCV 2021, arXiv:2104.02057 (loss: Alg. 1; heads and training: §5 and its code; patches: §4.2).
Scale   2 * temperature * the sum of both directions' cross-entropies, as in its code: its learning rates belong to that factor.
Rows    N images, so N keys and N - 1 negatives a query. D = projection width.
Needs   batches of many images, since the negatives come from the batch; a teacher. In a plain vision transformer the projection
        of the patches stays as it was at the start, which the paper found to keep training stable; its position
        embeddings learn here, where the paper's are fixed sines.
State   a key encoder that follows slowly.
Kin     BYOL has no negatives; MoCo takes them from a queue and has no predictor.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.errors import UserError
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements, Schedule
from selfstudy.nn import distributed, ema, heads
from selfstudy.nn.precision import in_float32
from selfstudy.nn.schedules import cosine
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 4096  # width of the hidden layers of projector and predictor
    out_dim: int = 256  # D
    temperature: float = 0.2  # similarities are divided by it; 1.0 for ResNet-50
    momentum: float = 0.99  # of the teacher at the start; a cosine takes it to 1 (0.996 for ResNet-50 and 1000 epochs)
    smallest_crop: float = 0.08  # share of the image's area; 0.2 for ResNet-50
    blur: bool = True  # solo-learn leaves it out for CIFAR-10

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"temperature is {self.temperature}, but similarities are divided by it: it must be above 0"
            )
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}, but must lie between 0 (no memory) and 1 (never moves)")
        if not 0 < self.smallest_crop <= 1:
            raise ValueError(f"smallest_crop is {self.smallest_crop}, but is a share: above 0 and at most 1")


@in_float32
def batch_contrast(q: Tensor, k: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """2 * temperature * the mean cross-entropy of naming a query's key among the N keys; and the share of queries named.

    Both are [N, D] of any length > 0, row i of image i; no gradient reaches k. Range [0, infinity). All rows equal:
    2 * temperature * log N. q = k, orthogonal between images: 2 * temperature * log(1 + (N - 1) exp(-1 / temperature)).
    """
    logits = F.normalize(q, dim=1) @ F.normalize(k.detach(), dim=1).T / temperature
    image = torch.arange(len(q), device=q.device)
    return 2 * temperature * F.cross_entropy(logits, image), (logits.argmax(1) == image).float().mean()


def is_transformer(backbone: Backbone) -> bool:
    """Whether the backbone is a plain vision transformer: whether it has patches."""
    try:
        return backbone.patch_size > 0
    except UserError:
        return False


def freeze_patch_projection(backbone: Backbone) -> None:
    """No gradient for the first convolution of a vision transformer; starting weights, also published ones, stay."""
    projection = next((module for module in backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if projection is not None:
        projection.requires_grad_(False)


class MoCoV3(Method):
    Config = Settings
    causes = (
        "a learning rate too high, which unsettles transformers first (try a tenth, or a longer warm-up); batches of so few images that "
        "naming is easy; a teacher that follows too fast (raise method.momentum towards 0.996); views so strong that nothing "
        "is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §5 and its code for ViT-S (12 heads there, 6 in timm's): AdamW, learning rate "
            "1.5e-4 x batch / 256",
            optimizer="adamw", lr=1.5e-4, weight_decay=0.1, batch_size=4096, epochs=300, warmup_epochs=40,
            backbone="vit_small_patch16_224",
        ),
        "small": Recipe(
            source="temperature, momentum, crops and no blur: solo-learn for CIFAR-10; optimiser, width and length: "
            "benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"hidden_dim": 1024, "blur": False},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # one image has no negatives

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        pair = {"first": papers.byol_first, "second": papers.byol_second}
        own = {name: chain(data.image_size, blur=config.blur) for name, chain in pair.items()}
        scale = (config.smallest_crop, 1.0)
        return {name: replace(chain, crop=replace(chain.crop, scale=scale)) for name, chain in own.items()}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.transformer = is_transformer(self.backbone)
        if self.transformer:
            freeze_patch_projection(self.backbone)
        # The code's heads: no biases; transformers get one layer more, and BatchNorm at the predictor's end too.
        hidden = [config.hidden_dim] * (2 if self.transformer else 1)
        self.project = heads.mlp(self.backbone.dim, *hidden, config.out_dim, last_norm="batch_no_affine")
        self.predict = heads.mlp(
            config.out_dim, config.hidden_dim, config.out_dim,
            last_norm="batch_no_affine" if self.transformer else "none", last_bias=False,
        )  # fmt: skip
        self.teacher_backbone = ema.teacher_of(self.backbone)
        self.teacher_project = ema.teacher_of(self.project)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(
            batch.index, {name: chains[name](batch.images, batch.index, rng.fork(name)) for name in ("first", "second")}
        )

    def embed(self, views: Views, step: Step) -> Embedded:
        images = torch.cat([views["first"], views["second"]])
        first, second = self.backbone(images).chunk(2)
        with torch.no_grad():
            teacher_first, teacher_second = self.teacher_backbone(images).chunk(2)
        return {"first": first, "second": second, "teacher_first": teacher_first, "teacher_second": teacher_second}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])  # [2N, backbone.dim]
        z = self.project(h)  # [2N, D]
        q_first, q_second = (distributed.gather(q) for q in self.predict(z).chunk(2))
        with torch.no_grad():
            teacher_h = torch.cat([embedded["teacher_first"], embedded["teacher_second"]])
            k_first, k_second = (distributed.gather(k) for k in self.teacher_project(teacher_h).chunk(2))
        there, named_there = batch_contrast(q_first, k_second, self.config.temperature)
        back, named_back = batch_contrast(q_second, k_first, self.config.temperature)
        return Output(
            loss=there + back,
            watch={"h": h, "z": z},
            watched_views=2,
            metrics={"accuracy": (named_there + named_back) / 2},
        )

    def schedules(self) -> Mapping[str, Schedule]:
        return {"momentum": cosine(self.config.momentum, 1.0)}

    def after_step(self, carry: Tensors, step: Step) -> None:
        ema.follow(self.teacher_backbone, self.backbone, step.scheduled["momentum"])
        ema.follow(self.teacher_project, self.project, step.scheduled["momentum"])

    def param_groups(self) -> Sequence[ParamGroup]:
        """As in its code biases and norms decay too where the backbone is a transformer."""
        if not self.transformer:
            return super().param_groups()
        return [ParamGroup(params=[p for p in self.parameters() if p.requires_grad])]

    def loss_of_nothing(self, batch_size: int) -> float:
        return 4 * self.config.temperature * math.log(batch_size)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
