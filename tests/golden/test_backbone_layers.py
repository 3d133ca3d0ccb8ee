"""Intermediate layers and the depth of parameters, against the backbones' own forward pass and timm's layer decay."""

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_layer_decay

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.rng import Rng

IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def build(name: str, size: int = 28) -> Backbone:
    with Rng.from_seed(0).seeding_torch():
        return build_backbone(BackboneSpec(name=name, channels=1, image_size=size, mean=(0.3,), std=(0.4,))).eval()


@pytest.mark.parametrize(
    ("name", "layers", "rest"),
    [
        ("conv4", 4, lambda net, last: last.amax((2, 3))),
        ("conv2", 2, lambda net, last: net.last(net.norm(last).mean((2, 3)))),
        ("mlp", 2, lambda net, last: net.perceptron[4](last)),
        ("resnet18", 5, lambda net, last: last.mean((2, 3))),
        ("test_vit", 6, lambda net, last: None),  # its class token is not in the map
    ],
)
@torch.no_grad()
def test_the_last_layer_leads_to_the_features(name, layers, rest):
    """Mutation: the layer before it, or a ReLU forgotten."""
    net = build(name)
    assert len(net.layer_names) == layers
    found = net.layers(IMAGES, net.layer_names)
    assert list(found) == list(net.layer_names) and all(len(values) == 3 for values in found.values())
    expected = rest(net, found[net.layer_names[-1]])
    if expected is not None:
        torch.testing.assert_close(expected, net(IMAGES))


@torch.no_grad()
def test_a_transformers_map_is_its_patches_in_place():
    """Mutation: leave the class token among them, or transpose the map."""
    net = build("test_vit")
    seen = {}
    net.model.blocks[2].register_forward_hook(lambda module, inputs, output: seen.update(tokens=output))
    found = net.layers(IMAGES, ["blocks.2"])["blocks.2"]
    patches = seen["tokens"][:, net.model.num_prefix_tokens :]
    assert found.shape[2] * found.shape[3] == patches.shape[1]
    torch.testing.assert_close(found[:, :, 1, 2], patches[:, found.shape[3] + 2])


@torch.no_grad()
def test_layers_come_in_the_order_asked_for():
    """Mutation: give them in the network's order under the names as asked."""
    net = build("resnet18")
    found = net.layers(IMAGES, ["layer3", "act1"])
    assert list(found) == ["layer3", "act1"]
    assert found["layer3"].shape[1] == 256 and found["act1"].shape[1] == 64


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r'backbone conv4 has no layer "conv5"\. Did you mean "conv'):
        build("conv4").layers(IMAGES, ["conv5"])
    with pytest.raises(UserError, match='backbone resnet18 has no layer "layer5"'):
        build("resnet18").layers(IMAGES, ["layer5"])


@pytest.mark.parametrize("name", ["conv4", "conv2", "mlp", "resnet18", "test_vit"])
def test_every_parameter_has_a_depth(name: str):
    """Mutation: leave norms out."""
    net = build(name)
    depths = net.depths()
    assert set(depths) == {name for name, _ in net.named_parameters()}
    assert sorted(set(depths.values())) == list(range(max(depths.values()) + 1))


def test_depths_of_our_own_follow_the_convolutions():
    """Mutation: count norms as layers."""
    depths = build("conv4").depths()
    assert [depths[f"convolutions.{number}.weight"] for number in (0, 1, 3, 4, 6, 7, 9, 10)] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("name", ["resnet18", "test_vit"])
def test_layer_decay_is_timms(name: str):
    """The scales of timm's own function on the model with its classifier. Mutation: one layer more or less behind."""
    net = build(name)
    model = timm.create_model(name, num_classes=7, in_chans=1)
    scale_of = {
        id(parameter): group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.5)
        for parameter in group["params"]
    }
    expected = {f"model.{name}": scale_of[id(parameter)] for name, parameter in model.named_parameters()}
    depths = net.depths()
    behind = 1 + max(depths.values())
    found = {name: 0.5 ** (behind - depth) for name, depth in depths.items()}
    assert found and found == {name: expected[name] for name in found}
