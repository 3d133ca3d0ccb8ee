"""InfoMax: what the upper half of an image tells about its lower half, as a bound on their mutual information in nats.

Family  mutual information, 2020
Source  Tschannen, Djolonga, Rubenstein, Gelly, Lucic, ICLR 2020, arXiv:1907.13625 (views, encoders, critics: §3), and its
        code. Estimators: InfoNCE (van den Oord et al. 2018, arXiv:1807.03748), NWJ (Nguyen et al. 2010, arXiv:0809.0853),
        DV and MINE (Belghazi et al. 2018, arXiv:1801.04062), JSD (Hjelm et al. 2019, arXiv:1808.06670, Eq. 4).
Scale   minus the estimate, in nats; for InfoNCE log N more, so that it is a cross-entropy and 0 where the bound cannot rise.
Rows    N images; scores [N, N] hold the critic's value of upper half i with lower half j, so pairs lie on the diagonal.
Needs   for InfoNCE a batch large enough: its bound is at most log N, whatever there is to know. Two encoders; only that of
        the upper half is kept. A tighter bound is no better encoder: that is what the paper found.
State   none.
Kin     CPC predicts later parts from earlier ones; SimCLR is InfoNCE between two views that one encoder sees.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import distributed, heads
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers
from selfstudy.views.noise import Noise

Estimator = Literal["infonce", "nwj", "dv", "mine", "jsd"]
CriticKind = Literal["inner_product", "bilinear", "separable", "concatenated"]

LARGEST_EXPONENT = 30.0  # of NWJ: beyond it e^x goes on as its tangent, whose squared gradient float32 can hold
NOISE = 0.05  # standard deviation in [0, 1] (the code); drawn for the whole image, so that no half knows the other's


@dataclass(frozen=True, kw_only=True)
class Settings:
    estimator: Estimator = "infonce"
    critic: CriticKind = "bilinear"  # inner_product wants features of both signs, as conv2, mlp and transformers give
    hidden_dim: int = (
        100  # units of the separable critic's hidden layers; the concatenated one, of two inputs, has twice as many
    )
    out_dim: int = 100  # of the separable critic
    momentum: float = (
        0.9  # mine: of the running mean in its gradient's denominator (the paper names none; 0.99 learns later)
    )

    def __post_init__(self) -> None:
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}, but must lie between 0 and 1")
        if min(self.hidden_dim, self.out_dim) < 1:
            raise ValueError("hidden_dim and out_dim must be at least 1")


@in_float32
def info_nce(scores: Tensor) -> Tensor:
    """log N + mean of s_ii - log sum_j exp(s_ij), at most log N. All scores equal: 0. A constant on a row changes nothing."""
    return math.log(len(scores)) + (scores.diagonal() - scores.logsumexp(1)).mean()


@in_float32
def nwj(scores: Tensor) -> Tensor:
    """mean s_ii - mean over i != j of exp(s_ij - 1). All scores 1: 0; all 0: -1/e."""
    exponent = log_mean_exp_of_others(scores) - 1
    capped = exponent.clamp(max=LARGEST_EXPONENT)
    return scores.diagonal().mean() - capped.exp() * (1 + exponent - capped)


@in_float32
def donsker_varadhan(scores: Tensor) -> Tensor:
    """mean s_ii - log mean over i != j of exp(s_ij). All scores equal: 0. The mean of many batches may exceed the information."""
    return scores.diagonal().mean() - log_mean_exp_of_others(scores)


@in_float32
def mine(scores: Tensor, log_average: Tensor) -> Tensor:
    """donsker_varadhan in value; in its gradient the mean of exp(s_ij) is divided by a running mean, exp(log_average)."""
    surrogate = scores.diagonal().mean() - (log_mean_exp_of_others(scores) - log_average.detach()).exp()
    return surrogate + (donsker_varadhan(scores) - surrogate).detach()


@in_float32
def jensen_shannon(scores: Tensor) -> Tensor:
    """-mean softplus(-s_ii) - mean over i != j of softplus(s_ij): at most 0. All scores 0: -2 log 2. No estimate in nats."""
    others = F.softplus(scores).sum() - F.softplus(scores.diagonal()).sum()
    return -F.softplus(-scores.diagonal()).mean() - others / (len(scores) * (len(scores) - 1))


@in_float32
def log_mean_exp_of_others(scores: Tensor) -> Tensor:
    """log of the mean of exp(s_ij) over i != j, 0-d: pairs are no samples of the product of the marginals."""
    n = len(scores)
    pairs = torch.eye(n, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(pairs, -torch.inf).flatten().logsumexp(0) - math.log(n * (n - 1))


class _Critic(nn.Module):
    """Scores [N, N] of N upper with N lower features, row by row of the upper ones."""

    upper: nn.Module
    lower: nn.Module

    def __init__(self, config: Settings, dim: int) -> None:
        super().__init__()
        self.kind, wide = config.critic, 2 * config.hidden_dim
        match self.kind:
            case "bilinear":
                self.lower = nn.Linear(dim, dim, bias=False)
                # Scores begin near 0, also for features without negative values, as those after a ReLU are.
                nn.init.normal_(self.lower.weight, std=1 / dim)
            case "separable":
                self.upper = heads.mlp(dim, config.hidden_dim, config.out_dim, hidden_norm="none")
                self.lower = heads.mlp(dim, config.hidden_dim, config.out_dim, hidden_norm="none")
            case "concatenated":  # a layer on [upper, lower] is the sum of one on each, and those are N rows, not N * N
                self.upper, self.lower = nn.Linear(dim, wide), nn.Linear(dim, wide, bias=False)
                self.last = nn.Linear(wide, 1)

    @in_float32
    def forward(self, upper: Tensor, lower: Tensor) -> Tensor:
        match self.kind:
            case "inner_product":
                return upper @ lower.T
            case "bilinear":
                return upper @ self.lower(lower).T
            case "separable":
                return self.upper(upper) @ self.lower(lower).T
            case "concatenated":
                return self.last(F.relu(self.upper(upper)[:, None] + self.lower(lower)[None, :])).squeeze(2)


class InfoMax(Method):
    Config = Settings
    causes = (
        "infonce: a bound at log_batch_nats cannot rise (raise batch_size, or stop training); nwj, dv, mine: an estimate that jumps "
        "(lower the learning rate, or take method.estimator=infonce or jsd); a critic that can do without good features "
        "(method.critic=bilinear); halves of images that have nothing in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §3 and code: Adam at a constant 1e-4, 21,000 batches of 128 of MNIST's 60,000 images; the convolutional encoder",
            optimizer="adamw", lr=1e-4, lr_scaling="none", weight_decay=0.0, batch_size=128, epochs=45, warmup_epochs=0,
            final_lr_factor=1.0, backbone="conv2",
        ),
        "small": Recipe(
            source="benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
        ),
    }  # fmt: skip

    log_average: Tensor  # mine: log of the running mean of exp(s_ij)
    num_averaged: Tensor  # batches in it

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, smallest_image=2)  # other images to compare with; two halves

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        whole = papers.whole(data.image_size)
        return {"base": whole.with_steps((*whole.steps, Noise(std=(NOISE, NOISE))))}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.upper, self.lower = make_backbone(region="top"), make_backbone(region="bottom")
        self.critic = _Critic(config, self.upper.dim)
        self.register_buffer("log_average", torch.zeros(()))
        self.register_buffer("num_averaged", torch.zeros((), dtype=torch.int64))

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        whole = chains["base"](batch.images, batch.index, rng)
        half = whole.shape[2] // 2  # as Feed cuts it; of an odd number of rows the lower half has one more
        return Views(batch.index, {"upper": whole[:, :, :half], "lower": whole[:, :, half:]})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"upper": self.upper(views["upper"]), "lower": self.lower(views["lower"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        scores = self.critic(distributed.gather(embedded["upper"]), distributed.gather(embedded["lower"]))
        log_batch = scores.new_tensor(math.log(len(scores)))
        carry: dict[str, Tensor] = {}
        match self.config.estimator:
            case "infonce":
                bound = info_nce(scores)
                loss = log_batch - bound
            case "nwj":
                bound = nwj(scores)
                loss = -bound
            case "dv":
                bound = donsker_varadhan(scores)
                loss = -bound
            case "mine":
                carry["log_average"] = self.averaged(log_mean_exp_of_others(scores.detach()))
                bound = mine(scores, carry["log_average"])
                loss = -bound
            case "jsd":
                bound = nwj(scores.detach() + 1)  # its best critic is NWJ's less 1
                loss = -jensen_shannon(scores)
        metrics = {"bound_nats": bound.detach(), "log_batch_nats": log_batch}
        return Output(loss=loss, carry=carry, watch={"h": embedded["upper"]}, metrics=metrics)

    def averaged(self, log_mean: Tensor) -> Tensor:
        """The running mean with one batch more, in logarithms; the first batch begins it."""
        momentum = self.config.momentum
        mixed = torch.logaddexp(self.log_average + math.log(momentum), log_mean + math.log1p(-momentum))
        return torch.where(self.num_averaged == 0, log_mean, mixed)

    def after_step(self, carry: Tensors, step: Step) -> None:
        if carry:
            self.log_average.copy_(carry["log_average"])
            self.num_averaged.add_(1)

    def loss_of_nothing(self, batch_size: int) -> float:
        return {"infonce": math.log(batch_size), "jsd": 2 * math.log(2)}.get(self.config.estimator, 0.0)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.upper, Feed(size=self.data.image_size, channels=self.data.channels, region="top")
