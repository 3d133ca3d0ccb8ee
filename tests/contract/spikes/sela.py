"""SeLa with one head: proves that relabelling the whole set by index fits the contract."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from selfstudy.encoder import Feed
from selfstudy.method import Method, Recipe, Requirements
from selfstudy.types import Output, Views
from selfstudy.views import papers


@dataclass(frozen=True, kw_only=True)
class Config:
    clusters: int = 5
    sharpness: float = 10.0


class SeLa(Method):
    Config = Config
    causes = "a spike"
    recipes = {
        "small": Recipe(
            source="spike",
            optimizer="sgd",
            lr=0.1,
            weight_decay=1e-4,
            batch_size=8,
            epochs=2,
            warmup_epochs=0,
            backbone="conv4",
        )
    }

    @classmethod
    def requires(cls, config, data):
        return Requirements(stable_index=True, held_out_loss=False)

    @classmethod
    def chains(cls, config, data):
        return {"base": papers.simclr(data.image_size, strength=0.5, blur=False)}

    def __init__(self, make_backbone, data, config):
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.classify = nn.Linear(self.backbone.dim, config.clusters)
        self.register_buffer("assignment", torch.arange(data.num_images) % config.clusters)

    def views(self, batch, rng, chains):
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views, step):
        return {"h": self.backbone(views["base"])}

    def objective(self, embedded, views, step):
        logits = self.classify(embedded["h"])
        return Output(loss=F.cross_entropy(logits, self.assignment[views.index]), watch={"h": embedded["h"]})

    def refresh_due(self, step):
        return step.starts_epoch

    @torch.no_grad()
    def refresh(self, scan, step):
        self.eval()
        log_p = (
            scan(lambda batch: self.classify(self.backbone(batch.images.float() / 255)).log_softmax(1))
            * self.config.sharpness
        )
        self.train()
        log_p = log_p.double()
        for _ in range(50):  # Sinkhorn in the log domain: equal clusters, one unit of mass per image
            log_p = log_p - log_p.logsumexp(0, keepdim=True)
            log_p = log_p - log_p.logsumexp(1, keepdim=True)
        self.assignment.copy_(log_p.argmax(1))

    def encoder(self):
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
