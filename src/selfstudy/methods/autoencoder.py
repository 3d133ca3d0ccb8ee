"""Convolutional autoencoder: draw the view again from its features alone.

Family  reconstruction, 2006
Source  Hinton and Salakhutdinov, Science 2006; the convolutional form with root mean squared error is that of the
        label-efficiency study selfstudy grew out of (noise and flips as views, a frozen encoder afterwards).
Scale   mean over images of the root of the mean squared pixel error: 0 to 1, 0 for a perfect drawing.
Rows    N images. H = the backbone's features, the only thing the decoder sees.
Needs   nothing: any batch, any backbone. Reconstruction rewards what covers many pixels, not what tells classes apart.
State   the mean of the images drawn so far: a loss like that of drawing it for every image has learned nothing.
Kin     a denoising autoencoder draws the clean image instead; MAE hides patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.methods._mean_image import MeanImage
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, papers

ERROR_FLOOR = 1e-8  # squared pixel error; keeps the root's gradient finite for a perfect drawing


@dataclass(frozen=True, kw_only=True)
class Settings:
    decoder_width: int = 128  # channels of the decoder's first and smallest grid

    def __post_init__(self) -> None:
        if self.decoder_width < 1:
            raise ValueError(f"decoder_width is {self.decoder_width}, but must be 1 or more")


@in_float32
def root_mean_squared_error(drawn: Tensor, images: Tensor) -> Tensor:
    """Mean over images of the root mean squared pixel error; both [N, C, S, S]. An offset of c everywhere gives |c|."""
    squared = (drawn - images).square().flatten(1).mean(1)
    return (squared + ERROR_FLOOR).sqrt().mean()


class Autoencoder(Method):
    Config = Settings
    causes = "a learning rate too high (try a tenth); images that are nearly all alike, or mostly blank"
    recipes = {
        "paper": Recipe(
            source="the label-efficiency study names loss, views and batch; its optimiser is not stated: Adam's default rate",
            optimizer="adamw", lr=1e-3, lr_scaling="none", weight_decay=0.0, batch_size=128, epochs=100, warmup_epochs=0,
            backbone="resnet18",
        ),
        "small": Recipe(
            source="benchmarks/digits.md",
            optimizer="adamw", lr=1e-3, lr_scaling="none", weight_decay=0.0, batch_size=128, epochs=100, warmup_epochs=2,
            backbone="resnet18",
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the decoder

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.autoencoder(data.image_size)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.draw = ConvolutionalDecoder(self.backbone.dim, data.channels, data.image_size, config.decoder_width)
        self.mean_image = MeanImage(data.channels, data.image_size)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng)})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.backbone(views["base"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        loss = root_mean_squared_error(self.draw(embedded["h"]), views["base"])
        carry = self.mean_image.carry(views["base"], root_mean_squared_error)
        return Output(loss=loss, carry=carry, watch={"h": embedded["h"]})

    def after_step(self, carry: Tensors, step: Step) -> None:
        self.mean_image.update(carry)

    def loss_of_nothing(self, batch_size: int) -> float:
        # For the last step's own batch: batches differ by more than the 1 % to which the doctor compares.
        return float(self.mean_image.loss)

    def show(self, views: Views, step: Step) -> Tensors:
        return {"original": views["base"], "drawn": self.draw(self.backbone(views["base"]))}

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
