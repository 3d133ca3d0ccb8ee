"""BYOL: predict a slowly moving teacher's projection of the other view, without negatives.

Family  joint embedding without negatives, 2020
Source  Grill et al., NeurIPS 2020, arXiv:2006.07733 (loss: Eq. 2; architecture: §3.3; views: App. B; training: §3.3).
Scale   sum of both directions, each 2 - 2 cos: 0 to 8, about 4 at the start. lightly's half-sum of negative cosines is
        this value / 4 - 1; averaging the two directions instead of adding them cost it 11 points (lightly#1286).
Rows    N images. D = projection width.
Needs   BatchNorm inside the heads (without it, it collapses from the default initialisation), a teacher.
State   a teacher that follows slowly.
Kin     SimSiam has no teacher; MoCo v3 adds negatives.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements, Schedule
from selfstudy.nn import ema, heads
from selfstudy.nn.precision import in_float32
from selfstudy.nn.schedules import cosine
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 4096  # width of the hidden layer of projector and predictor
    out_dim: int = 256  # D
    momentum: float = 0.996  # of the teacher at the start; a cosine takes it to 1 (0.99 for 300 epochs, paper App. F)


@in_float32
def regression(p: Tensor, z: Tensor) -> Tensor:
    """Mean over rows of |p/|p| - z/|z||^2 = 2 - 2 cos(p, z); p and z are [N, D]; no gradient reaches z.

    Range [0, 4]: 0 where they point the same way, 2 where orthogonal, 4 where opposite.
    """
    return (2 - 2 * F.cosine_similarity(p, z.detach(), dim=1)).mean()


class BYOL(Method):
    Config = Settings
    causes = (
        "a learning rate made for LARS used with another optimiser (AdamW: 1e-3, never 0.3); a head without BatchNorm; a teacher "
        "that follows too fast (raise method.momentum towards 0.99); views so strong that nothing is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §3.3: LARS, learning rate 0.2 x batch / 256, 10 warm-up epochs, ResNet-50",
            optimizer="lars", lr=0.2, weight_decay=1.5e-6, batch_size=4096, epochs=1000, warmup_epochs=10, backbone="resnet50",
        ),
        "small": Recipe(
            source="momentum: paper App. F (300 epochs); optimiser and widths: benchmarks/digits.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"momentum": 0.99, "hidden_dim": 1024},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the heads

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"first": papers.byol_first(data.image_size), "second": papers.byol_second(data.image_size)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        # §3.3: Linear with bias, BatchNorm, ReLU, Linear without bias and without BatchNorm.
        self.project = heads.mlp(
            self.backbone.dim, config.hidden_dim, config.out_dim, hidden_bias=True, last_bias=False
        )
        self.predict = heads.mlp(config.out_dim, config.hidden_dim, config.out_dim, hidden_bias=True, last_bias=False)
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
        p_first, p_second = self.predict(z).chunk(2)
        with torch.no_grad():
            teacher_h = torch.cat([embedded["teacher_first"], embedded["teacher_second"]])
            target_first, target_second = self.teacher_project(teacher_h).chunk(2)
        loss = regression(p_first, target_second) + regression(p_second, target_first)
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2)

    def schedules(self) -> Mapping[str, Schedule]:
        return {"momentum": cosine(self.config.momentum, 1.0)}

    def after_step(self, carry: Tensors, step: Step) -> None:
        ema.follow(self.teacher_backbone, self.backbone, step.scheduled["momentum"])
        ema.follow(self.teacher_project, self.project, step.scheduled["momentum"])

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
