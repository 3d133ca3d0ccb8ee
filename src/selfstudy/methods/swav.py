"""SwAV: predict the cluster of one view from another, with clusters that share the batch equally.

Family  clustering, 2020
Source  Caron et al., NeurIPS 2020, arXiv:2006.09882 (loss: Eq. 1 and 2; codes: §3.1; multi-crop: §3.2 and App. A.2;
        training: App. A.1; queue: App. A.6), and its code.
Scale   mean over the two views that give codes, the other views that predict them, and images; lightly's value.
Rows    N images, V views of which the first two, the large ones, give codes. K prototypes, D = projection width.
Needs   more prototypes than dimensions (with as many, an embedding equally near to all of them is the way out: the loss
        stays at log K); a batch and queue not much smaller than K, since they are what is shared out; BatchNorm in the head.
State   prototypes; optionally a queue of embeddings.
Kin     DeepCluster v2 clusters the whole set once an epoch; SeLa does so with equal shares; DINO has a teacher instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements, split_decay
from selfstudy.nn import distributed, heads, multi_crop, sinkhorn
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

LOCAL_SHARE = 96 / 224  # side of a small crop as a share of a large one's (paper App. A.2)


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's hidden layer
    out_dim: int = 128  # D
    num_prototypes: int = 3000  # K
    temperature: float = 0.1  # similarities are divided by it
    epsilon: float = 0.05  # smoothness of the codes: smaller is harder
    sinkhorn_sweeps: int = 3
    num_local: int = 6  # small crops beside the two large ones
    queue_size: int = 0  # embeddings of earlier batches that share in the codes (App. A.6: 3,840 for batches of 256)
    queue_from_epoch: int = 15  # before it the embeddings change too fast for old ones to be of use
    frozen_epochs: float = 1.0  # for which the prototypes stay as they began (313 steps of 4,096 images in the code)
    blur: bool = True

    def __post_init__(self) -> None:
        if self.num_prototypes < 2:
            raise ValueError(f"num_prototypes is {self.num_prototypes}, but must be at least 2 to tell images apart")
        if self.sinkhorn_sweeps < 1:
            raise ValueError(f"sinkhorn_sweeps is {self.sinkhorn_sweeps}, but must be at least 1")
        if self.temperature <= 0 or self.epsilon <= 0:
            raise ValueError("temperature and epsilon must be above 0: scores are divided by them")
        if self.num_local < 0 or self.queue_size < 0:
            raise ValueError("num_local and queue_size must be 0 or more")


@in_float32
def prototype_scores(z: Tensor, prototypes: Tensor) -> Tensor:
    """Cosines [..., K] of embeddings [..., D], of any length > 0, with unit prototypes [K, D]."""
    return F.normalize(z, dim=-1) @ prototypes.T


@in_float32
def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each code with the other views' predictions; scores [V, N, K], codes [A, N, K] of views 0 to A - 1.

    Range [0, infinity). All scores equal: log K. No gradient reaches the codes.
    """
    log_p = (scores / temperature).log_softmax(2)
    cross = -torch.einsum("ank,vnk->av", codes.detach(), log_p) / scores.shape[1]  # [A, V]
    return (cross.sum() - cross.diagonal().sum()) / (len(codes) * (len(scores) - 1))  # no view predicts its own code


def usable(queue_size: int, batch_size: int) -> int:
    """The queue's length in whole batches: 3,840 for a batch of 256, 19 batches of 200 for one of 200, none for 4,096."""
    return queue_size - queue_size % batch_size


class SwAV(Method):
    Config = Settings
    causes = (
        "hardly more prototypes than dimensions, so that the embedding escapes to where all are equally near and the loss stays at "
        "log K (raise method.num_prototypes or lower method.out_dim); a learning rate too high, or made for LARS and used with another "
        "optimiser (AdamW: 1e-3); codes too soft (lower method.epsilon to 0.03); a queue that joins before the embeddings have settled "
        "(raise method.queue_from_epoch)"
    )
    recipes = {
        "paper": Recipe(
            source="paper App. A.1: LARS, learning rate 4.8 at 4,096 images, 10 warm-up epochs, cosine to 0.0048, "
            "ResNet-50; its LARS also adapts and decays biases and norms",
            optimizer="lars", lr=0.3, weight_decay=1e-6, batch_size=4096, epochs=800, warmup_epochs=10, final_lr_factor=0.001,
            backbone="resnet50",
        ),
        "small": Recipe(
            source="prototypes: as many as the batch has images and well more than dimensions; epsilon, widths: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"num_prototypes": 256, "hidden_dim": 512, "out_dim": 32, "epsilon": 0.03, "num_local": 0, "blur": False},
        ),
    }  # fmt: skip

    queue: Tensor  # unit embeddings of earlier batches, the newest first, for each of the two large views
    num_queued: Tensor  # how many of them are filled

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        # BatchNorm in the head; a cluster for each image, or a queue with images twice, would say nothing.
        return Requirements(smallest_batch=2, least_images=max(config.num_prototypes, config.queue_size))

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        large = papers.swav_global(data.image_size, blur=config.blur)
        if config.num_local == 0:
            return {"global": large}
        side = papers.local_size(data.image_size, LOCAL_SHARE)
        return {"global": large, "local": replace(large, size=side, crop=papers.swav_local(side).crop)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = heads.mlp(self.backbone.dim, config.hidden_dim, config.out_dim)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(config.num_prototypes, config.out_dim), dim=1))
        self.register_buffer("queue", torch.zeros(2, config.queue_size, config.out_dim))
        self.register_buffer("num_queued", torch.zeros((), dtype=torch.int64))

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return multi_crop.make_views(batch, rng, chains, self.config.num_local)

    def embed(self, views: Views, step: Step) -> Embedded:
        return multi_crop.embed(self.backbone, views)

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat(list(embedded.values()))  # [V * N, backbone.dim]
        z = self.project(h)  # [V * N, D], in one call: BatchNorm sees all views
        everyone = torch.stack([distributed.gather(view) for view in z.chunk(len(embedded))])  # [V, N, D]
        scores = prototype_scores(everyone, self.prototypes)
        codes = torch.stack([self.codes_of(view, scores[view].detach(), step) for view in range(2)])
        large = 2 * len(views)
        return Output(
            loss=swapped_prediction(scores, codes, self.config.temperature),
            carry={"large": F.normalize(everyone[:2].detach().float(), dim=2)},
            watch={"h": h[:large], "z": z[:large]},
            watched_views=2,
            metrics={"code_entropy": torch.special.entr(codes).sum(2).mean()},  # nats; log K: no cluster is preferred
        )

    def codes_of(self, view: int, scores: Tensor, step: Step) -> Tensor:
        """Codes [N, K] of a large view, shared with its queue once that is full; queued embeddings get today's scores."""
        epsilon, sweeps = self.config.epsilon, self.config.sinkhorn_sweeps
        alone = sinkhorn.codes(scores, epsilon, sweeps)
        length = usable(self.config.queue_size, len(scores))
        if length == 0 or step.epoch < self.config.queue_from_epoch:
            return alone
        queued = prototype_scores(self.queue[view, :length], self.prototypes.detach())
        shared = sinkhorn.codes(torch.cat([scores, queued]), epsilon, sweeps)[: len(scores)]
        return torch.where(self.num_queued >= length, shared, alone)

    @torch.no_grad()
    def after_step(self, carry: Tensors, step: Step) -> None:
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
        batch_size = carry["large"].shape[1]
        length = usable(self.config.queue_size, batch_size)
        if length:
            self.queue[:, :length] = torch.cat([carry["large"], self.queue[:, : length - batch_size]], 1)
            self.num_queued.add_(batch_size).clamp_(max=length)

    def param_groups(self) -> Sequence[ParamGroup]:
        others = [parameter for parameter in self.parameters() if parameter is not self.prototypes]
        frozen = ParamGroup(params=[self.prototypes], freeze_until_epoch=self.config.frozen_epochs)
        return [*split_decay(others), frozen]

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(self.config.num_prototypes)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
