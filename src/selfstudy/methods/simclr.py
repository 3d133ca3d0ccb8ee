"""SimCLR: name each image's other view among all views of the batch.

Family  contrastive, 2020
Source  Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv:2002.05709 (loss: Eq. 1; views: App. A; training: §2.3
        and App. B.1).
Scale   mean over the 2N anchors, as in the paper; google-research/simclr reports twice this value.
Rows    N images; rows i and i + N of the embeddings are the two views of image i. D = projection width.
Needs   batches with many images, since the negatives come from the batch. No labels, no state, no teacher.
State   none.
Kin     DCL drops the positive from the denominator; MoCo takes its negatives from a queue.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import distributed, heads
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's hidden layer
    out_dim: int = 128  # D
    temperature: float = 0.1  # similarities are divided by it; the paper tunes it with the batch size and the data
    jitter_strength: float = 1.0  # 0.5 for small images (paper App. B.9)
    blur: bool = True  # the paper leaves it out for CIFAR-10 (App. B.9)


@in_float32
def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of naming a row's other view among the 2N - 1 other rows; z is [2N, D], of any length > 0.

    Range [0, infinity). All rows equal: log(2N - 1). Orthogonal images with identical views:
    log(1 + 2(N - 1) exp(-1 / temperature)).
    """
    z = F.normalize(z, dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)  # a row is not its own negative
    other_view = torch.arange(len(z), device=z.device).roll(len(z) // 2)  # i <-> i + N
    return F.cross_entropy(logits, other_view)


class SimCLR(Method):
    Config = Settings
    causes = (
        "a learning rate too high for this optimiser (try a tenth); a temperature so high that all pairs look alike (try 0.2); "
        "views so strong that nothing is left in common (fewer or gentler operations under views)"
    )
    recipes = {
        "paper": Recipe(
            source="paper §2.3 and App. B.1: LARS, learning rate 0.3 x batch / 256, 10 warm-up epochs, ResNet-50",
            optimizer="lars", lr=0.3, weight_decay=1e-6, batch_size=4096, epochs=1000, warmup_epochs=10, backbone="resnet50",
        ),
        "small": Recipe(
            source="views and temperature: paper App. B.9 (CIFAR-10); optimiser and length: benchmarks/digits.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"temperature": 0.5, "jitter_strength": 0.5, "blur": False, "hidden_dim": 512},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # one image has no negatives

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.simclr(data.image_size, strength=config.jitter_strength, blur=config.blur)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = heads.mlp(self.backbone.dim, config.hidden_dim, config.out_dim, last_norm="batch")

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        pair = {name: chains["base"](batch.images, batch.index, rng.fork(name)) for name in ("first", "second")}
        return Views(batch.index, pair)

    def embed(self, views: Views, step: Step) -> Embedded:
        h = self.backbone(torch.cat([views["first"], views["second"]]))  # one call: BatchNorm sees both views
        first, second = h.chunk(2)
        return {"first": first, "second": second}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])  # [2N, backbone.dim]: what evaluation will see
        z = self.project(h)  # [2N, D]: thrown away after training
        first, second = z.chunk(2)
        everyone = torch.cat([distributed.gather(first), distributed.gather(second)])
        loss = nt_xent(everyone, self.config.temperature)
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2)

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 1)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
