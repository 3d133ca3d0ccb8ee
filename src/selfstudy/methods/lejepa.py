"""LeJEPA: predict every view from the mean of the whole-size views, while all projections together stay a Gaussian cloud.

Family  joint embedding by a prescribed distribution, 2025
Source  Balestriero and LeCun 2025, arXiv:2511.08544 (SIGReg: §4; loss: §5.1; training: §6.1), the authors' README
        (views, rates) and their minimal example (MINIMAL.md: quadrature, small images).
Scale   (1 - lambda) times the mean squared distance to the mean view, plus lambda times the Epps-Pulley statistic, which is
        about 1 for a Gaussian and 0.40 N once collapsed. stable-pretraining adds lambda times it to the whole distance and
        pools the views, so its lambda is another.
Rows    N images, V views, the whole-size ones first. D = projection width, M random directions.
Needs   z as it is: neither normalised nor followed by BatchNorm. Every encoder here; no teacher, predictor or stop-gradient.
State   none.
Kin     VICReg asks for the first two moments of a Gaussian only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import distributed, heads
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, Crop, papers
from selfstudy.views.solarise import Solarise

NUM_POINTS = 17  # of the quadrature (MINIMAL.md)
LAST_POINT = 3.0  # the first is 0: the integrand is even, so negative points add nothing


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's two hidden layers (MINIMAL.md)
    out_dim: int = 128  # D (MINIMAL.md's default; its example and small images take 16)
    num_directions: int = 1024  # M (README)
    sigreg_weight: float = 0.05  # lambda, between 0 and 1; the paper's default (§6.1)
    num_views: int = 2  # whole-size views; their mean is what every view is drawn to (README)
    num_local: int = 6  # small crops (README); without any, the whole-size views are cut as MINIMAL.md cuts its four
    local_fraction: float = 98 / 224  # side of a small crop's picture over the image's (README)
    blur: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.sigreg_weight <= 1:
            raise ValueError(f"sigreg_weight is {self.sigreg_weight}, but must lie between 0 and 1")
        if self.num_views < 1 or self.num_local < 0 or self.num_views + self.num_local < 2:
            raise ValueError(
                f"num_views is {self.num_views} and num_local {self.num_local}, but a prediction needs at least one whole-size view "
                "and two views in all"
            )
        if not 0 < self.local_fraction <= 1:
            raise ValueError(f"local_fraction is {self.local_fraction}, but must be above 0 and at most 1")
        if self.num_directions < 1:
            raise ValueError(f"num_directions is {self.num_directions}, but must be at least 1")


def random_directions(rng: Rng, width: int, count: int, device: torch.device) -> Tensor:
    """[width, count], columns of length 1, uniform on the sphere: equal on all processes, since the stream is."""
    return F.normalize(rng.shared(device).normal(width * count).view(width, count), dim=0)


@in_float32
def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """Epps-Pulley statistic of [N, D] along each of [D, M], averaged over directions.

    N times the integral over [-3, 3] of |cf(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), where cf is the empirical characteristic
    function. 1.052 on average for a standard Gaussian, whatever N; 0.402 N where all rows are 0.
    """
    t = torch.linspace(0.0, LAST_POINT, NUM_POINTS, dtype=z.dtype, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    angles = (z @ directions.to(z.dtype))[:, :, None] * t  # [N, M, points]
    error = (angles.cos().mean(0) - gaussian).square() + angles.sin().mean(0).square()
    weights = torch.full_like(t, 2 * LAST_POINT / (NUM_POINTS - 1))  # trapezoids, twice: for t and for -t
    weights[0] = weights[-1] = LAST_POINT / (NUM_POINTS - 1)
    return len(z) * (error @ (weights * gaussian)).mean()


@in_float32
def to_the_mean(z: Tensor, num_views: int) -> Tensor:
    """Mean squared distance of [V, N, D] to each image's mean over the first `num_views`: 0 for equal views.

    The mean is not detached: nothing but SIGReg keeps it from collapsing.
    """
    return (z[:num_views].mean(0) - z).square().mean()


class LeJEPA(Method):
    Config = Settings
    causes = (
        "method.sigreg_weight too low against collapse (0.05; sigreg near 0.4 times the batch size means collapsed, near 1 a "
        "Gaussian); a learning rate too high (try a third); batches too small to tell a Gaussian (try 256)"
    )
    recipes = {
        "paper": Recipe(
            source="README: AdamW, 5e-4, weight decay 0.05 for transformers, end at 1/1000, 100 epochs of ImageNet; "
            "batch and warm-up: MINIMAL.md; ViT-L/14: paper §6.1",
            optimizer="adamw", lr=5e-4, lr_scaling="none", weight_decay=0.05, batch_size=256, epochs=100, warmup_epochs=1,
            final_lr_factor=0.001, backbone="vit_large_patch14_224",
        ),
        "small": Recipe(
            source="MINIMAL.md (Imagenette): lambda, four views, widths, rate and batch; README: weight decay for ResNets; no blur as in "
            "SimCLR's App. B.9; length: benchmarks/methods.md",
            optimizer="adamw", lr=2e-3, weight_decay=5e-4, batch_size=256, epochs=200, warmup_epochs=1, final_lr_factor=0.001,
            backbone="resnet18",
            config={
                "num_views": 4, "num_local": 0, "sigreg_weight": 0.02, "out_dim": 16, "num_directions": 256, "blur": False,
            },
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, smallest_image=papers.SMALLEST_LOCAL if config.num_local else 1)

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        if config.num_local == 0:
            alone = papers.simclr(data.image_size, blur=config.blur)  # MINIMAL.md: SimCLR's, and a fifth solarised
            return {"global": replace(alone, steps=(*alone.steps, Solarise(p=0.2)))}
        size = papers.local_size(data.image_size, config.local_fraction)
        local = papers.dino_local(size, blur=config.blur)  # README: its colours for large and small crops
        local = replace(local, crop=Crop(scale=(0.05, 0.3)), steps=(*local.steps, Solarise(p=0.2)))
        return {"global": replace(local, size=data.image_size, crop=Crop(scale=(0.3, 1.0))), "local": local}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        widths = (config.hidden_dim, config.hidden_dim, config.out_dim)
        self.project = heads.mlp(self.backbone.dim, *widths, hidden_bias=True)  # torchvision's MLP, as in MINIMAL.md
        counts = {"global": config.num_views, "local": config.num_local}
        self.names = {slot: tuple(f"{slot}{number}" for number in range(count)) for slot, count in counts.items()}

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        pairs = [(name, chains[slot]) for slot, names in self.names.items() for name in names]
        return Views(batch.index, {name: chain(batch.images, batch.index, rng.fork(name)) for name, chain in pairs})

    def embed(self, views: Views, step: Step) -> Embedded:
        embedded: dict[str, Tensor] = {}
        for names in self.names.values():  # views of one size in one call
            if names:
                h = self.backbone(torch.cat([views[name] for name in names]))
                embedded |= dict(zip(names, h.chunk(len(names)), strict=True))
        return embedded

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        config = self.config
        h = torch.cat([embedded[name] for names in self.names.values() for name in names])  # [V N, backbone.dim]
        z = self.project(h)  # [V N, D]
        everyone = torch.stack([distributed.gather(view) for view in z.split(len(views))])  # [V, N of all processes, D]
        directions = random_directions(step.rng.fork("directions"), config.out_dim, config.num_directions, z.device)
        distance = to_the_mean(everyone, config.num_views)
        statistic = torch.stack([sigreg(view, directions) for view in everyone]).mean()  # not of the views pooled
        whole = config.num_views * len(views)
        return Output(
            loss=(1 - config.sigreg_weight) * distance + config.sigreg_weight * statistic,
            watch={"h": h[:whole], "z": z[:whole]},
            watched_views=config.num_views,
            metrics={"distance": distance.detach(), "sigreg": statistic.detach()},
        )

    def loss_of_nothing(self, batch_size: int) -> float:
        return self.config.sigreg_weight * batch_size * float(sigreg(torch.zeros(1, 1), torch.ones(1, 1)))

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
