"""Jigsaw: name the order in which the tiles of an image were put.

Family  pretext, 2016 and 2018
Source  Noroozi and Favaro, ECCV 2016, arXiv:1603.09246 (task, shortcuts, permutations chosen one by one).
        Jigsaw++: Noroozi et al., CVPR 2018, arXiv:1805.00385: set `replaced` to 2 and `num_permutations` to 701.
Scale   mean cross-entropy: log P at the start, 0 for a solved task.
Rows    N images, T tiles each (9, or 4 of a 2 x 2 grid), P permutations, which the method stores.
Needs   tiles of 8 pixels with room to move: images of 27 pixels (18 for 2 x 2). Batches of two: the head has BatchNorm.
        Any backbone; the paper's convolutions with a stride of 2 at the start are not asked for.
State   the set of permutations.
Kin     context asks for the place of one tile beside another; jigsaw++ swaps some tiles for another image's.
        Training sees tiles, evaluation the whole image (the paper does likewise; others average over the tiles).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.errors import UserError
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import permutations, tiles
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Draws, Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers
from selfstudy.views.grey import Grey


@dataclass(frozen=True, kw_only=True)
class Settings:
    grid: Literal[2, 3] = 3  # tiles a side
    num_permutations: int = 1000  # P; the paper's features transfer better the more there are
    replaced: int = 0  # most tiles that come from another image: 0 to this many, equally often (jigsaw++: 2)
    hidden_dim: int = 4096  # width of the head's hidden layer
    dropout: float = 0.5  # share of the hidden layer's units that each image loses
    grey: float = 0.3  # share of colour images shown in grey, against the lens's fringes of colour

    def __post_init__(self) -> None:
        orders = math.factorial(self.grid**2)
        if not 2 <= self.num_permutations <= orders:
            raise ValueError(f"num_permutations must be 2 to {orders}, the orders of {self.grid} x {self.grid} tiles")
        if not 0 <= self.replaced < self.grid**2:
            raise ValueError("replaced must be 0 or more, and fewer than there are tiles")
        if not 0.0 <= self.dropout < 1.0 or not 0.0 <= self.grey <= 1.0:
            raise ValueError("dropout and grey must be shares: dropout from 0 to below 1, grey from 0 to 1")


def layout(image_size: int, grid: int) -> tiles.Layout:
    """Equal cells with a tile of four fifths in each: between 64 of 75 pixels (paper) and 64 of 85 (its successors)."""
    cell = image_size // grid
    tile = max(tiles.SMALLEST_TILE, cell * 4 // 5)
    return tiles.Layout(grid=grid, tile=tile, pitch=cell, jitter=cell - tile)


def swap_in(own: Tensor, most: int, draws: Draws) -> Tensor:
    """Replace 0 to `most` random tiles of each image in [N, T, ...] by random ones of the next image in the batch."""
    num_tiles = own.shape[1]
    count = draws.fork("how many").integers(0, most + 1)  # [N, 1]
    chosen = draws.fork("which").permutation(num_tiles) < count  # [N, T]: `count` random places
    source = draws.fork("by what").integers(0, num_tiles, num_tiles)
    others = own.roll(-1, 0)[torch.arange(len(own), device=own.device)[:, None], source]
    return torch.where(chosen[:, :, None, None, None], others, own)


def in_order(features: Tensor, orders: Tensor) -> Tensor:
    """[N, T, D] features of tiles and their orders, int64 [N, T], to [N, T * D]: place k holds tile orders[k]."""
    return features.gather(1, orders[:, :, None].expand_as(features)).flatten(1)


@in_float32
def naming_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of [N, P] scores. All scores equal: log P."""
    return F.cross_entropy(logits, labels)


class Jigsaw(Method):
    Config = Settings
    causes = (
        "too many permutations for this few images (try method.num_permutations=100, or grid=2 with 24); a learning rate too high "
        "(try a tenth); tiles that are mostly blank or all alike, so that no order can be told"
    )
    recipes = {
        "paper": Recipe(
            source=(
                "paper: SGD, learning rate 0.01 for 256 images, 350,000 steps, which is 70 epochs of ImageNet; a "
                "cosine instead of its steps, ResNet-50 with BatchNorm instead of its AlexNet, whose usual weight decay"
            ),
            optimizer="sgd", lr=0.01, weight_decay=5e-4, batch_size=256, epochs=70, warmup_epochs=0, backbone="resnet50",
        ),
        "small": Recipe(
            source="permutations: fewer than the paper's 1,000; optimiser, widths and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"num_permutations": 100, "hidden_dim": 1024},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, smallest_image=config.grid * (tiles.SMALLEST_TILE + 1))

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        colour_drop = (Grey(p=config.grey),) if data.channels == 3 and config.grey > 0 else ()
        return {"base": papers.whole(data.image_size).with_steps(colour_drop)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.layout = layout(data.image_size, config.grid)
        orders = permutations.far_apart(self.layout.count, config.num_permutations)
        distance = permutations.least_distance(orders)
        if distance <= config.replaced:
            raise UserError(
                f"jigsaw: with {config.replaced} replaced tiles no two orders may be alike in all others, but of these "
                f"{config.num_permutations} some differ in only {distance} places; lower replaced or num_permutations"
            )
        self.orders: Tensor
        self.register_buffer("orders", orders)  # int64 [P, T]
        self.backbone = make_backbone()
        self.to_pixels = tiles.PixelScale(self.backbone.spec)
        width = self.layout.count * self.backbone.dim
        self.fuse = tiles.Fusion(width, config.hidden_dim, config.num_permutations, config.dropout)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        images = chains["base"](batch.images, batch.index, rng.fork("base"))
        draws = rng.fork("puzzle").per_image(batch.index)
        # Two pixels for tiles of 64, as in the paper; tiles below 16 pixels are too small for it.
        pieces = tiles.cut(images, self.layout, draws.fork("cut"), channel_shift=round(self.layout.tile / 32))
        if self.config.replaced > 0:
            pieces = swap_in(pieces, self.config.replaced, draws.fork("replaced"))
        label = draws.fork("order").integers(0, self.config.num_permutations)[:, 0]
        return Views(batch.index, {"tiles": tiles.standardise(pieces), "label": label})

    def embed(self, views: Views, step: Step) -> Embedded:
        h = self.backbone(self.to_pixels(views["tiles"]).flatten(0, 1))
        return {"h": h.unflatten(0, (len(views), -1))}  # [N, T, backbone.dim], in the image's own order

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h, label = embedded["h"], views["label"]
        puzzle = in_order(h, self.orders[label])
        logits = self.fuse(puzzle[:, None], step.rng.fork("dropout").per_image(views.index))[:, 0]  # [N, P]
        return Output(
            loss=naming_loss(logits, label), watch={"h": h[:, self.layout.count // 2]},
            metrics={"pretext_accuracy": (logits.argmax(1) == label).float().mean()},
        )  # fmt: skip

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(self.config.num_permutations)

    def show(self, views: Views, step: Step) -> Tensors:
        """The tiles in order, as the head is given them, and each where the named order says that it belongs."""
        order = self.orders[views["label"]]  # [N, T]: place k holds tile order[k]
        puzzle = in_order(self.embed(views, step)["h"], order)
        logits = self.fuse(puzzle[:, None], step.rng.fork("dropout").per_image(views.index))[:, 0]
        pieces = self.to_pixels(views["tiles"]).clamp(0, 1)
        row = torch.arange(len(pieces), device=pieces.device)[:, None]
        shuffled = pieces[row, order]
        put_back = torch.empty_like(pieces)
        put_back[row, self.orders[logits.argmax(1)]] = shuffled
        return {
            name: self._picture(tiles)
            for name, tiles in (("in order", pieces), ("shuffled", shuffled), ("put back", put_back))
        }

    def _picture(self, pieces: Tensor) -> Tensor:
        """Tiles [N, T, C, t, t] side by side, [N, C, grid * t, grid * t]."""
        rows = pieces.unflatten(1, (self.config.grid, self.config.grid)).permute(0, 3, 1, 4, 2, 5)
        return rows.flatten(4, 5).flatten(2, 3)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
