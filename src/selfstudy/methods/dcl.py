"""DCL: SimCLR whose positive pair is no longer among what it is compared with.

Family  contrastive, 2022
Source  Yeh, Hong, Hsu, Liu, Chen, LeCun, ECCV 2022, arXiv:2110.06848 (loss: Eq. 6; weighted form: its DCLW).
Scale   mean over the 2N anchors. Unlike SimCLR's it may be negative: it lies within 2 / temperature of log(2N - 2).
Rows    N images; rows i and i + N of the embeddings are the two views of image i. D = projection width.
Needs   at least two images in a batch; learns from smaller batches than SimCLR, and with more of them. No teacher, no state.
State   none.
Kin     SimCLR keeps the positive in the denominator, which weakens the gradient of easy pairs in small batches.
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
    temperature: float = 0.1  # similarities are divided by it
    weighted: bool = False  # DCLW: pairs whose views differ most count most
    sigma: float = 0.5  # how sharply DCLW's weights follow the similarity; unused unless weighted
    jitter_strength: float = 1.0  # 0.5 for small images (SimCLR App. B.9)
    blur: bool = True  # SimCLR leaves it out for CIFAR-10 (App. B.9)

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.sigma <= 0:
            raise ValueError(f"temperature {self.temperature} and sigma {self.sigma} divide: both must be above 0")


@in_float32
def decoupled_contrast(z: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """Mean over rows of log(sum over the 2N - 2 rows of other images of exp(s)) - weight * s of the row's other view.

    z is [2N, D], of any length > 0, s the cosine / temperature; weight is [N], of the images. With weights of 1: range
    log(2N - 2) +- 2 / temperature; all rows equal: log(2N - 2); orthogonal images with identical views:
    log(2N - 2) - 1 / temperature.
    """
    z = F.normalize(z, dim=1)
    logits = z @ z.T / temperature
    row = torch.arange(len(z), device=z.device)
    same_image = row[:, None] % len(weight) == row % len(weight)  # the row itself and its other view
    positive = logits[row, row.roll(len(weight))]  # i <-> i + N
    negative = logits.masked_fill(same_image, -torch.inf).logsumexp(1)
    return (negative - weight.repeat(2) * positive).mean()


@in_float32
def mises_fisher_weight(z: Tensor, sigma: float) -> Tensor:
    """2 - exp(c / sigma) / its mean over images, [N], of the cosine c of an image's two views; no gradient.

    The mean over images is 1; a pair more alike than most gets less, a negative weight at worst. Large sigma: all 1.
    """
    first, second = z.detach().chunk(2)
    alike = F.cosine_similarity(first, second, dim=1) / sigma
    return 2 - len(alike) * alike.softmax(0)


class DCL(Method):
    Config = Settings
    causes = (
        "a learning rate too high for this optimiser (try a tenth); a temperature so high that all pairs look alike (try 0.2); "
        "views so strong that nothing is left in common (fewer or gentler operations under views); weighted, with a sigma "
        "so small that most pairs are pushed apart (try 0.5)"
    )
    recipes = {
        "paper": Recipe(
            source="batch and length: paper abstract; the rest is SimCLR's (App. B.1: learning rate 0.075 x root of the batch), as in "
            "lightly's ImageNet benchmark of DCL",
            optimizer="lars", lr=1.2, lr_scaling="sqrt", weight_decay=1e-6, batch_size=256, epochs=200, warmup_epochs=10,
            backbone="resnet50",
        ),
        "small": Recipe(
            source="views and temperature: SimCLR App. B.9 (CIFAR-10), as lightly's CIFAR-10 benchmark of DCL; optimiser and "
            "length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"temperature": 0.5, "jitter_strength": 0.5, "blur": False, "hidden_dim": 512},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # one image has no negatives: the sum over none is 0, its log -infinity

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
        h = torch.cat([embedded["first"], embedded["second"]])  # [2N, backbone.dim]
        z = self.project(h)  # [2N, D]
        first, second = (distributed.gather(half) for half in z.chunk(2))
        everyone = torch.cat([first, second])
        weight = mises_fisher_weight(everyone, self.config.sigma) if self.config.weighted else z.new_ones(len(first))
        loss = decoupled_contrast(everyone, weight, self.config.temperature)
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2)

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 2)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
