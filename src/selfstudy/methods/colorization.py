"""Colorization: name the colours of an image that is seen in grey.

Family  pretext, 2016
Source  Zhang, Isola, Efros, ECCV 2016, arXiv:1603.08511 (soft bins: §2.1, Eq. 2; rebalancing: §2.2, Eq. 3-4; decoding:
        §2.3), and its code.
Scale   cross-entropy per pixel over Q bins of colour, of mean weight 1: log Q for equal scores, the entropy of the set's
        colours where only their frequencies are known. Soft targets keep it above their own entropy, at least 1.3.
Rows    N images, P = (S / 4)^2 pixels at a quarter of the resolution, Q = 261 bins of colour.
Needs   colour images (3 channels) with colours that follow from the content. Images in grey teach nothing and are left
        out of the loss. The encoder takes lightness, in one channel, so evaluation sees no colours either: where
        those alone tell the classes apart, it starts with a handicap. Any backbone.
State   how often each colour bin occurs in the set.
Kin     autoencoders draw what they see; here input and target share no channel. The paper predicts from maps of features;
        our backbones give one vector per image, so a small decoder has to place the colours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed, lightness
from selfstudy.errors import RunError
from selfstudy.method import MakeBackbone, Method, Recipe, Requirements
from selfstudy.nn import lab
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Tensors, Views
from selfstudy.views import Chain, Crop, Operation
from selfstudy.views.flip import Flip
from selfstudy.views.grey import Grey
from selfstudy.views.jitter import Jitter
from selfstudy.views.solarise import Solarise

QUARTER = 4  # colours are predicted at a quarter of the resolution (the paper's code)


@dataclass(frozen=True, kw_only=True)
class Settings:
    uniform_share: float = (
        0.5  # 1: all colours weigh alike; towards 0: a colour weighs by how rare it is (Eq. 4, lambda)
    )
    decoder_width: int = 128  # channels of the decoder's first and smallest grid

    def __post_init__(self) -> None:
        if not 0.0 < self.uniform_share <= 1.0:
            raise ValueError(
                "uniform_share must be above 0, else colours that were never seen weigh infinitely, and at most 1"
            )
        if self.decoder_width < 1:
            raise ValueError("decoder_width must be 1 or more")


def quarter_colours(images: Tensor, size: int) -> Tensor:
    """[N, 3, H, W] of sRGB in [0, 1] to [N, size * size, 2]: mean a and b of equal parts, row by row.

    Colours are averaged first and binned afterwards: the mean of two bins is often a third colour's.
    """
    return F.adaptive_avg_pool2d(lab.rgb_to_lab(images)[:, 1:], size).flatten(2).transpose(1, 2)


def is_coloured(colours: Tensor) -> Tensor:
    """Bool [N, 1] of [N, P, 2]: whether any colour of the image is away from grey."""
    return (colours.abs() > lab.GREY_BELOW).flatten(1).any(1, keepdim=True)


@in_float32
def colour_loss(scores: Tensor, nearest: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of [N, P, Q] scores, mean over the pixels that count; all scores equal: the weights' mean log Q.

    The target of a pixel is `shares` of the bins `nearest`, both [N, P, 10]; weights [N, P] are 0 where it does not count.
    """
    surprise = -(shares * scores.log_softmax(2).gather(2, nearest)).sum(2)
    return (weights * surprise).sum() / (weights > 0).sum().clamp(min=1)


class Painter(ConvolutionalDecoder):
    """The decoder up to its last convolution: [N, dim] to scores [N, P, Q], which no sigmoid may flatten."""

    def forward(self, latent: Tensor) -> Tensor:
        grid = F.relu(self.start(latent)).view(-1, self.width, self.grid, self.grid)
        for stage in self.stages:
            grid = stage(F.interpolate(grid, scale_factor=2.0))
        return self.last(grid)[:, :, : self.size, : self.size].flatten(2).transpose(1, 2)


class Colorization(Method):
    Config = Settings
    causes = (
        "images that are grey or all of the same colours; colours that do not follow from the content; a learning rate too high "
        "(try a tenth); rare colours that weigh too much (raise method.uniform_share towards 1)"
    )
    recipes = {
        "paper": Recipe(
            source=(
                "its code: Adam, 3e-5 for 40 images, betas 0.9 and 0.99; about 450,000 steps, which is 14 epochs of "
                "ImageNet; a cosine instead of its steps, ResNet-50 instead of its own network"
            ),
            optimizer="adamw", lr=3e-5, lr_scaling="none", weight_decay=1e-3, betas=(0.9, 0.99), batch_size=40, epochs=14,
            warmup_epochs=0, backbone="resnet50",
        ),
        "small": Recipe(
            source="bins and weights: paper §2.1 and 2.2; optimiser and length: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2, smallest_image=QUARTER, channels=(3,))  # BatchNorm in the decoder

    @classmethod
    def spoils(cls, config: Settings, operation: Operation) -> str:
        if isinstance(operation, Jitter) and (operation.hue > 0 or operation.saturation > 0):
            return "the colours are the target, and a changed hue or saturation is none that the content tells; set both to 0"
        if isinstance(operation, Grey):
            return "the colours are the target, and a grey image has none"
        if isinstance(operation, Solarise):
            return "the colours are the target, and inverted ones are none that the content tells"
        return ""

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        # The paper's code: crops of 176 of 256 pixels, so 0.47 of the area, and mirror images; here up to the whole image.
        crop = Crop(scale=(0.47, 1.0), ratio=(1.0, 1.0))
        return {"base": Chain(size=data.image_size, crop=crop, steps=(Flip(p=0.5),))}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.size = data.image_size // QUARTER
        self.bins: Tensor
        self.weights: Tensor
        self.nothing: Tensor
        bins = lab.gamut_bins()
        self.register_buffer("bins", bins)  # [Q, 2]
        self.register_buffer("weights", torch.ones(len(bins)))  # [Q], until the set's colours are counted
        self.register_buffer("nothing", torch.tensor(float(len(bins))).log())  # the loss of the best single answer
        self.backbone = make_backbone(channels=1)
        self.paint = Painter(self.backbone.dim, len(bins), self.size, config.decoder_width)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        images = chains["base"](batch.images, batch.index, rng)
        return Views(batch.index, {"lightness": lightness(images), "colours": quarter_colours(images, self.size)})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.backbone(views["lightness"])}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        scores = self.paint(embedded["h"])  # [N, P, Q]
        nearest, shares, weights = self._targets(views["colours"])
        counts = (weights > 0).sum().clamp(min=1)
        correct = (scores.argmax(2) == nearest[..., 0]) & (weights > 0)
        error = (lab.decode(scores.detach(), self.bins) - views["colours"]).norm(dim=2) * (weights > 0)
        return Output(
            loss=colour_loss(scores, nearest, shares, weights), watch={"h": embedded["h"]},
            metrics={"pretext_accuracy": correct.sum() / counts, "colour_error": error.sum() / counts},
        )  # fmt: skip

    def _targets(self, colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bins, shares and weights of the pixels; a pixel weighs as its nearest bin, one of a grey image nothing."""
        nearest, shares = lab.soft_encode(colours, self.bins)
        return nearest, shares, self.weights[nearest[..., 0]] * is_coloured(colours)

    def refresh_due(self, step: Step) -> bool:
        return step.number == 0

    @torch.no_grad()
    def refresh(self, scan: Callable[[Callable[[Batch], Tensor]], Tensor], step: Step) -> None:
        """Count the set's colours for the weights, then once more with them for the loss of the best single answer."""

        def count(batch: Batch) -> Tensor:
            nearest, shares, weights = self._targets(quarter_colours(batch.images.float() / 255, self.size))
            amounts = (shares * weights[..., None]).flatten()
            return torch.zeros_like(self.weights).index_add(0, nearest.flatten(), amounts)[None]

        self.weights.fill_(1.0)
        frequency = scan(count).double().sum(0)
        if not frequency.any():
            raise RunError("colorization: every image is grey, so there are no colours to learn; try another method")
        self.weights.copy_(lab.rebalancing(frequency / frequency.sum(), self.config.uniform_share))
        answers = scan(count).double().sum(0)
        share = answers / answers.sum()
        self.nothing.copy_(-torch.xlogy(share, share).sum() * answers.sum() / frequency.sum())

    def loss_of_nothing(self, batch_size: int) -> float:
        return float(self.nothing)

    def show(self, views: Views, step: Step) -> Tensors:
        """All colours at the resolution at which they are predicted; the original's are its own, as coarse."""
        light = views["lightness"]
        named = lab.decode(self.paint(self.backbone(light)), self.bins)  # [N, P, 2]
        pictures = {"original": self._coloured(light, views["colours"]), "drawn": self._coloured(light, named)}
        return {**pictures, "input": light.expand(-1, 3, -1, -1)}

    def _coloured(self, light: Tensor, colours: Tensor) -> Tensor:
        """Lightness [N, 1, S, S] under the colours [N, P, 2], as sRGB [N, 3, S, S]."""
        grid = colours.transpose(1, 2).unflatten(2, (self.size, self.size))
        wide = F.interpolate(grid, size=light.shape[2:], mode="bilinear", align_corners=False)
        return lab.lab_to_rgb(torch.cat([100 * light, wide], dim=1))

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=1, colour="lightness")
