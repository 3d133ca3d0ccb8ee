"""MoCo v2: name each image's other view among a queue of earlier images, seen by a slowly moving encoder.

Family  contrastive, 2020
Source  Chen, Fan, Girshick, He 2020, arXiv:2003.04297 (head, views, temperature); He et al., CVPR 2020, arXiv:1911.05722
        (loss: Eq. 1; momentum: Eq. 2; queue: §3.2; shuffled BatchNorm: §3.3).
Scale   mean over the N queries. `symmetric` adds the other direction, as FAIR's demo for CIFAR-10 does: twice the value.
Rows    N images; the first view is the query, the second the key. K keys in the queue. D = projection width.
Needs   no more keys than images, so that the queue holds few keys of the query's own image; those are never negatives.
        The kept backbone is the query's. Keys join the queue after the step, and only then does the key encoder move.
State   a key encoder that follows slowly; a queue of keys with their images.
Kin     SimCLR and MoCo v3 take the negatives from the batch; NNCLR takes its positives from the queue.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements
from selfstudy.nn import ema, heads
from selfstudy.nn.precision import in_float32, widen
from selfstudy.nn.queue import Queue
from selfstudy.nn.split_norm import in_groups, in_shuffled_groups
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's hidden layer
    out_dim: int = 128  # D
    temperature: float = 0.2  # similarities are divided by it
    momentum: float = 0.999  # of the key encoder, constant
    queue_size: int = 65536  # K
    norm_groups: int = 8  # BatchNorm's statistics come from that many parts of the batch, as from the paper's 8 devices
    symmetric: bool = False  # each view is query and key, at twice the compute
    blur: bool = True  # FAIR's demo leaves it out for CIFAR-10

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"temperature is {self.temperature}, but similarities are divided by it: it must be above 0"
            )
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}, but must lie between 0 (no memory) and 1 (never moves)")
        if self.queue_size < 1 or self.norm_groups < 1:
            raise ValueError(f"queue_size {self.queue_size} and norm_groups {self.norm_groups} must both be at least 1")


@in_float32
def queue_contrast(q: Tensor, k: Tensor, queue: Tensor, own: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of naming a query's key among it and the queue, and the share of queries whose key comes first.

    q and k are [N, D] of any length > 0, queue is [K, D] of length 1, own is bool [N, K]: the queue's keys of the query's own
    image, which are left out. No gradient reaches k and queue. Range [0, infinity). q = k = all of the queue: log(K + 1).
    q = k, orthogonal to the queue: log(1 + K exp(-1 / temperature)).
    """
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    positive = (q * k).sum(1, keepdim=True)
    negative = (q @ queue.detach().T).masked_fill(own, -torch.inf)
    logits = torch.cat([positive, negative], 1) / temperature
    loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))
    return loss, (positive > negative.amax(1, keepdim=True)).float().mean()


class MoCo(Method):
    Config = Settings
    causes = (
        "a key encoder that moves too fast, so that new keys are told from the queue's by their age (raise method.momentum "
        "towards 0.999, lower method.queue_size); a learning rate too high for this optimiser (try a tenth); BatchNorm that betrays the key "
        "(method.norm_groups of 8, batches of at least 4 images); views so strong that nothing is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="MoCo v2 §3 and its code: SGD, learning rate 0.03, no warm-up, ResNet-50, 200 epochs",
            optimizer="sgd", lr=0.03, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=0, backbone="resnet50",
        ),
        "small": Recipe(
            source="no blur: FAIR's demo for CIFAR-10, whose queue of 4096 is for 50,000 images; head: lightly's CIFAR-10 benchmark; "
            "queue, optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"queue_size": 1024, "hidden_dim": 512, "blur": False},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, least_images=config.queue_size)  # BatchNorm in the backbone; see Needs

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.moco_v2(data.image_size, blur=config.blur)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = heads.mlp(self.backbone.dim, config.hidden_dim, config.out_dim, hidden_norm="none")  # v2 §3
        self.key_backbone = ema.teacher_of(self.backbone)
        self.key_project = ema.teacher_of(self.project)
        self.queue = Queue(config.queue_size, config.out_dim)
        self.directions = [("first", "second"), ("second", "first")][: 2 if config.symmetric else 1]  # query, key

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        pair = {name: chains["base"](batch.images, batch.index, rng.fork(name)) for name in ("first", "second")}
        return Views(batch.index, pair)

    def embed(self, views: Views, step: Step) -> Embedded:
        """A chunk of a batch is split like a whole one: statistics of few images, but nothing that betrays the key."""
        embedded = {}
        for query, key in self.directions:
            embedded[query] = in_groups(self.backbone, views[query], self.config.norm_groups)
            draws = step.rng.fork("groups", key).per_image(views.index)
            with torch.no_grad():
                embedded[f"key_{key}"] = in_shuffled_groups(
                    self.key_backbone, views[key], self.config.norm_groups, draws
                )
        return embedded

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded[query] for query, _ in self.directions])  # [V*N, backbone.dim], V queries per image
        with torch.no_grad():
            keys = self.key_project(torch.cat([embedded[f"key_{key}"] for _, key in self.directions]))
            keys = F.normalize(widen(keys), dim=1)  # [V*N, D]
        q = self.project(h)
        index = views.index.repeat(len(self.directions))
        loss, accuracy = queue_contrast(q, keys, self.queue.rows, self.queue.holds(index), self.config.temperature)
        return Output(
            loss=loss * len(self.directions),
            carry={"keys": keys, "index": index},
            watch={"h": h, "z": q},
            watched_views=len(self.directions),
            metrics={"accuracy": accuracy},
        )

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.queue.push(carry["keys"], carry["index"])
        ema.follow(self.key_backbone, self.backbone, self.config.momentum)
        ema.follow(self.key_project, self.project, self.config.momentum)

    def param_groups(self) -> Sequence[ParamGroup]:
        """As in FAIR's code biases and norms decay too."""
        return [ParamGroup(params=[p for p in self.parameters() if p.requires_grad])]

    def loss_of_nothing(self, batch_size: int) -> float:
        return len(self.directions) * math.log(self.config.queue_size + 1)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
