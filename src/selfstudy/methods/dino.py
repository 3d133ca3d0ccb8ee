"""DINO: sort crops of an image, small ones too, as a slowly moving teacher sorts its large crops.

Family  self-distillation, 2021
Source  Caron et al., ICCV 2021, arXiv:2104.14294 (loss: Eq. 1-4 and algorithm 1; head: §3.1 and App. C; training: §3.2; crops:
        §3.1) and its reference code.
Scale   mean over pairs of different views of a cross-entropy over K prototypes: log K while nothing is sorted, and also once
        all targets are uniform; 0 once all images share one prototype. Only the targets' entropies tell.
Rows    N images, V views (the two large ones first). K prototypes, D = width of the bottleneck before them.
Needs   a teacher, a centre against one prototype taking all, a teacher temperature below the student's against the uniform
        (§5.3). Every encoder here, of 8 px or more; its BatchNorm, if it has any, is the reason for BatchNorm in the head.
State   a teacher that follows slowly; the centre of its outputs.
Kin     SwAV balances the prototypes by Sinkhorn instead of a centre; BYOL compares z itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements, Schedule, split_decay
from selfstudy.nn import distributed, ema, heads
from selfstudy.nn.precision import in_float32
from selfstudy.nn.schedules import cosine
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

GLOBAL = ("first", "second")  # the views that the teacher sees


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the head's two hidden layers (paper App. C)
    bottleneck_dim: int = 256  # D (paper App. C)
    num_prototypes: int = 65536  # K (paper App. C)
    num_local: int = 8  # small crops per image, for the student only (reference code)
    local_fraction: float = 96 / 224  # side of a small crop's picture over the image's (paper §3.1)
    temperature: float = 0.1  # of the student (paper §3.2)
    teacher_temperature: float = 0.07  # after its warm-up (paper §3.2)
    teacher_temperature_start: float = 0.04
    teacher_warmup: float = 0.1  # share of the training over which it rises (paper: 30 of 300 epochs)
    momentum: float = 0.996  # of the teacher at the start; a cosine takes it to 1 (paper §3.1)
    centre_momentum: float = 0.9  # m of Eq. 4 (reference code); 1 keeps the centre at 0: no centring
    freeze_epochs: float = 1.0  # during which the prototypes stand still (reference code)
    blur: bool = True  # solo-learn leaves it out for images of 32 px

    def __post_init__(self) -> None:
        if min(self.temperature, self.teacher_temperature, self.teacher_temperature_start) <= 0:
            raise ValueError("temperature, teacher_temperature and teacher_temperature_start must be above 0")
        if self.num_local < 0 or not 0 < self.local_fraction <= 1:
            raise ValueError(
                f"num_local is {self.num_local} and local_fraction {self.local_fraction}, but the one must be 0 or more and the "
                "other above 0 and at most 1"
            )
        if self.num_prototypes < 2:
            raise ValueError(f"num_prototypes is {self.num_prototypes}, but sorting needs at least 2")
        if not 0 <= self.centre_momentum <= 1 or not 0 <= self.momentum <= 1 or not 0 <= self.teacher_warmup <= 1:
            raise ValueError("momentum, centre_momentum and teacher_warmup must lie between 0 and 1")


def rising(start: float, end: float, share: float) -> Schedule:
    """Linear from `start` to `end` over the first `share` of the training, then constant."""
    return lambda progress: start + (end - start) * min(1.0, progress / share) if share > 0 else end


@in_float32
def scores(z: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of every row of [N, D] with every row of [K, D]: [N, K] in [-1, 1].

    Normalising the prototypes here is weight normalisation with its gain fixed at 1, without a second set of weights that
    a teacher would have to follow too.
    """
    return F.linear(F.normalize(z, dim=1), F.normalize(prototypes, dim=1))


@in_float32
def targets(teachers: Tensor, centre: Tensor, temperature: Tensor | float) -> Tensor:
    """The teacher's probabilities, centred, sharpened and without gradient: scores [2, N, K] and centre [K] to [2, N, K]."""
    return ((teachers - centre) / temperature).softmax(2).detach()


@in_float32
def cross_view(students: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Mean over pairs of a target and another view, and over images, of the cross-entropy; [V, N, K] and [2, N, K].

    Range [0, infinity): log K where the student is uniform, whatever the targets; a view is never its own target.
    """
    log_probabilities = (students / temperature).log_softmax(2)
    pairs = -torch.einsum("tnk,vnk->tv", targets, log_probabilities) / students.shape[1]
    return pairs.fill_diagonal_(0.0).sum() / (len(targets) * (len(students) - 1))


def entropy(probabilities: Tensor) -> Tensor:
    """In nats, mean over rows of [..., K]: 0 for one class each, log K for uniform rows."""
    return torch.special.entr(probabilities).sum(-1).mean()


class DINO(Method):
    Config = Settings
    causes = (
        "every target is uniform (loss near log K): too little sharpening (teacher_temperature a fifth of temperature or less) or "
        "too many prototypes for the set (method.num_prototypes 256); one prototype takes all (target_entropy and mean_target_entropy "
        "near 0): a centre too slow (method.centre_momentum 0.5), or a learning rate too high (try a tenth); a teacher that hardly "
        "moves in a short training (method.momentum 0.9)"
    )
    recipes = {
        "paper": Recipe(
            source="paper §3.2 and App. C and reference code: AdamW, 5e-4 x batch / 256, ViT-S/16; weight decay from 0.04 to "
            "0.4 by a cosine; the norm of 3 clips the whole gradient instead of each weight's",
            optimizer="adamw", lr=5e-4, weight_decay=0.04, batch_size=1024, epochs=300, warmup_epochs=10, final_lr_factor=5e-4,
            final_weight_decay_factor=10.0, clip_norm=3.0, backbone="vit_small_patch16_224",
        ),
        "small": Recipe(
            source="two large crops without blur: solo-learn's for CIFAR-10; the teacher's momentum and temperature: lightly's for CIFAR-10; "
            "the student's temperature, centre, widths, prototypes and optimiser: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={
                "hidden_dim": 512, "bottleneck_dim": 64, "num_prototypes": 256, "num_local": 0, "momentum": 0.99, "temperature": 0.2,
                "teacher_temperature": 0.04, "centre_momentum": 0.5, "blur": False,
            },
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(
            smallest_batch=2, smallest_image=papers.SMALLEST_LOCAL
        )  # a centre of one image is that image

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        first, second = (make(data.image_size, blur=config.blur) for make in (papers.dino_first, papers.dino_second))
        if config.num_local == 0:  # reference code: then the two large crops may be as small as 14 %
            first, second = (replace(chain, crop=replace(chain.crop, scale=(0.14, 1.0))) for chain in (first, second))
            return {"first": first, "second": second}
        size = papers.local_size(data.image_size, config.local_fraction)
        return {"first": first, "second": second, "local": papers.dino_local(size, blur=config.blur)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = _head(self.backbone, config)
        self.prototypes = nn.Linear(config.bottleneck_dim, config.num_prototypes, bias=False)
        self.teacher_backbone = ema.teacher_of(self.backbone)
        self.teacher_project = ema.teacher_of(self.project)
        self.teacher_prototypes = ema.teacher_of(self.prototypes)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(config.num_prototypes))
        self.local = tuple(f"local{number}" for number in range(config.num_local))

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        slots = {name: name for name in GLOBAL} | dict.fromkeys(self.local, "local")
        made = {name: chains[slot](batch.images, batch.index, rng.fork(name)) for name, slot in slots.items()}
        return Views(batch.index, made)

    def embed(self, views: Views, step: Step) -> Embedded:
        large = torch.cat([views[name] for name in GLOBAL])
        embedded = dict(zip(GLOBAL, self.backbone(large).chunk(2), strict=True))
        if self.local:
            small = self.backbone(torch.cat([views[name] for name in self.local]))
            embedded |= zip(self.local, small.chunk(len(self.local)), strict=True)
        with torch.no_grad():
            first, second = self.teacher_backbone(large).chunk(2)
        return {**embedded, "teacher_first": first, "teacher_second": second}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        names = (*GLOBAL, *self.local)
        h = torch.cat([embedded[name] for name in names])  # [V N, backbone.dim]
        z = self.project(h)  # [V N, D]
        students = scores(z, self.prototypes.weight).unflatten(0, (len(names), -1))
        with torch.no_grad():
            teacher_z = self.teacher_project(torch.cat([embedded[f"teacher_{name}"] for name in GLOBAL]))
            teachers = scores(teacher_z, self.teacher_prototypes.weight).unflatten(0, (2, -1))
            goal = targets(teachers, self.centre, step.scheduled["teacher_temperature"])
            centre = distributed.gather(teachers.mean((0, 1), keepdim=True)).mean((0, 1))  # of all processes' images
        large = 2 * len(views)
        return Output(
            loss=cross_view(students, goal, self.config.temperature),
            carry={"centre": centre},
            watch={"h": h[:large], "z": z[:large]},
            watched_views=2,
            metrics={"target_entropy": entropy(goal), "mean_target_entropy": entropy(goal.mean((0, 1)))},
        )

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(self.config.num_prototypes)

    def schedules(self) -> Mapping[str, Schedule]:
        config = self.config
        warmup = rising(config.teacher_temperature_start, config.teacher_temperature, config.teacher_warmup)
        return {"momentum": cosine(config.momentum, 1.0), "teacher_temperature": warmup}

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.centre.lerp_(carry["centre"], 1.0 - self.config.centre_momentum)  # Eq. 4; this step's loss had the old one
        ema.follow(self.teacher_backbone, self.backbone, step.scheduled["momentum"])
        ema.follow(self.teacher_project, self.project, step.scheduled["momentum"])
        ema.follow(self.teacher_prototypes, self.prototypes, step.scheduled["momentum"])

    def param_groups(self) -> Sequence[ParamGroup]:
        others = [*self.backbone.parameters(), *self.project.parameters()]
        last = ParamGroup(params=list(self.prototypes.parameters()), freeze_until_epoch=self.config.freeze_epochs)
        return [*split_decay(others), last]

    def encoder(self) -> tuple[Backbone, Feed]:
        """The teacher's: an average over many students, it is the better one all through the training (§5.2)."""
        return self.teacher_backbone, Feed(size=self.data.image_size, channels=self.data.channels)


def _head(backbone: Backbone, config: Settings) -> nn.Sequential:
    """§3.1: without BatchNorm for transformers, which have none; the reference code puts it in for convolutional networks."""
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in backbone.modules())
    head = heads.mlp(
        backbone.dim, config.hidden_dim, config.hidden_dim, config.bottleneck_dim, activation="gelu",
        hidden_norm="batch" if has_batch_norm else "none",
    )  # fmt: skip
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)  # reference code
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return head
