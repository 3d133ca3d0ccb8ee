"""VICReg: draw two views' projections together while every column keeps its variance and tells something of its own.

Family  joint embedding by decorrelation, 2022
Source  Bardes, Ponce, LeCun, ICLR 2022, arXiv:2105.04906 (loss: §4.1, Eq. 1-6; heads and training: §4.2; views: App. C)
        and its reference code, whose scaling this is.
Scale   25 times the invariance, 25 times the variance, once the covariance term: 24.75 once collapsed, 0 at best. The code
        averages the invariance over columns and halves the variance, which Eq. 5 and 6 do not; solo-learn does not halve.
Rows    N images. D = projection width.
Needs   batches of some 100 images or more, for covariances. No normalisation of z, no BatchNorm at the projector's end; no
        negatives, teacher, predictor or stop-gradient.
State   none.
Kin     Barlow Twins has one correlation of both views; LeJEPA asks for a whole Gaussian.
"""

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
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

VARIANCE_FLOOR = 1e-4  # epsilon of Eq. 2 (paper §4.2): keeps the root's gradient finite for a constant column
LEAST_DEVIATION = 1.0  # gamma of Eq. 1 (paper §4.1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 8192  # width of the expander's two hidden layers
    out_dim: int = 8192  # D
    invariance_weight: float = 25.0  # lambda (paper §4.2), of a mean over columns
    variance_weight: float = 25.0  # mu (paper §4.2)
    covariance_weight: float = 1.0  # nu (paper §4.2)
    halve_variance: bool = True  # as the reference code does; the paper's Eq. 6 and solo-learn add both views' terms
    small_views: bool = False  # solo-learn's views for 32 px instead of the paper's: milder crops and no blur

    def __post_init__(self) -> None:
        weights = (self.invariance_weight, self.variance_weight, self.covariance_weight)
        if min(weights) < 0:
            raise ValueError(f"the weights of invariance, variance and covariance are {weights}, but must be 0 or more")


@in_float32
def invariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of two views' [N, D], over images and columns: 0 for equal views. Eq. 5 has D times it."""
    return F.mse_loss(first, second)


@in_float32
def variance(z: Tensor) -> Tensor:
    """By how much the columns of [N, D] miss a deviation of 1, on average (Eq. 1): 0 at 1 or more, 0.99 if constant."""
    return F.relu(LEAST_DEVIATION - (z.var(0) + VARIANCE_FLOOR).sqrt()).mean()


@in_float32
def covariance(z: Tensor) -> Tensor:
    """Sum of the squared covariances of different columns of [N, D], over D (Eq. 3 and 4): 0 if uncorrelated."""
    centred = z - z.mean(0)
    c = centred.T @ centred / (len(z) - 1)
    return c.clone().fill_diagonal_(0.0).square().sum() / z.shape[1]


@in_float32
def vicreg(first: Tensor, second: Tensor, config: Settings) -> tuple[Tensor, Tensors]:
    """The weighted sum of the three terms for two views' [N, D] (Eq. 6), and the terms before weighting.

    All rows equal: 24.75 with the paper's weights, 49.5 without the halving. Equal views, uncorrelated columns of
    deviation 1 or more: 0.
    """
    terms = {
        "invariance": invariance(first, second),
        "variance": (variance(first) + variance(second)) * (0.5 if config.halve_variance else 1.0),
        "covariance": covariance(first) + covariance(second),
    }
    agreement = config.invariance_weight * terms["invariance"]
    spread = config.variance_weight * terms["variance"] + config.covariance_weight * terms["covariance"]
    return agreement + spread, terms


class VICReg(Method):
    Config = Settings
    causes = (
        "a learning rate too high (try a tenth; the paper's 0.2 is for LARS, with AdamW 1e-3); method.variance_weight far below "
        "method.invariance_weight (the paper has 25 for both); batches too small for covariances (try 256); views so strong that "
        "nothing is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §4.2 and reference code: LARS, learning rate 0.2 x batch / 256, 10 warm-up epochs, ResNet-50",
            optimizer="lars", lr=0.2, weight_decay=1e-6, batch_size=2048, epochs=1000, warmup_epochs=10, final_lr_factor=0.001,
            backbone="resnet50",
        ),
        "small": Recipe(
            source="widths and views: solo-learn's for CIFAR-10; optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"hidden_dim": 2048, "out_dim": 2048, "small_views": True},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the expander, and one image has no variance

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        if config.small_views:
            return dict.fromkeys(("first", "second"), papers.vicreg(data.image_size))
        return {"first": papers.byol_first(data.image_size), "second": papers.byol_second(data.image_size)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        widths = (config.hidden_dim, config.hidden_dim, config.out_dim)
        self.project = heads.mlp(self.backbone.dim, *widths, hidden_bias=True, last_bias=False)  # as the reference code

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
        first, second = (distributed.gather(view) for view in z.chunk(2))
        loss, terms = vicreg(first, second, self.config)
        metrics = {name: term.detach() for name, term in terms.items()}
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2, metrics=metrics)

    def loss_of_nothing(self, batch_size: int) -> float:
        shortfall = LEAST_DEVIATION - VARIANCE_FLOOR**0.5
        return self.config.variance_weight * shortfall * (1.0 if self.config.halve_variance else 2.0)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
