"""The encoder: a backbone, how it is fed, and where it came from. It is what a run leaves behind.

Stored as `encoder.safetensors` (weights) and `encoder.json` (all one needs to rebuild it); nothing is unpickled.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy import catalog, config, files
from selfstudy.errors import UserError, nearest
from selfstudy.types import Pixels

Fit = Literal["crop", "pad", "squash"]
Region = Literal["whole", "top", "bottom"]
Pooling = Literal["backbone", "class_token", "mean_of_tokens"]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Everything that decides a backbone's architecture. `mean` and `std` are of pixel values in [0, 1]."""

    name: str
    channels: int
    image_size: int  # pixels a side, before `region` is cut
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stem: Literal["small", "imagenet"] = "small"  # small: first convolution 3x3 stride 1, no max-pooling
    region: Region = "whole"  # the part of the square that it sees, for those that have weights for every place

    @property
    def seen(self) -> tuple[int, int]:
        """Height and width of the images it is given, as Feed cuts them."""
        half = self.image_size // 2
        heights = {"whole": self.image_size, "top": half, "bottom": self.image_size - half}
        return heights[self.region], self.image_size


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

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The intermediate layers that `layers` can give, the one next to the image first."""
        raise self._no_layers()

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """What those layers make of float32 [N, C, S, S] in [0, 1]: [N, channels, height, width] or [N, units], by name.

        Raises UserError for a name that is not in `layer_names`, and from backbones that show no layers.
        """
        raise self._no_layers()

    def depths(self) -> dict[str, int]:
        """How deep each parameter lies, by its name; 0 is next to the image, and the norm after a layer belongs to it."""
        found: dict[str, int] = {}
        depth = -1
        for name, module in self.named_modules():
            own = list(module.named_parameters(prefix=name, recurse=False))
            depth += any(parameter.ndim > 1 for _, parameter in own)  # a convolution or a linear layer
            found |= {full: max(depth, 0) for full, _ in own}
        return found

    def _no_layers(self) -> UserError:
        return UserError(
            f"backbone {self.spec.name} shows no intermediate layers, as resnet18, conv4 and vit_tiny_patch16_224 do"
        )

    def _require_layers(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.layer_names:
                raise UserError(f'backbone {self.spec.name} has no layer "{name}".{nearest(name, self.layer_names)}')

    def _no_tokens(self) -> UserError:
        return UserError(
            f"backbone {self.spec.name} has no tokens: this method needs a vision transformer such as vit_tiny_patch16_224"
        )


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a page, too large to be looked at as a whole, is cut into square pictures."""

    side: int  # pixels a side of a tile, on the page as it was after `scale`
    scale: float = 1.0  # of the page before it is cut: 0.5 halves its sides
    most: int = 16  # tiles of one page, spread over it at random; the same ones every time
    blank: float = 0.03  # a tile is skipped where its grey values deviate less, as a share of black to white

    def __post_init__(self) -> None:
        if self.side < 8:
            raise ValueError(f"side is {self.side}, but a tile has at least 8 pixels a side")
        if not 0 < self.scale <= 1:
            raise ValueError(
                f"scale is {self.scale}, but must be above 0 and at most 1: pages are shrunk, not magnified"
            )
        if self.most < 1:
            raise ValueError(f"most is {self.most}, but a page gives at least 1 tile")
        if not 0 <= self.blank < 0.5:
            raise ValueError(
                f"blank is {self.blank}, but must be at least 0 and below 0.5, the largest deviation there is"
            )


@dataclass(frozen=True, kw_only=True)
class Feed:
    """How a stored image becomes the backbone's input, in a closed vocabulary so that JSON can hold it."""

    size: int  # pixels a side, before `region` is cut
    channels: int
    fit: Fit = "crop"  # how a picture that is not square was made square
    tiles: Tiles | None = None  # how pages were cut; None: a picture is looked at as a whole
    levels: tuple[tuple[float, float], ...] = ()  # of each channel: what became black and white; (): 8 bits as they are
    region: Region = "whole"  # the part of the square that is seen
    pooling: Pooling = "backbone"
    colour: Literal["stored", "lightness"] = "stored"  # lightness: CIE L* / 100 of what is stored, grey or colour

    def __call__(self, images: Tensor) -> Tensor:
        """Uint8 [N, C', S', S'] to float32 in [0, 1], [N, channels, size, size] less what `region` cuts away."""
        if self.colour == "stored":
            images = match_channels(images, self.channels)
        images = images.float() / 255
        if images.shape[-1] != self.size:
            images = F.interpolate(
                images, size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return self.of_view(images)

    def of_view(self, images: Tensor) -> Tensor:
        """The same of float32 views in [0, 1] that have their size already: what fine-tuning shows the backbone."""
        images = match_channels(lightness(images) if self.colour == "lightness" else images, self.channels)
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
        luma = (images.float() * weights).sum(1, keepdim=True)
        return luma if images.is_floating_point() else luma.round().to(images.dtype)
    raise UserError(f"the images have {found} channels, but the encoder takes {channels}")


def linear_light(images: Tensor) -> Tensor:
    """SRGB values in [0, 1] to amounts of light in [0, 1] (IEC 61966-2-1): a pixel of 0.5 gives a fifth of the light of 1."""
    return torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)


def cie_root(light: Tensor) -> Tensor:
    """The cube root of light, as a share of white's, with CIE's straight line near black (CIE 15, Lab)."""
    knee = 6 / 29
    return torch.where(light > knee**3, light.clamp(min=knee**3) ** (1 / 3), light / (3 * knee**2) + 4 / 29)


def lightness(images: Tensor) -> Tensor:
    """Float [N, 1 or 3, H, W] of sRGB values in [0, 1] to L* / 100 of CIE Lab, [N, 1, H, W]: black 0, white 1."""
    light = linear_light(images)
    if images.shape[1] == 3:
        red, green, blue = light.split(1, dim=1)
        light = 0.2126729 * red + 0.7151522 * green + 0.0721749 * blue  # of sRGB's colours to Y, for white D65
    elif images.shape[1] != 1:
        raise UserError(
            f"the images have {images.shape[1]} channels, but lightness is of grey or colour images (1 or 3)"
        )
    return 1.16 * cie_root(light) - 0.16


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
    def __call__(self, images: Pixels, *, batch_size: int = 512, device: torch.device | str = "cpu") -> Tensor:
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
        content = safetensors.torch.save(state_of(self.backbone))
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


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """The state as a file takes it: on the CPU, in one piece each."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def build_backbone(spec: BackboneSpec) -> Backbone:
    """A newly initialised backbone: ours if a file in backbones/ has the name, else the timm model of that name."""
    name = spec.name if spec.name in catalog.names("backbones") else "timm"
    return catalog.find("backbones", name, Backbone)(spec)
