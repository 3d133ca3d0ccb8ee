"""A masked autoencoder in its smallest form: proves that tokens, masks keyed by image, and a decoder fit the contract."""

from dataclasses import dataclass

import torch
from torch import nn

from selfstudy.encoder import Feed
from selfstudy.method import Method, Recipe, Requirements
from selfstudy.types import Output, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Config:
    patch: int = 16
    mask_ratio: float = 0.75


class MAE(Method):
    Config = Config
    causes = "a spike"
    recipes = {
        "small": Recipe(
            source="spike",
            optimizer="adamw",
            lr=1e-3,
            weight_decay=0.05,
            batch_size=8,
            epochs=1,
            warmup_epochs=0,
            backbone="test_vit",
        )
    }

    @classmethod
    def requires(cls, config, data):
        return Requirements(needs_tokens=True)

    @classmethod
    def chains(cls, config, data):
        return {"base": Chain(size=data.image_size, crop=papers.autoencoder(data.image_size).crop, steps=())}

    def __init__(self, make_backbone, data, config):
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.num_patches = (data.image_size // config.patch) ** 2
        self.num_kept = max(1, round(self.num_patches * (1 - config.mask_ratio)))
        self.mask_token = nn.Parameter(torch.zeros(self.backbone.dim))
        self.position = nn.Parameter(torch.randn(self.num_patches, self.backbone.dim) * 0.02)
        self.decode = nn.Sequential(
            nn.TransformerEncoderLayer(self.backbone.dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True),
            nn.Linear(self.backbone.dim, config.patch**2 * data.channels),
        )

    def order(self, index, step):
        """The same image is masked alike in whatever chunk it comes: that is what cached gradients ask."""
        return step.rng.fork("mask").per_image(index).permutation(self.num_patches)

    def views(self, batch, rng, chains):
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views, step):
        keep = self.order(views.index, step)[:, : self.num_kept]
        return {"tokens": self.backbone.tokens(views["base"], keep)}

    def objective(self, embedded, views, step):
        order = self.order(views.index, step)
        kept, hidden = order[:, : self.num_kept], order[:, self.num_kept :]
        n, dim = len(views), self.backbone.dim
        patches = embedded["tokens"][:, 1:]
        full = self.mask_token.expand(n, self.num_patches, dim).scatter(
            1, kept[:, :, None].expand(-1, -1, dim), patches
        )
        drawn = self.decode(full + self.position)
        p, c = self.config.patch, self.data.channels
        grid = self.data.image_size // p
        target = views["base"].view(n, c, grid, p, grid, p).permute(0, 2, 4, 3, 5, 1).reshape(n, self.num_patches, -1)
        error = (drawn - target).square().mean(2).gather(1, hidden)
        return Output(loss=error.mean(), watch={"h": embedded["tokens"][:, 0]})

    def encoder(self):
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels, pooling="mean_of_tokens")
