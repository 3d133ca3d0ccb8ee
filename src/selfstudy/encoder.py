"""The encoder: a backbone, how it is fed, and where it came from. It is what a run leaves behind.

Stored as `encoder.safetensors` (weights) and `encoder.json` (all one needs to rebuild it); nothing is unpickled.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy import catalog, config, files
from selfstudy.errors import UserError

Fit = Literal["crop", "pad", "squash"]
Region = Literal["whole", "top", "bottom"]
Pooling = Literal["backbone", "class_token", "mean_of_tokens"]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Everything that decides a backbone's architecture. `mean` and `std` are of pixel values in [0, 1]."""

    name: str
    channels: int
    image_size: int  # pixels a side
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stem: Literal["small", "imagenet"] = "small"  # small: first convolution 3x3 stride 1, no max-pooling


class Backbone(nn.Module, ABC):
    """Images to vectors. Its first operation normalises by the spec's mean and std, so callers never do."""

    spec: BackboneSpec
    dim: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Float32 [N, C, S, S] in [0, 1] to [N, dim]."""

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """[N, 1 + K, dim]: the class token and the K patches in `keep` (int64 [N, K], all patches if None)."""
        raise self._no_tokens()

    @property
    def patch_size(self) -> int:
        """Pixels a side of the patches that `tokens` stand for, row by row."""
        raise self._no_tokens()

    def _no_tokens(self) -> UserError:
        return UserError(
            f"backbone {self.spec.name} has no tokens: this method needs a vision transformer such as vit_tiny_patch16_224"
        )


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How a stored image becomes the backbone's input, in a closed vocabulary so that JSON can hold it."""

    size: int  # pixels a side, before `region` is cut
    channels: int
    fit: Fit = "crop"  # how a picture that is not square was made square
    region: Region = "whole"  # the part of the square that is seen
    pooling: Pooling = "backbone"

    def __call__(self, images: Tensor) -> Tensor:
        """Uint8 [N, C', S', S'] to float32 in [0, 1], [N, channels, size, size] less what `region` cuts away."""
        images = match_channels(images, self.channels).float() / 255
        if images.shape[-1] != self.size:
            images = F.interpolate(
                images, size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        half = self.size // 2
        match self.region:
            case "whole":
                return images
            case "top":
                return images[:, :, :half]
            case "bottom":
                return images[:, :, half:]


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Grey to any number of channels by repetition, colour to grey by ITU-R BT.601 luma; anything else is refused."""
    found = images.shape[1]
    if found == channels:
        return images
    if found == 1:
        return images.expand(-1, channels, -1, -1)
    if found == 3 and channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
        return (images.float() * weights).sum(1, keepdim=True).round().to(images.dtype)
    raise UserError(f"the images have {found} channels, but the encoder takes {channels}")


@dataclass(frozen=True)
class Encoder:
    """A frozen feature extractor: `encoder(images)` is what every protocol judges."""

    backbone: Backbone
    feed: Feed
    provenance: Mapping[str, object]  # method, settings, data fingerprint, seed, versions: JSON values only

    @property
    def dim(self) -> int:
        return self.backbone.dim

    def pool(self, images: Tensor) -> Tensor:
        """Float32 views to features [N, dim], by the feed's pooling."""
        match self.feed.pooling:
            case "backbone":
                return self.backbone(images)
            case "class_token":
                return self.backbone.tokens(images)[:, 0]
            case "mean_of_tokens":
                return self.backbone.tokens(images)[:, 1:].mean(1)

    @torch.no_grad()
    def __call__(self, images: Tensor, *, batch_size: int = 512, device: torch.device | str = "cpu") -> Tensor:
        """Features, float32 [N, dim] on the CPU, of uint8 [N, C, S', S'] images. Runs in eval mode, whole batches.

        Leaves the backbone in eval mode: an encoder is frozen.
        """
        backbone = self.backbone.to(device).eval()
        assert not backbone.training
        chunks = [self.pool(self.feed(part.to(device))).float().cpu() for part in images.split(batch_size)]
        return torch.cat(chunks) if chunks else torch.empty(0, self.dim)

    def save(self, folder: Path) -> None:
        """Write both files, each atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.detach().cpu().contiguous() for name, value in self.backbone.state_dict().items()}
        content = safetensors.torch.save(state)
        files.write_bytes(folder / "encoder.safetensors", content)
        files.write_json(
            folder / "encoder.json",
            {
                "backbone": asdict(self.backbone.spec),
                "feed": asdict(self.feed),
                "dim": self.dim,
                "provenance": dict(self.provenance),
                "sha256": hashlib.sha256(content).hexdigest(),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Rebuild the encoder of a run folder; refuses weights that are not the ones the run wrote."""
        try:
            card = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
            content = (folder / "encoder.safetensors").read_bytes()
        except FileNotFoundError as error:
            raise UserError(
                f"{folder} holds no encoder ({Path(error.filename).name} is missing); is it a run folder?"
            ) from None
        if hashlib.sha256(content).hexdigest() != card["sha256"]:
            raise UserError(f"{folder / 'encoder.safetensors'} is damaged: its checksum is not the one in encoder.json")
        spec = config.validate(BackboneSpec, card["backbone"], str(folder / "encoder.json"))
        backbone = build_backbone(spec)
        backbone.load_state_dict(safetensors.torch.load(content))
        return cls(backbone, config.validate(Feed, card["feed"], str(folder / "encoder.json")), card["provenance"])


def build_backbone(spec: BackboneSpec) -> Backbone:
    """A newly initialised backbone: ours if a file in backbones/ has the name, else the timm model of that name."""
    name = spec.name if spec.name in catalog.names("backbones") else "timm"
    return catalog.find("backbones", name, Backbone)(spec)
