"""One battery over every method.

A new file in methods/ is tested here without a line being added.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfstudy import catalog, config
from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, checkpoint, fit, resolve
from selfstudy.training.checkpoint import Position, Snapshot
from selfstudy.training.fit import _step_at, _train
from selfstudy.training.gradients import backward
from selfstudy.training.optimizer import build
from selfstudy.training.pretrain import build_method
from selfstudy.training.settings import RunSettings
from selfstudy.types import DataCard, Step
from tests.method_task import needs
from tests.method_task import overrides as small

CPU = torch.device("cpu")
METHODS = catalog.names("methods")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> ImageSet:
    """40 random pictures of 32 pixels, grey unless the method asks for colour: the battery is not about learning."""
    channels = 1
    if "method" in request.fixturenames:
        channels = max(needs(request.getfixturevalue("method")).channels or (1,))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, channels, 32, 32), dtype=torch.uint8, generator=generator)
    names = np.array([f"image{i}" for i in range(40)])
    return ImageSet(name="pictures", images=pixels, image_size=32, ids=names, groups=names, paths=names)


def settings_of(method: str, pictures: ImageSet, **overrides: object) -> RunSettings:
    defaults = {"batch_size": 8, "epochs": 2, "held_out": 0.0} | small(method)
    return resolve(method, defaults | overrides, card(pictures), "test")


def card(pictures: ImageSet) -> DataCard:
    return DataCard(num_images=len(pictures), channels=pictures.channels, image_size=pictures.image_size)


def built(method: str, pictures: ImageSet, seed: int = 0, **overrides: object) -> tuple[Method, Data, RunSettings]:
    settings = settings_of(method, pictures, seed=seed, **overrides)
    rng = Rng.from_seed(seed)
    return build_method(settings, pictures, rng).train(), Data(pictures, settings.chains(), rng), settings


def late_step(made: Method, data: Data, settings: RunSettings) -> Step:
    """A step of the second epoch, when nothing is frozen any more."""
    return _step_at(data.steps_per_epoch(settings.batch_size), made, data, settings.training, CPU)


def test_config_defaults_are_plain_values(method: str, pictures: ImageSet):
    kind = catalog.find("methods", method, Method)
    values = json.loads(json.dumps(asdict(kind.Config())))
    assert config.validate(kind.Config, values, "test") == kind.Config()
    assert {"small", "paper"} <= set(kind.recipes)
    assert len(kind.causes) > 20
    for recipe in kind.recipes.values():
        assert recipe.source
        config.validate(kind.Config, dict(recipe.config), "recipe")


def test_every_parameter_learns_or_is_a_teacher(method: str, pictures: ImageSet):
    """Every trainable parameter gets a finite gradient that is not all zero; teachers get none."""
    made, data, settings = built(method, pictures)
    step = late_step(made, data, settings)
    made(made.views(data.batch(step.number, 8), data.rng, data.chains), step).loss.backward()
    grouped = {id(p) for group in made.param_groups() for p in group.params}
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert id(parameter) in grouped, f"{name} is trained but in no group"
        else:
            assert parameter.grad is None and id(parameter) not in grouped, name


def test_forward_changes_nothing_but_batch_norm(method: str, pictures: ImageSet):
    made, data, settings = built(method, pictures)
    step = late_step(made, data, settings)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    views = made.views(data.batch(0, 8), data.rng, data.chains)
    made(views, step)
    made(views, step)
    for name, value in made.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(before[name], value), name


def test_views_are_pure_and_sliceable(method: str, pictures: ImageSet):
    made, data, _ = built(method, pictures)
    batch = data.batch(0, 8)
    views, again = (made.views(batch, data.rng, data.chains) for _ in range(2))
    other = made.views(batch, data.rng.fork("another step"), data.chains)
    assert any(not torch.equal(views[name], other[name]) for name in views.tensors)
    for name, value in views.tensors.items():
        assert torch.equal(value, again[name])
        assert len(value) == len(batch)
        assert torch.equal(views.rows(2, 5)[name], value[2:5])


@pytest.mark.parametrize("batch_size", [2, 3, 7])
def test_odd_batches(method: str, batch_size: int, pictures: ImageSet):
    made, data, settings = built(method, pictures, batch_size=batch_size)
    output = made(made.views(data.batch(0, batch_size), data.rng, data.chains), late_step(made, data, settings))
    assert output.loss.ndim == 0 and torch.isfinite(output.loss)
    assert not any(value.requires_grad for value in [*output.carry.values(), *output.metrics.values()])
    assert all(value.ndim == 2 for value in output.watch.values()) and output.watch


def test_same_seed_same_bits_other_seed_other_bits(method: str, pictures: ImageSet):
    def final(seed: int) -> torch.Tensor:
        made, data, settings = built(method, pictures, seed=seed)
        fit(made, data, settings.training, device=CPU, progress=Progress(quiet=True))
        return torch.cat([p.flatten() for p in made.parameters()])

    first, second, other = final(0), final(0), final(1)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_stopping_and_going_on_gives_the_same_bits(method: str, pictures: ImageSet, tmp_path: Path):
    """A checkpoint after 5 of 10 steps, into a newly built method: teacher, queue, centre, labels and optimiser all travel."""
    made, data, settings = built(method, pictures)
    training = settings.training
    fit(made, data, training, device=CPU, progress=Progress(quiet=True))

    half, _, _ = built(method, pictures)
    half.to(memory_format=torch.channels_last)
    updates = build(half.param_groups(), training)
    _train(half, updates, data, training, Position(0), 5, CPU)
    checkpoint.save(tmp_path, Snapshot.take(half, updates, Position(5)))
    snapshot, _ = checkpoint.load_latest(tmp_path)
    assert snapshot is not None
    fresh, _, _ = built(method, pictures, seed=9)
    fresh.to(memory_format=torch.channels_last)
    fresh_updates = build(fresh.param_groups(), training)
    position = snapshot.restore(fresh, fresh_updates)
    _train(fresh, fresh_updates, data, training, position, training.steps, CPU)
    for (name, expected), found in zip(made.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(expected, found), name


def test_bfloat16_is_near_float32(method: str, pictures: ImageSet):
    """The loss of one batch is within 2e-2, relative, of float32's: similarities and softmaxes stay in 32 bits."""
    made, data, settings = built(method, pictures)
    step = late_step(made, data, settings)
    views = made.views(data.batch(0, 8), data.rng, data.chains)
    full = float(made(views, step).loss.detach())
    with torch.autocast("cpu", torch.bfloat16):
        output = made(views, step)
    assert output.loss.dtype == torch.float32
    assert abs(float(output.loss.detach()) - full) <= 2e-2 * abs(full) + 5e-3  # SimSiam's loss goes through 0


def test_encoder_is_fed_as_it_says(method: str, pictures: ImageSet, tmp_path: Path):
    """The kept encoder survives a round trip through the disk with equal features."""
    from selfstudy.encoder import Encoder

    made, _, _ = built(method, pictures)
    encoder = Encoder(*made.encoder(), {"method": method})
    features = encoder(pictures.images)
    assert features.shape == (40, encoder.dim)
    encoder.save(tmp_path)
    assert torch.equal(Encoder.load(tmp_path)(pictures.images), features)


class TestCachedGradients:
    """Chunks of 3 out of 8 images give the gradient of the whole batch, in float64, without BatchNorm in the backbone."""

    def gradients(self, method: str, pictures: ImageSet, chunk_size: int) -> dict[str, torch.Tensor]:
        made, data, settings = built(method, pictures, backbone="test_vit")
        made.double()
        views = made.views(data.batch(0, 8), data.rng, data.chains)
        views = replace(
            views, tensors={n: v.double() if v.is_floating_point() else v for n, v in views.tensors.items()}
        )
        backward(made, views, late_step(made, data, settings), chunk_size)
        return {name: p.grad for name, p in made.named_parameters() if p.grad is not None}

    def test_equal_the_whole_batch(self, method: str, pictures: ImageSet):
        whole, chunked = (self.gradients(method, pictures, size) for size in (0, 3))
        assert whole.keys() == chunked.keys()
        for name, gradient in whole.items():
            # timm resizes position embeddings in float32, whatever the rest is in.
            rtol, atol = (1e-4, 1e-6) if name.endswith("pos_embed") else (1e-9, 1e-12)
            torch.testing.assert_close(chunked[name], gradient, rtol=rtol, atol=atol, msg=name)

    def test_second_pass_updates_no_statistics(self, pictures: ImageSet):
        """Mutation: without the guard BatchNorm counts every chunk twice."""
        made, data, settings = built("simclr", pictures)
        step = late_step(made, data, settings)
        backward(made, made.views(data.batch(0, 8), data.rng, data.chains), step, chunk_size=4)
        counts = {int(m.num_batches_tracked) for m in made.backbone.modules() if isinstance(m, nn.BatchNorm2d)}
        assert counts == {2}


class TestRefusals:
    def test_unknown_names_get_the_nearest(self, pictures: ImageSet):
        with pytest.raises(UserError, match=r'there is no method "simclrr". Did you mean "simclr"?'):
            settings_of("simclrr", pictures)
        with pytest.raises(UserError, match=r'no setting "temprature". Did you mean "temperature"?'):
            settings_of("simclr", pictures, **{"method.temprature": 0.2})
        with pytest.raises(UserError, match=r'no setting "epoch". Did you mean "epochs"?'):
            settings_of("simclr", pictures, epoch=3)
        with pytest.raises(UserError, match=r'no backbone "resnet81". Did you mean'):
            built("simclr", pictures, backbone="resnet81")

    def test_a_batch_of_one_is_refused_where_it_cannot_work(self, pictures: ImageSet):
        for method in ("simclr", "byol"):
            with pytest.raises(UserError, match="needs batches of at least 2 images, but batch_size is 1"):
                settings_of(method, pictures, batch_size=1)

    def test_too_large_a_batch_is_lowered_and_said(self, pictures: ImageSet):
        settings = settings_of("simclr", pictures, batch_size=64)
        assert settings.batch_size == 40 and "lowered" in settings.origins["batch_size"]

    def test_tokens_are_asked_of_a_transformer(self, pictures: ImageSet):
        with pytest.raises(UserError, match="backbone conv4 has no tokens"):
            made, data, settings = built("mae", pictures, backbone="conv4")
            made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))

    def test_epochs_and_images_seen_together(self, pictures: ImageSet):
        with pytest.raises(UserError, match="keep one"):
            settings_of("simclr", pictures, images_seen=80)
