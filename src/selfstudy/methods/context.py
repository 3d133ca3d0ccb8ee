"""Context: name the direction in which one patch of an image lies from another.

Family  pretext, 2015
Source  Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192 (task; gaps and jitter: its "avoiding trivial solutions";
        fusion with BatchNorm: its implementation details). Grey images against the lens's fringes of colour, and the
        paper recipe: Kolesnikov, Zhai, Beyer, CVPR 2019, arXiv:1901.09005, and its code (the paper itself replaces two
        of the three colours by noise).
Scale   mean cross-entropy over the 8 directions: log 8 at the start, 0 for a solved task.
Rows    N images, 9 patches each on a 3 x 3 grid, 40 ordered pairs of adjacent ones. All pairs are used, in both
        directions, as in the paper's code: with a fixed anchor the second patch's own place would give the answer.
Needs   patches of 8 pixels with gaps: images of 28 pixels. Batches of two: the head has BatchNorm. Any backbone.
State   none.
Kin     jigsaw names the order of all nine at once. Training sees patches, evaluation the whole image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import tiles
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, papers
from selfstudy.views.grey import Grey

GRID, DIRECTIONS = 3, 8
SMALLEST_SPARE = 4  # pixels beside three patches: two gaps of 1, a jitter of 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 4096  # width of the head's hidden layer
    dropout: float = 0.0  # share of the hidden layer's units that each image loses
    grey: float = 0.66  # share of colour images shown in grey, against the lens's fringes of colour

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0 or not 0.0 <= self.grey <= 1.0:
            raise ValueError("dropout and grey must be shares: dropout from 0 to below 1, grey from 0 to 1")


def layout(image_size: int) -> tiles.Layout:
    """Patches of a quarter of the side; a quarter of what three leave free for the jitter, the rest for two gaps.

    The jitter stays below the gap, so that no pair changes its direction or overlaps.
    """
    patch = max(tiles.SMALLEST_TILE, image_size // 4)
    spare = image_size - GRID * patch
    jitter = spare // 4
    return tiles.Layout(grid=GRID, tile=patch, pitch=patch + (spare - jitter) // 2, jitter=jitter)


def adjacent_pairs() -> tuple[Tensor, Tensor, Tensor]:
    """First patch, second patch and the second's direction from the first: int64 [40] each.

    Directions in rows: 0 1 2 / 3 . 4 / 5 6 7. Turning a pair round turns direction d into 7 - d.
    """
    found = []
    for first, second in product(range(GRID**2), repeat=2):
        down, right = second // GRID - first // GRID, second % GRID - first % GRID
        place = (down + 1) * 3 + right + 1  # 4 is the patch itself
        if max(abs(down), abs(right)) == 1:
            found.append((first, second, place - (place > 4)))
    first_patches, second_patches, directions = torch.tensor(found).T
    return first_patches, second_patches, directions


def shares(directions: Tensor) -> Tensor:
    """Float32 [P]: the weight of each pair, so that all directions count alike and all pairs together 1.

    A grid has 6 pairs side by side for each direction, but only 4 across a corner.
    """
    alike = (directions[:, None] == directions).sum(1)  # pairs of the same direction
    return 1.0 / (DIRECTIONS * alike)


@in_float32
def naming_loss(logits: Tensor, directions: Tensor) -> Tensor:
    """Mean over images and directions of the cross-entropy of [N, P, 8] scores. All scores equal: log 8."""
    surprise = F.cross_entropy(logits.transpose(1, 2), directions.expand(logits.shape[:2]), reduction="none")
    return (surprise.mean(0) * shares(directions)).sum()


class Context(Method):
    Config = Settings
    causes = (
        "a learning rate too high (try a tenth); patches that are mostly blank or alike, so that no direction can be told; "
        "an edge or a border in all images that tells where a patch lay, whatever it shows"
    )
    recipes = {
        "paper": Recipe(
            source=(
                "Kolesnikov et al. 2019, code: SGD, learning rate 0.1 for 256 images, 5 warm-up epochs, ResNet-50; a cosine "
                "instead of its steps. Doersch et al. ran for weeks at rates made for sums over the batch"
            ),
            optimizer="sgd", lr=0.1, weight_decay=1e-4, batch_size=128, epochs=35, warmup_epochs=5, backbone="resnet50",
        ),
        "small": Recipe(
            source="sizes: a quarter of the side, as 96 of 384 pixels; optimiser, widths and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"hidden_dim": 512},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, smallest_image=GRID * tiles.SMALLEST_TILE + SMALLEST_SPARE)

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        colour_drop = (Grey(p=config.grey),) if data.channels == 3 and config.grey > 0 else ()
        return {"base": papers.whole(data.image_size).with_steps(colour_drop)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.layout = layout(data.image_size)
        self.first: Tensor
        self.second: Tensor
        self.direction: Tensor
        for name, table in zip(("first", "second", "direction"), adjacent_pairs(), strict=True):
            self.register_buffer(name, table, persistent=False)  # int64 [40]
        self.backbone = make_backbone()
        self.to_pixels = tiles.PixelScale(self.backbone.spec)
        self.fuse = tiles.Fusion(2 * self.backbone.dim, config.hidden_dim, DIRECTIONS, config.dropout)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        images = chains["base"](batch.images, batch.index, rng.fork("base"))
        patches = tiles.cut(images, self.layout, rng.fork("cut").per_image(batch.index))
        return Views(batch.index, {"patches": tiles.standardise(patches)})

    def embed(self, views: Views, step: Step) -> Embedded:
        h = self.backbone(self.to_pixels(views["patches"]).flatten(0, 1))
        return {"h": h.unflatten(0, (len(views), -1))}  # [N, 9, backbone.dim]

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = embedded["h"]
        pairs = torch.cat([h[:, self.first], h[:, self.second]], dim=2)  # [N, 40, 2 * backbone.dim]
        logits = self.fuse(pairs, step.rng.fork("dropout").per_image(views.index))  # [N, 40, 8]
        correct = (logits.argmax(2) == self.direction).float().mean(0)
        return Output(
            loss=naming_loss(logits, self.direction), watch={"h": h[:, GRID**2 // 2]},
            metrics={"pretext_accuracy": (correct * shares(self.direction)).sum()},
        )  # fmt: skip

    def loss_of_nothing(self, batch_size: int) -> float:
        return math.log(DIRECTIONS)

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
