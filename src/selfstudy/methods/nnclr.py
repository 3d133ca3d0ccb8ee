"""NNCLR: SimCLR whose positives are other images: the nearest neighbour of a view stands in for it.

Family  contrastive, 2021
Source  Dwibedi, Aytar, Tompson, Sermanet, Zisserman, ICCV 2021, arXiv:2104.14548 (loss: Eq. 3, with the predictor and both
        directions; neighbour: Eq. 4; heads and training: its implementation details; the queue takes one view: its
        pseudo-code).
Scale   mean over both directions and the N images, as in the paper.
Rows    N images. K rows in the queue of earlier projections, the support set. D = projection width.
Needs   no more rows in the queue than images, several images of every kind among them, and batches of many images, since
        the negatives come from the batch. The neighbour is never an earlier view of the image itself, which on small sets
        would nearly always be the nearest, and the method SimCLR again. At the first step, where the paper's queue is
        random, the view stands in for its neighbour.
State   a queue of embeddings with their images.
Kin     SimCLR names the other view itself; MoCo takes its negatives from the queue instead.
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
from selfstudy.nn.precision import in_float32, widen
from selfstudy.nn.queue import Queue
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's two hidden layers
    predictor_dim: int = 4096  # width of the predictor's hidden layer
    out_dim: int = 256  # D
    temperature: float = 0.1  # similarities are divided by it
    queue_size: int = 98304  # K
    blur: bool = True  # solo-learn leaves it out for CIFAR-10

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"temperature is {self.temperature}, but similarities are divided by it: it must be above 0"
            )
        if self.queue_size < 1:
            raise ValueError(f"queue_size is {self.queue_size}, but must be at least 1")


@in_float32
def nearest(z: Tensor, queue: Tensor, allowed: Tensor) -> Tensor:
    """For each row of z, [N, D], the row of `queue`, [K, D] of length 1, with the largest cosine to it; without gradient.

    allowed is bool [N, K]: rows that may be chosen. Where none may, the row of z itself, at length 1, stands in.
    """
    z = F.normalize(z.detach(), dim=1)
    cosine, row = (z @ queue.T).masked_fill(~allowed, -torch.inf).max(1)
    return torch.where(cosine[:, None] > -torch.inf, queue[row], z)


@in_float32
def neighbour_contrast(neighbours: Tensor, p: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of naming, for a view's neighbour, the other view's prediction among the N; and the share named.

    Both are [N, D] of any length > 0, row i of image i; no gradient reaches the neighbours. Range [0, infinity). All rows equal:
    log N. Neighbours equal to their predictions, orthogonal between images: log(1 + (N - 1) exp(-1 / temperature)).
    """
    logits = F.normalize(neighbours.detach(), dim=1) @ F.normalize(p, dim=1).T / temperature
    image = torch.arange(len(p), device=p.device)
    return F.cross_entropy(logits, image), (logits.argmax(1) == image).float().mean()


class NNCLR(Method):
    Config = Settings
    causes = (
        "a learning rate too high for this optimiser (try a tenth); a queue so small that the neighbour is of another kind (raise "
        "method.queue_size to several images of every kind); a predictor without BatchNorm; views so strong that nothing is "
        "left in common"
    )
    recipes = {
        "paper": Recipe(
            source="the paper's implementation details, as a configuration for VISSL has them: LARS, learning rate "
            "0.3 x batch / 256, 10 warm-up epochs, ResNet-50",
            optimizer="lars", lr=0.3, weight_decay=1e-6, batch_size=4096, epochs=1000, warmup_epochs=10, backbone="resnet50",
        ),
        "small": Recipe(
            source="temperature and no blur: solo-learn for CIFAR-10, whose queue of 65536 is larger than the set; queue, widths, "
            "optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"temperature": 0.2, "queue_size": 1024, "hidden_dim": 512, "predictor_dim": 1024, "blur": False},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, least_images=config.queue_size)  # two: one image has no negatives

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {
            "first": papers.byol_first(data.image_size, blur=config.blur),
            "second": papers.byol_second(data.image_size, blur=config.blur),
        }

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        # The paper: BatchNorm after every layer of the projector, after all but the last of the predictor.
        self.project = heads.mlp(
            self.backbone.dim, config.hidden_dim, config.hidden_dim, config.out_dim, last_norm="batch"
        )
        self.predict = heads.mlp(config.out_dim, config.predictor_dim, config.out_dim)
        self.queue = Queue(config.queue_size, config.out_dim)

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
        p_first, p_second = (distributed.gather(p) for p in self.predict(z).chunk(2))
        neighbours = nearest(z, self.queue.rows, self.queue.of_others(views.index.repeat(2)))
        of_first, of_second = (distributed.gather(rows) for rows in neighbours.chunk(2))
        there, named_there = neighbour_contrast(of_first, p_second, self.config.temperature)
        back, named_back = neighbour_contrast(of_second, p_first, self.config.temperature)
        return Output(
            loss=(there + back) / 2,
            carry={"rows": F.normalize(widen(z[: len(views)].detach()), dim=1), "index": views.index},
            watch={"h": h, "z": z},
            watched_views=2,
            metrics={
                "accuracy": (named_there + named_back) / 2,
                "neighbour_cosine": F.cosine_similarity(widen(z.detach()), neighbours, dim=1).mean(),
            },
        )

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.queue.push(carry["rows"], carry["index"])

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(batch_size)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
