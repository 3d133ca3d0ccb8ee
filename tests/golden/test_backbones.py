"""Our own backbones: sizes they take, parameters counted by hand, twins of those that come from a paper."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.encoder import Backbone, BackboneSpec, Encoder, Feed, Region, build_backbone
from selfstudy.errors import UserError
from selfstudy.rng import Rng
from tests.reference import backbones as twins


def made(name: str, channels: int = 1, image_size: int = 12, region: Region = "whole") -> Backbone:
    mean, std = (0.4,) * channels, (0.2,) * channels
    spec = BackboneSpec(name=name, channels=channels, image_size=image_size, mean=mean, std=std, region=region)
    with Rng.from_seed(0).seeding_torch():
        return build_backbone(spec).eval()


def pictures(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def weights_of(backbone: Backbone) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in backbone.state_dict().items()}


@pytest.mark.parametrize("name", ["conv4", "conv3", "conv2"])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 28, 28), (1, 14, 28), (3, 17, 33)])
def test_convolutions_take_any_size(name: str, channels: int, height: int, width: int):
    """Halves of images too. Mutation: LayerNorm with a weight for every place of the grid."""
    backbone = made(name, channels)
    features = backbone(pictures(3, channels, height, width))
    assert features.shape == (3, backbone.dim)
    torch.testing.assert_close(features[1:2], backbone(pictures(3, channels, height, width)[1:2]))  # each image alone


@pytest.mark.parametrize(("name", "least", "most"), [("conv3", 2.5e6, 3.5e6), ("conv4", 14e6, 18e6)])
def test_multiply_adds_of_a_picture_of_32_pixels(name: str, least: float, most: float):
    """About 3 and 15 million are promised. Counted at each convolution: weights times places of its result."""
    backbone, total = made(name, channels=3), 0

    def count(module: torch.nn.Module, inputs: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * result.shape[2] * result.shape[3]

    for module in backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    backbone(pictures(1, 3, 32, 32))
    assert least < total < most


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("mlp", 1, 784 * 300 + 300 + 300 * 300 + 300 + 300 * 100 + 100),
        ("mlp", 3, 3 * 784 * 300 + 300 + 300 * 300 + 300 + 300 * 100 + 100),
        ("conv2", 1, 25 * 64 + 64 + 25 * 64 * 128 + 128 + 2 * 128 + 128 * 100 + 100),
    ],
)
def test_parameters(name: str, channels: int, expected: int):
    """Mutation: another width; a bias or the norm's scale left out; the pixels of one channel only."""
    assert sum(p.numel() for p in made(name, channels, 28).parameters()) == expected


@pytest.mark.parametrize(("name", "height"), [("conv2", 12), ("conv2", 7), ("mlp", 12)])
def test_equals_the_twin(name: str, height: int):
    """Mutation: ReLU after the last layer or none between; the norm per place instead of per image; the maximum for the mean;
    no normalisation of the pixels.
    """
    backbone, images = made(name, channels=2), pictures(2, 2, height, 12)
    with torch.no_grad():
        for name_, parameter in backbone.named_parameters():
            if name_.startswith("norm"):
                parameter.add_(torch.arange(128) / 128)  # so that the norm's scale and shift count
        found = backbone(images)
    for image, features in zip(images, found, strict=True):
        expected = getattr(twins, name)(image.numpy(), weights_of(backbone), 0.4, 0.2)
        np.testing.assert_allclose(features.numpy(), expected, atol=1e-4)
    assert found.min() < 0


def test_mlp_refuses_other_sizes():
    """It cannot see half an image if it was made for a whole one. Mutation: padding or resizing in silence."""
    with pytest.raises(UserError, match="backbone mlp was made for images of 12 x 12 pixels, but these are 6 x 12"):
        made("mlp")(pictures(2, 1, 6, 12))


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("region", ["whole", "top", "bottom"])
def test_mlp_takes_the_region_that_its_spec_names(region: Region, size: int, tmp_path: Path):
    """As Feed cuts it, and after a round trip through the disk. Mutation: the region left out of the spec; half of an odd side."""
    feed = Feed(size=size, channels=1, region=region)
    images = (pictures(3, 1, size, size) * 255).byte()
    encoder = Encoder(made("mlp", image_size=size, region=region), feed, {})
    encoder.save(tmp_path)
    assert torch.equal(Encoder.load(tmp_path)(images), encoder(images))


@pytest.mark.parametrize("name", ["conv4", "conv3", "conv2", "mlp"])
def test_survives_the_disk(name: str, tmp_path: Path):
    """Mutation: a layer made at the first call, which a loaded encoder would not have."""
    encoder = Encoder(made(name), Feed(size=12, channels=1), {})
    encoder.save(tmp_path)
    images = (pictures(3, 1, 12, 12) * 255).byte()
    assert torch.equal(Encoder.load(tmp_path)(images), encoder(images))
