"""Any model of timm by its name, without its classifier, for any number of channels and any image size.

Source  timm, Wightman et al., https://github.com/huggingface/pytorch-image-models.
Stem    "small" replaces a ResNet's 7x7 stride-2 stem and max-pooling by a 3x3 stride-1 convolution, as every paper on
        32 px images does (He et al. 2016 §4.2; solo-learn pads by 2 there, torchvision's and lightly's ports by 1, as
        here). "imagenet" keeps the model as it is. Vision transformers have their position embeddings made for the
        image size, and resized for smaller crops; "small" also replaces the patch size in their name, so that an image
        has at least 7 x 7 patches (4 pixels at 32, as solo-learn's vision transformers for CIFAR).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from selfstudy.backbones._normalise import Normalise
from selfstudy.encoder import Backbone, BackboneSpec
from selfstudy.errors import UserError, nearest


class Timm(Backbone):
    """A timm model; `tokens` works for its plain vision transformers."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = Normalise(spec.mean, spec.std)
        self.model: Any = _create(spec)  # timm has no common base class
        self.dim = int(self.model.num_features)
        self.has_replaced_stem = spec.stem == "small" and _is_resnet(self.model)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self.normalise(images))

    def normalise_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """As the makers of the weights did; by the mean over the colours where there are not as many channels."""
        channels = self.spec.channels
        if channels != len(mean):
            mean, std = ([sum(values) / len(values)] * channels for values in (mean, std))
        self.spec = replace(self.spec, mean=tuple(mean), std=tuple(std))
        self.normalise = Normalise(mean, std)

    def tokens(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """As in MAE (He et al. 2022): position embeddings are added before patches are dropped."""
        if not _is_plain_vit(self.model):
            return super().tokens(images, keep)
        vit = self.model
        x = vit._pos_embed(vit.patch_embed(self.normalise(images)))  # [N, 1 + P, D]
        prefix, patches = x[:, :1], x[:, 1:]
        if keep is not None:
            patches = patches.gather(1, keep[:, :, None].expand(-1, -1, patches.shape[2]))
        return vit.norm(vit.blocks(vit.norm_pre(torch.cat([prefix, patches], 1))))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """timm's names: act1, layer1 .. layer4 of a ResNet, blocks.0 .. of a vision transformer."""
        if not _shows_layers(self.model):
            raise self._no_layers()
        return tuple(str(layer["module"]) for layer in self.model.feature_info)

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """By timm's `forward_intermediates`: of a vision transformer the patches as a map, before the last norm."""
        self._require_layers(names)
        positions = sorted({self.layer_names.index(name) for name in names})
        maps = self.model.forward_intermediates(self.normalise(images), indices=positions, intermediates_only=True)
        found = {self.layer_names[position]: values for position, values in zip(positions, maps, strict=True)}
        return {name: found[name] for name in names}

    def depths(self) -> dict[str, int]:
        """timm's own groups, as its layer decay has them, of models that have some; `normalise` has no parameters."""
        from timm.models import group_parameters

        if not callable(getattr(self.model, "group_matcher", None)):  # timm has no common base class to ask
            return super().depths()
        grouped = group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)
        return {f"model.{name}": int(depth) for name, depth in grouped.items()}

    @property
    def patch_size(self) -> int:
        if not _is_plain_vit(self.model):
            return super().patch_size
        return int(self.model.patch_embed.patch_size[0])


PATCHES_A_SIDE = 7  # at least, with the small stem


def small_patch(image_size: int) -> int:
    """Pixels a side: the largest of 16, 8, 4, 2, 1 that leaves an image of `image_size` at least 7 patches a side."""
    return next((patch for patch in (16, 8, 4, 2) if image_size // patch >= PATCHES_A_SIDE), 1)


def _shows_layers(model: nn.Module) -> bool:
    return callable(getattr(model, "forward_intermediates", None)) and isinstance(
        getattr(model, "feature_info", None), list
    )


def changed_for_small_images(name: str, stem: str, image_size: int) -> str:
    """A clause on what the small stem changes of timm's model `name`; "" where nothing is changed."""
    import timm

    family = name.partition(".")[0]
    if stem != "small" or not timm.is_model(name):
        return ""
    if family in timm.list_models(module="resnet"):
        return f"{name} begins with a 3 x 3 convolution and no pooling, since images have {image_size} pixels a side"
    if family in _plain_vits():
        return f"{name} sees patches of {small_patch(image_size)} pixels, since images have {image_size} pixels a side"
    return ""


def _is_plain_vit(model: nn.Module) -> bool:
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(model, VisionTransformer) and model.num_prefix_tokens == 1


def _is_resnet(model: nn.Module) -> bool:
    from timm.models.resnet import ResNet

    return isinstance(model, ResNet)


def _create(spec: BackboneSpec) -> Any:
    import timm

    if not timm.is_model(spec.name):
        close = nearest(spec.name, timm.list_models())
        hint = close if "Did you mean" in close else " `selfstudy list backbones` shows all names."
        raise UserError(f'there is no backbone "{spec.name}".{hint}')
    try:
        model = _create_for_size(spec)
    except (RuntimeError, AssertionError, ValueError) as error:
        shape = f"{spec.channels} x {spec.image_size} x {spec.image_size}"
        raise UserError(f"backbone {spec.name} cannot take {shape} images: {error}") from None
    if spec.stem == "small" and _is_resnet(model):
        model.conv1 = nn.Conv2d(spec.channels, model.bn1.num_features, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


def _create_for_size(spec: BackboneSpec) -> Any:
    import timm

    return timm.create_model(spec.name, **timm_arguments(spec))


def timm_arguments(spec: BackboneSpec) -> dict[str, Any]:
    """What makes timm build the backbone of a spec, its small stem apart."""
    arguments: dict[str, Any] = {"num_classes": 0, "in_chans": spec.channels}
    if spec.name.partition(".")[0] in _plain_vits():
        arguments |= {"img_size": spec.image_size, "dynamic_img_size": True, "dynamic_img_pad": True}
        if spec.stem == "small":
            arguments["patch_size"] = small_patch(spec.image_size)
    elif _takes_image_size(spec.name):
        arguments["img_size"] = spec.image_size
    return arguments


@lru_cache(maxsize=1)
def _plain_vits() -> frozenset[str]:
    """timm's plain vision transformers, which can resize their position embeddings for every batch."""
    import timm

    return frozenset(timm.list_models(module="vision_transformer"))


@lru_cache(maxsize=64)
def _takes_image_size(name: str) -> bool:
    """Whether timm builds the model for an image size; convolutional ones take any and know no such argument."""
    import timm

    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        try:
            timm.create_model(name, num_classes=0, img_size=224)
        except TypeError:
            return False
        except (AssertionError, RuntimeError, ValueError):  # it knows the argument and dislikes the size
            return True
    return True
