"""Mutual information of the two halves of an image: proves that two encoders and half images fit the contract."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from selfstudy.encoder import Feed
from selfstudy.method import Method, Recipe, Requirements
from selfstudy.types import Output, Views
from selfstudy.views import papers


@dataclass(frozen=True, kw_only=True)
class Config:
    pass


class InfoMax(Method):
    Config = Config
    causes = "a spike"
    recipes = {
        "small": Recipe(
            source="spike",
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.0,
            batch_size=8,
            epochs=1,
            warmup_epochs=0,
            backbone="conv4",
        )
    }

    @classmethod
    def requires(cls, config, data):
        return Requirements(smallest_batch=2)

    @classmethod
    def chains(cls, config, data):
        return {"base": papers.autoencoder(data.image_size)}

    def __init__(self, make_backbone, data, config):
        super().__init__(make_backbone, data, config)
        self.top, self.bottom = make_backbone(), make_backbone()

    def views(self, batch, rng, chains):
        whole = chains["base"](batch.images, batch.index, rng)
        half = whole.shape[2] // 2
        return Views(batch.index, {"top": whole[:, :, :half], "bottom": whole[:, :, half:]})

    def embed(self, views, step):
        return {"top": self.top(views["top"]), "bottom": self.bottom(views["bottom"])}

    def objective(self, embedded, views, step):
        scores = F.normalize(embedded["top"], dim=1) @ F.normalize(embedded["bottom"], dim=1).T / 0.2
        loss = F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
        bound = torch.log(torch.tensor(float(len(scores)))) - loss.detach()
        return Output(loss=loss, watch={"h": embedded["top"]}, metrics={"bound_nats": bound})

    def encoder(self):
        return self.top, Feed(size=self.data.image_size, channels=self.data.channels, region="top")
