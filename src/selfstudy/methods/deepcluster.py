"""DeepCluster v2: predict the cluster that k-means found for the image among last epoch's embeddings.

Family  clustering, 2020
Source  Caron et al., NeurIPS 2020, arXiv:2006.09882 (the SwAV paper: §5.1 compares it, App. D describes it), and its
        code. The first version is Caron et al., ECCV 2018, arXiv:1807.05520.
Scale   mean over heads, views and the images that have a label, of the cross-entropy with it.
Rows    N images, V views, the first two large; K prototypes (centroids) in each of H clusterings; D = projection width. Labels
        and embeddings are kept by the image's index in the set.
Needs   a set that stays as it is, of several images per cluster. BatchNorm in the head.
State   an embedding of every image, the centroids and a cluster for every image.
Kin     SwAV clusters each batch, in equal shares; SeLa clusters the set, in equal shares, and its head learns the prototypes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import distributed, heads, multi_crop
from selfstudy.nn.kmeans import spherical_kmeans
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

LOCAL_SHARE = 96 / 224  # side of a small crop as a share of a large one's (the code)
NO_LABEL = -100  # what cross_entropy passes over
ROWS_AT_ONCE = 4096  # images whose features are projected together before the first epoch


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's hidden layer
    out_dim: int = 128  # D
    num_prototypes: int = 3000  # K
    num_heads: int = 3  # H, clusterings that differ in where k-means begins and in the view it clusters
    temperature: float = 0.1  # similarities are divided by it
    kmeans_iterations: int = 10
    num_local: int = 6  # small crops beside the two large ones
    blur: bool = True

    def __post_init__(self) -> None:
        if self.num_prototypes < 2:
            raise ValueError(f"num_prototypes is {self.num_prototypes}, but must be at least 2 to tell images apart")
        if min(self.num_heads, self.kmeans_iterations) < 1 or self.num_local < 0:
            raise ValueError("num_heads and kmeans_iterations must be at least 1, and num_local 0 or more")
        if self.temperature <= 0:
            raise ValueError("temperature must be above 0: similarities are divided by it")


@in_float32
def cluster_prediction(z: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of naming each image's centroid; z [V, N, D], of any length > 0, unit prototypes [H, K, D], labels [H, N].

    Range [0, infinity). All prototypes alike: log K. Images with the label -100 do not count; if no image has one it is 0.
    """
    logits = torch.einsum("vnd,hkd->hvnk", F.normalize(z, dim=2), prototypes) / temperature
    targets = labels[:, None].expand(logits.shape[:3])
    total = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), ignore_index=NO_LABEL, reduction="sum")
    return total / (targets != NO_LABEL).sum().clamp(min=1)


class DeepCluster(Method):
    Config = Settings
    causes = (
        "a learning rate too high, or made for LARS and used with another optimiser (AdamW: 1e-3); fewer than about ten images per "
        "cluster (lower method.num_prototypes); a few clusters that take most images, seen as largest_cluster in the log (more epochs "
        "of a lower learning rate, or sela, whose clusters have equal shares)"
    )
    recipes = {
        "paper": Recipe(
            source="SwAV's paper App. A.1 and D.2 and the code: LARS, learning rate 4.8 at 4,096 images, 10 warm-up "
            "epochs, cosine to 0.0048, ResNet-50",
            optimizer="lars", lr=0.3, weight_decay=1e-6, batch_size=4096, epochs=800, warmup_epochs=10, final_lr_factor=0.001,
            backbone="resnet50",
        ),
        "small": Recipe(
            source="clusters, about ten times the classes of small sets, widths, optimiser: benchmarks/methods.md; no small crops",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"num_prototypes": 128, "hidden_dim": 512, "num_local": 0, "blur": False},
        ),
    }  # fmt: skip

    memory: Tensor  # unit embeddings of the set's images, the last of each large view: [2, images, D]
    seen: Tensor  # int64 [images]: 1 for those embedded since the last clustering
    prototypes: Tensor  # the centroids: [H, K, D]; k-means moves them, no gradient does
    labels: Tensor  # int64 [H, images]
    largest_cluster: Tensor  # of any head, in units of an equal share

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        # BatchNorm in the head; a centroid begins at an image of its own; images held out have no labels.
        return Requirements(smallest_batch=2, least_images=config.num_prototypes, held_out_loss=False)

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
        # What follows is made anew before the first step; until then clusters and labels mean nothing.
        prototypes = torch.randn(config.num_heads, config.num_prototypes, config.out_dim)
        self.register_buffer("prototypes", F.normalize(prototypes, dim=2))
        self.register_buffer(
            "labels", (torch.arange(data.num_images) % config.num_prototypes).repeat(config.num_heads, 1)
        )
        self.register_buffer("memory", torch.zeros(2, data.num_images, config.out_dim))
        self.register_buffer("seen", torch.zeros(data.num_images, dtype=torch.int64))
        self.register_buffer("largest_cluster", torch.ones(()))

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return multi_crop.make_views(batch, rng, chains, self.config.num_local)

    def embed(self, views: Views, step: Step) -> Embedded:
        return multi_crop.embed(self.backbone, views)

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat(list(embedded.values()))  # [V * N, backbone.dim]
        z = self.project(h)  # [V * N, D], in one call: BatchNorm sees all views
        by_view = torch.stack(z.chunk(len(embedded)))  # [V, N, D]
        loss = cluster_prediction(by_view, self.prototypes, self.labels[:, views.index], self.config.temperature)
        large = F.normalize(by_view[:2].detach().float(), dim=2)
        carry = {f"large{n}": distributed.gather(view) for n, view in enumerate(large)}
        rows = 2 * len(views)
        return Output(
            loss=loss, carry=carry | {"index": distributed.gather(views.index)}, watch={"h": h[:rows], "z": z[:rows]},
            watched_views=2, metrics={"largest_cluster": self.largest_cluster.clone()},
        )  # fmt: skip

    def after_step(self, carry: Tensors, step: Step) -> None:
        for bank, name in zip(self.memory, ("large0", "large1"), strict=True):
            bank[carry["index"]] = carry[name].to(bank.dtype)
        self.seen[carry["index"]] = 1

    def refresh_due(self, step: Step) -> bool:
        return step.starts_epoch

    @torch.no_grad()
    def refresh(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor], step: Step) -> None:
        """New clusters of last epoch's embeddings. Images that it did not come to get no label for the next one."""
        if step.number == 0:
            self.fill_memory(scan)
        rows = self.seen.nonzero()[:, 0]
        if len(rows) < self.config.num_prototypes:  # a batch nearly as large as the set: older embeddings have to do
            rows = torch.arange(len(self.seen), device=self.seen.device)
        self.labels.fill_(NO_LABEL)
        for head in range(self.config.num_heads):
            found = spherical_kmeans(
                self.memory[head % 2, rows],
                self.config.num_prototypes,
                self.config.kmeans_iterations,
                step.rng.fork("clusters", head),
            )
            self.prototypes[head], self.labels[head, rows] = found
        largest = max(int(found.bincount().max()) for found in self.labels[:, rows])
        self.largest_cluster.fill_(largest * self.config.num_prototypes / len(rows))
        self.seen.zero_()

    def fill_memory(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor]) -> None:
        """Embeddings of all images, seen whole, before anything is trained; both banks begin alike."""
        backbone, feed = self.encoder()
        backbone.eval()
        h = scan(lambda batch: backbone(feed(batch.images)))
        backbone.train()
        # The projector's BatchNorm has seen nothing yet, so it takes the statistics of the images themselves.
        parts = h.tensor_split(math.ceil(len(h) / ROWS_AT_ONCE))  # of nearly equal size: none is a single image
        self.memory[:] = F.normalize(torch.cat([self.project(part) for part in parts]), dim=1)
        self.seen.fill_(1)

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(self.config.num_prototypes)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
