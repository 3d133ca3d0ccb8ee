"""Barlow Twins: make the correlation between two views' projections the identity matrix.

Family  joint embedding by decorrelation, 2021
Source  Zbontar, Jing, Misra, LeCun, Deny, ICML 2021, arXiv:2103.03230 (loss: §2.1, Eq. 1 and 2; views, heads
        and training: §2.2) and its reference code.
Scale   a sum over all D^2 entries, so it grows with D: D while nothing is learned, about 0.005 D^2 / N for independent noise
        on top. solo-learn multiplies by 0.1, and its rates are for that.
Rows    N images. D = projection width.
Needs   batches of some 100 images or more: a correlation of N rows is off by 1 / sqrt(N). A wide projector helps (§4). No
        negatives, teacher, predictor or stop-gradient.
State   none.
Kin     VICReg keeps variance and covariance apart for each view, so neither need be standardised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements, split_decay
from selfstudy.nn import distributed, heads
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, papers

VARIANCE_FLOOR = 1e-5  # BatchNorm's, which the reference code standardises with


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 8192  # width of the projector's two hidden layers
    out_dim: int = 8192  # D
    redundancy_weight: float = 0.0051  # lambda, of the entries off the diagonal (reference code; paper §2.2: 0.005)
    vector_lr_scale: float = 0.0048 / 0.2  # rate of biases and norms over that of weights, for LARS (paper §2.2)
    blur: bool = True  # solo-learn leaves it out for images of 32 px

    def __post_init__(self) -> None:
        if self.redundancy_weight < 0:
            raise ValueError(f"redundancy_weight is {self.redundancy_weight}, but must be 0 or more")
        if self.vector_lr_scale <= 0:
            raise ValueError(f"vector_lr_scale is {self.vector_lr_scale}, but must be above 0: 1 is one rate for all")


@in_float32
def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Between the columns of two views' [N, D], over the batch: [D, D] in [-1, 1]; a column that is constant gives 0."""
    first, second = (
        (z - z.mean(0)) / (z.var(0, unbiased=False) + VARIANCE_FLOOR).sqrt() for z in (first, second)
    )  # fmt: skip
    return first.T @ second / len(first)


@in_float32
def barlow_twins(first: Tensor, second: Tensor, redundancy_weight: float) -> Tensor:
    """Sum of (1 - C_ii)^2 and of redundancy_weight * C_ij^2, where C is the correlation of two views' [N, D].

    Range [0, infinity). Equal views with uncorrelated columns: 0; opposite ones: 4D. All rows equal: D.
    """
    c = correlation(first, second)
    invariance = (1 - c.diagonal()).square().sum()
    redundancy = c.clone().fill_diagonal_(0.0).square().sum()  # subtracting the diagonal's sum would cancel digits
    return invariance + redundancy_weight * redundancy


class BarlowTwins(Method):
    Config = Settings
    causes = (
        "a learning rate too high (try a tenth; the paper's 0.2 is for LARS, with AdamW 1e-3); batches too small to tell a "
        "correlation from chance (try 256); method.redundancy_weight too high, so that agreement is given up (try 0.005); views so "
        "strong that nothing is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §2.2 and reference code: LARS, learning rate 0.2 x batch / 256 (0.0048 for biases and "
            "norms), ResNet-50; weight decay: the code's (paper: 1.5e-6)",
            optimizer="lars", lr=0.2, weight_decay=1e-6, batch_size=2048, epochs=1000, warmup_epochs=10, final_lr_factor=0.001,
            backbone="resnet50",
        ),
        "small": Recipe(
            source="widths and views: solo-learn's for CIFAR-10; optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"hidden_dim": 2048, "out_dim": 2048, "redundancy_weight": 0.005, "vector_lr_scale": 1.0, "blur": False},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the projector, and a correlation of one row is 0

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        first, second = papers.byol_first, papers.byol_second  # §2.2: BYOL's
        return {"first": first(data.image_size, blur=config.blur), "second": second(data.image_size, blur=config.blur)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = heads.mlp(
            self.backbone.dim, config.hidden_dim, config.hidden_dim, config.out_dim, last_bias=False
        )

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(
            batch.index, {name: chains[name](batch.images, batch.index, rng.fork(name)) for name in ("first", "second")}
        )

    def embed(self, views: Views, step: Step) -> Embedded:
        first, second = self.backbone(torch.cat([views["first"], views["second"]])).chunk(2)
        return {"first": first, "second": second}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])  # [2N, backbone.dim]
        z = self.project(h)  # [2N, D]
        first, second = (distributed.gather(view) for view in z.chunk(2))  # before anything is squared
        loss = barlow_twins(first, second, self.config.redundancy_weight)
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2)

    def loss_of_nothing(self, batch_size: int) -> float:
        return float(self.config.out_dim)

    def param_groups(self) -> Sequence[ParamGroup]:
        """LARS scales a matrix's step to its norm but leaves vectors plain gradient descent, so these want another rate."""
        matrices, vectors = split_decay(self.parameters())
        return [matrices, replace(vectors, lr_scale=self.config.vector_lr_scale)]

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
