"""SeLa: predict labels that the network gave to the images itself, with clusters of equal size.

Family  clustering, 2020
Source  Asano, Rupprecht, Vedaldi, ICLR 2020, arXiv:1911.05371 (labels, transport, several heads), and its code for
        training, for the schedule of relabelling and for when labels have settled.
Scale   mean over heads and images of the cross-entropy with the label.
Rows    N images in a batch; K prototypes (clusters) in each of H heads. Labels are kept by the image's index in the set.
Needs   a set that stays as it is, of several images per cluster. No pairs of views, no negatives, no teacher.
State   a label for every image and head.
Kin     DeepCluster v2 finds clusters by k-means, of any size; SwAV shares out a batch instead of the set.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn.precision import in_float32
from selfstudy.nn.sinkhorn import transport
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, Crop
from selfstudy.views.flip import Flip
from selfstudy.views.grey import Grey
from selfstudy.views.jitter import Jitter


@dataclass(frozen=True, kw_only=True)
class Settings:
    num_prototypes: int = 3000  # K
    num_heads: int = 10  # H
    sharpness: float = 25.0  # lambda in the paper: how near to hard labels the transport is (10 for CIFAR)
    tolerance: float = (
        0.1  # the transport stands still when its factors change by less, summed over images (0.01 for CIFAR)
    )
    most_sweeps: int = 2000  # of the transport; the code has no bound and could go on for ever
    num_relabelings: int = 100  # over the whole training if its schedule is quadratic, the first before the first step
    schedule: Literal["quadratic", "every_epoch"] = (
        "quadratic"  # quadratic: most of them early (ImageNet; the other: CIFAR)
    )

    def __post_init__(self) -> None:
        if self.num_prototypes < 2:
            raise ValueError(f"num_prototypes is {self.num_prototypes}, but must be at least 2 to tell images apart")
        if min(self.num_heads, self.num_relabelings, self.most_sweeps) < 1:
            raise ValueError("num_heads, num_relabelings and most_sweeps must be at least 1")
        if self.sharpness <= 0 or self.tolerance <= 0:
            raise ValueError("sharpness and tolerance must be above 0")


@in_float32
def cross_entropy_of_heads(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over heads and images; logits [N, H, K], labels int64 [H, N]. All logits equal: log K."""
    return F.cross_entropy(logits.flatten(0, 1), labels.T.flatten())


def equal_labels(logits: Tensor, sharpness: float, tolerance: float, most_sweeps: int) -> Tensor:
    """Int64 [N]: the classes of logits [N, K] under the condition that all K get equally many images, as in the paper.

    Without the condition it is the argmax, under which one class may take all images and the loss is 0.
    """
    log_p = logits.double().log_softmax(1)
    shares = log_p.new_full((logits.shape[1],), 1 / logits.shape[1])
    return transport(sharpness * log_p, shares, tolerance, most_sweeps).log_codes.argmax(1)


def relabelings_due(progress: float, num_relabelings: int) -> int:
    """How many of those after the first fall at or before `progress`: number i does at (i / (num_relabelings - 1)) ** 2."""
    return math.floor((num_relabelings - 1) * math.sqrt(progress))


class SeLa(Method):
    Config = Settings
    causes = (
        "a learning rate too high (try a tenth); fewer than about ten images per cluster (lower method.num_prototypes); labels that are "
        "renewed too seldom (method.schedule=every_epoch); labels too soft (raise method.sharpness)"
    )
    recipes = {
        "paper": Recipe(
            source="its code for ImageNet: SGD 0.05, batch 256, 400 epochs; the code divides the rate by 10 every 150 "
            "epochs, here a cosine",
            optimizer="sgd", lr=0.05, weight_decay=1e-5, batch_size=256, epochs=400, warmup_epochs=0, backbone="resnet50",
        ),
        "small": Recipe(
            source="heads and schedule: its code for CIFAR; clusters, a few times the classes, and "
            "optimiser: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"num_prototypes": 64, "schedule": "every_epoch"},
        ),
    }  # fmt: skip

    labels: Tensor
    largest_cluster: Tensor

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(least_images=config.num_prototypes, held_out_loss=False)

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        # The code's: random crop, a fifth grey, all colours jittered by 0.4, flip.
        steps = Grey(p=0.2), Jitter(p=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4), Flip(p=0.5)
        return {"base": Chain(size=data.image_size, crop=Crop(scale=(0.08, 1.0)), steps=steps)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.classify = nn.Linear(self.backbone.dim, config.num_heads * config.num_prototypes)
        balanced = torch.arange(data.num_images) % config.num_prototypes
        labels = torch.stack([balanced[torch.randperm(data.num_images)] for _ in range(config.num_heads)])
        self.register_buffer("labels", labels)  # int64 [H, images in the set]
        self.register_buffer("largest_cluster", torch.ones(()))  # of any head, in units of an equal share

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.backbone(views["base"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h, labels = embedded["h"], self.labels[:, views.index]
        logits = self.classify(h).view(len(h), self.config.num_heads, self.config.num_prototypes)
        accuracy = (logits.detach().argmax(2) == labels.T).float().mean()  # chance is 1 / K
        metrics = {"label_accuracy": accuracy, "largest_cluster": self.largest_cluster.clone()}
        watch = {"h": h, "z": logits[:, 0]}  # where all images have one label, their scores point one way
        return Output(loss=cross_entropy_of_heads(logits, labels), watch=watch, metrics=metrics)

    def refresh_due(self, step: Step) -> bool:
        if step.number == 0 or self.config.schedule == "every_epoch":
            return step.starts_epoch
        total = round(step.number / step.progress)  # whole again, so that every step agrees on what was due at the last
        before, now = (relabelings_due(n / total, self.config.num_relabelings) for n in (step.number - 1, step.number))
        return now > before

    @torch.no_grad()
    def refresh(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor], step: Step) -> None:
        """New labels for all images, seen whole and in eval mode: a label is the image's, whatever batch it comes in."""
        backbone, feed = self.encoder()
        self.eval()
        h = scan(lambda batch: backbone(feed(batch.images)))  # [images in the set, backbone.dim]
        self.train()
        weights, biases = (values.chunk(self.config.num_heads) for values in (self.classify.weight, self.classify.bias))
        for labels, weight, bias in zip(self.labels, weights, biases, strict=True):  # a head at a time: N * K is much
            labels.copy_(self.relabel(F.linear(h, weight, bias)))
        largest = max(int(labels.bincount().max()) for labels in self.labels)
        self.largest_cluster.fill_(largest * self.config.num_prototypes / self.data.num_images)

    def relabel(self, logits: Tensor) -> Tensor:
        """Int64 [N] from the logits [N, K] of one head."""
        logits = logits.cpu() if logits.device.type == "mps" else logits  # which has no float64
        return equal_labels(logits, self.config.sharpness, self.config.tolerance, self.config.most_sweeps)

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(self.config.num_prototypes)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
