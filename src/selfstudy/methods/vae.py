"""Beta-VAE: draw the view again from a noisy code that tells as little as it can.

Family  reconstruction, 2014 and 2017
Source  Kingma and Welling, ICLR 2014, arXiv:1312.6114 (the code; its divergence: App. B); Higgins et al., ICLR 2017,
        "beta-VAE" (Eq. 4: the weight beta); active units: Burda et al. 2016, arXiv:1509.00519.
Scale   nats per image: the cross-entropy summed over pixels and channels, plus beta times the divergence summed over
        the code, both as means over images. An average over pixels would let the divergence win by hundreds to one.
Rows    N images. H = the backbone's features; mean and log-variance of the code are linear maps of H, so H tells all that
        the code tells. H is what is kept: it is as wide as for other methods, and never a sample.
Needs   any batch of two, any backbone. Views without noise of their own, which no decoder can foretell.
State   the mean of the images drawn so far: a loss like that of drawing it for every image has learned nothing.
Kin     beta 1 is the VAE, beta 0 an autoencoder with a noisy code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements, Schedule
from selfstudy.methods._mean_image import MeanImage
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

LARGEST_LOG_VARIANCE = 10.0  # either way: deviations from 1/150 to 150, beyond which exp soon overflows
ACTIVE_VARIANCE = 0.01  # of a dimension's mean over images; Burda et al. 2016


@dataclass(frozen=True, kw_only=True)
class Settings:
    latent_dim: int = 32  # width of the code; the beta-VAE paper's for photographs (10 for drawn shapes)
    beta: float = 4.0  # weight of the divergence; 1 is the plain VAE
    beta_warmup: float = (
        0.1  # share of the training in which beta rises from 0, lest the code die before the decoder can read
    )
    decoder_width: int = 128  # channels of the decoder's first and smallest grid

    def __post_init__(self) -> None:
        if self.decoder_width < 1:
            raise ValueError(f"decoder_width is {self.decoder_width}, but must be 1 or more")
        if self.latent_dim < 1:
            raise ValueError(f"latent_dim is {self.latent_dim}, but must be at least 1")
        if not 0.0 <= self.beta < float("inf"):
            raise ValueError(f"beta is {self.beta}, but must be 0 or more")
        if not 0.0 <= self.beta_warmup <= 1.0:
            raise ValueError(f"beta_warmup is {self.beta_warmup}, but must be a share of the training, from 0 to 1")


@in_float32
def reconstruction(drawn: Tensor, images: Tensor) -> Tensor:
    """Cross-entropy of pixels in [0, 1], summed over each image, mean over images; both [N, C, S, S].

    All drawn at 1/2: log 2 for each of the C S S values. Black and white drawn exactly: 0. Greys cannot reach 0.
    """
    return F.binary_cross_entropy(drawn, images, reduction="sum") / len(images)


@in_float32
def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), both [N, L]: sum over L, mean over N.

    Range [0, infinity): 0 for mean 0 and variance 1; 1/2 for each dimension of mean 1 and variance 1.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


@in_float32
def active_units(mean: Tensor) -> Tensor:
    """How many of the L dimensions of [N, L] means vary over images: 0 is posterior collapse, the code says nothing."""
    return (mean.var(0, correction=0) > ACTIVE_VARIANCE).sum().float()


class VAE(Method):
    Config = Settings
    causes = (
        "posterior collapse, when active_units in the log is 0: beta too high (try method.beta=1) or too early (raise "
        "method.beta_warmup); a learning rate too high (try a tenth); images that are nearly all alike, or mostly blank"
    )
    recipes = {
        "paper": Recipe(
            source="Higgins et al., appendix, for photographs of 64 px: Adam at 1e-4, 32 dimensions; batch and length are ours",
            optimizer="adamw", lr=1e-4, lr_scaling="none", weight_decay=0.0, batch_size=64, epochs=100, warmup_epochs=0,
            backbone="resnet18",
        ),
        "small": Recipe(
            source="benchmarks/methods.md; beta 1 keeps more of the image in the features",
            optimizer="adamw", lr=1e-3, lr_scaling="none", weight_decay=1e-4, batch_size=128, epochs=100, warmup_epochs=2,
            backbone="resnet18", config={"beta": 1.0},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the decoder

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.whole(data.image_size, flip=True)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.code = nn.Linear(self.backbone.dim, 2 * config.latent_dim)  # means, then log-variances
        self.draw = ConvolutionalDecoder(config.latent_dim, data.channels, data.image_size, config.decoder_width)
        self.mean_image = MeanImage(data.channels, data.image_size)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.backbone(views["base"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        mean, log_variance = self.code(embedded["h"]).chunk(2, dim=1)  # [N, L] each
        log_variance = log_variance.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        noise = step.rng.fork("code").per_image(views.index).normal(self.config.latent_dim)
        sample = mean + (log_variance / 2).exp() * noise
        # A sigmoid in bfloat16 is exactly 1 from 0.998 on, where its gradient is 0: white paper would stop learning.
        drawn = in_float32(self.draw)(sample)
        told, kept = divergence(mean, log_variance), reconstruction(drawn, views["base"])
        return Output(
            loss=kept + step.scheduled["beta"] * told,
            carry=self.mean_image.carry(views["base"], reconstruction),
            watch={"h": embedded["h"]},
            metrics={
                "reconstruction_nats": kept.detach(), "divergence_nats": told.detach(), "active_units": active_units(mean.detach()),
            },
        )  # fmt: skip

    def schedules(self) -> Mapping[str, Schedule]:
        beta, warmup = self.config.beta, self.config.beta_warmup
        return {"beta": lambda progress: beta * min(1.0, progress / warmup) if warmup else beta}

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.mean_image.update(carry)

    def loss_of_nothing(self, batch_size: int) -> float:
        # For the last step's own batch: batches differ by more than the 1 % to which the doctor compares.
        return float(self.mean_image.loss)

    def show(self, views: Views, step: Step) -> Tensors:
        """Drawn from the mean of the code, without its noise."""
        mean, _ = self.code(self.backbone(views["base"])).chunk(2, dim=1)
        return {"original": views["base"], "drawn": self.draw(mean)}

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
