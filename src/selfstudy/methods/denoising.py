"""Denoising autoencoder: draw the clean view from the features of a spoiled one.

Family  reconstruction, 2008
Source  Vincent, Larochelle, Bengio, Manzagol, ICML 2008 (masking) and Vincent et al., JMLR 11, 2010 (also Gaussian noise, and
        squared error where pixels are no bits). Their encoders are perceptrons, trained layer by layer; ours is any backbone.
Scale   mean over images and pixels of the squared error: 0 to 1, 0 for a perfect drawing.
Rows    N images. H = the backbone's features, the only thing the decoder sees.
Needs   any batch of two, any backbone, views without noise: the target is what the views show.
State   the mean of the images drawn so far: a loss like that of drawing it for every image has learned nothing.
Kin     the autoencoder draws what it was shown, noise and all; MAE hides whole patches and draws only those.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.methods._mean_image import MeanImage
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Draws, Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, Operation, papers
from selfstudy.views.noise import Noise


@dataclass(frozen=True, kw_only=True)
class Settings:
    corruption: Literal["masking", "gaussian"] = "masking"
    share: float = 0.25  # masking: of the pixels that turn black; 0.25 to 0.5 are common
    std: float = 0.3  # gaussian: where 1 is the span from black to white; 0.1 to 0.5 are common
    decoder_width: int = 128  # channels of the decoder's first and smallest grid

    def __post_init__(self) -> None:
        if self.decoder_width < 1:
            raise ValueError(f"decoder_width is {self.decoder_width}, but must be 1 or more")
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share is {self.share}, but must lie between 0 and 1: some pixels go, some stay")
        if not 0.0 < self.std <= 1.0:
            raise ValueError(f"std is {self.std}, but must be above 0 and at most 1, the span from black to white")


@in_float32
def squared_error(drawn: Tensor, clean: Tensor) -> Tensor:
    """Mean squared pixel error; both [N, C, S, S]. An offset of c everywhere gives c squared."""
    return F.mse_loss(drawn, clean)


def mask(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Images [N, C, S, S] with each pixel black, in all its channels, with probability `share` and for itself.

    The papers blacken exactly that share; for pictures of hundreds of pixels the difference is below their other noise.
    """
    kept = draws.uniform(images.shape[2:].numel()) >= share
    return images * kept.view(len(images), 1, *images.shape[2:])


def add_gaussian(images: Tensor, draws: Draws, std: float) -> Tensor:
    """Images [N, C, S, S] plus independent noise in every pixel and channel, clamped to [0, 1]."""
    return Noise(std=(std, std))(images.clone(), draws)  # an operation may overwrite what it is given


class Denoising(Method):
    Config = Settings
    causes = (
        "so much corruption that the mean image is the best answer (lower method.share or method.std); a learning rate too "
        "high (try a tenth); images that are nearly all alike, or mostly blank"
    )
    recipes = {
        "paper": Recipe(
            source="corruption: ICML 2008; its perceptrons' optimiser says nothing for convolutions: Adam's default rate",
            optimizer="adamw", lr=1e-3, lr_scaling="none", weight_decay=0.0, batch_size=128, epochs=100, warmup_epochs=0,
            backbone="resnet18",
        ),
        "small": Recipe(
            source="benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, lr_scaling="none", weight_decay=1e-4, batch_size=128, epochs=100, warmup_epochs=2,
            backbone="resnet18",
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the decoder

    @classmethod
    def spoils(cls, config: Settings, operation: Operation) -> str:
        if isinstance(operation, Noise):
            return "its target would be noisy too; method.corruption=gaussian and method.std set the noise of the input"
        return ""

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.whole(data.image_size)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.draw = ConvolutionalDecoder(self.backbone.dim, data.channels, data.image_size, config.decoder_width)
        self.mean_image = MeanImage(data.channels, data.image_size)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        clean = chains["base"](batch.images, batch.index, rng)
        draws = rng.fork("corruption").per_image(batch.index)
        masking = self.config.corruption == "masking"
        spoiled = mask(clean, draws, self.config.share) if masking else add_gaussian(clean, draws, self.config.std)
        return Views(batch.index, {"spoiled": spoiled, "clean": clean})

    def embed(self, views: Views, step: Step) -> Embedded:
        # Like dropout, corruption belongs to training alone; a validation loss is that of the images as they are.
        return {"h": self.backbone(views["spoiled"] if self.training else views["clean"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        loss = squared_error(self.draw(embedded["h"]), views["clean"])
        carry = self.mean_image.carry(views["clean"], squared_error)
        return Output(loss=loss, carry=carry, watch={"h": embedded["h"]})

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.mean_image.update(carry)

    def loss_of_nothing(self, batch_size: int) -> float:
        # For the last step's own batch: batches differ by more than the 1 % to which the doctor compares.
        return float(self.mean_image.loss)

    def show(self, views: Views, step: Step) -> Tensors:
        drawn = self.draw(self.backbone(views["spoiled"]))
        return {"original": views["clean"], "input": views["spoiled"], "drawn": drawn}

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
