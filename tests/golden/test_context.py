"""Context: pairs, directions, patches and loss against slow twins. Each test names a mutation that fails it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.context import Context, Settings, adjacent_pairs, layout, naming_loss, shares
from selfstudy.nn.tiles import cut
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.types import DataCard
from tests.contract.test_methods import built, late_step
from tests.reference import context as twins

DIRECTION = adjacent_pairs()[2]


def random_scores(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 6 - 3


@pytest.fixture
def pictures() -> ImageSet:
    pixels = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = np.array([f"image{i}" for i in range(12)])
    return ImageSet(name="pictures", images=pixels, image_size=32, ids=names, groups=names, paths=names)


class TestPairs:
    def test_equal_the_twin(self):
        """Mutation: columns before rows; a pair with itself; only the pairs with the centre."""
        first, second, direction = adjacent_pairs()
        found = dict(zip(zip(first.tolist(), second.tolist(), strict=True), direction.tolist(), strict=True))
        assert found == twins.pairs() and len(first) == len(found) == 40

    def test_mirror_law(self):
        """A pair turned round has direction 7 - d. Mutation: directions counted with the centre."""
        found = {(a, b): d for a, b, d in zip(*(table.tolist() for table in adjacent_pairs()), strict=True)}
        assert all(found[b, a] == 7 - d for (a, b), d in found.items())

    @pytest.mark.parametrize("image_size", [28, 29, 31, 32, 35, 64, 96, 224])
    def test_directions_are_those_of_the_pixels(self, image_size: int):
        """Of an image whose values are its coordinates, after jitter too. Mutation: down and right exchanged; patches that
        overlap; a jitter wider than the gap."""
        line = torch.arange(image_size, dtype=torch.float32)
        places = torch.stack([line[:, None].expand(image_size, image_size), line.expand(image_size, image_size)])
        shape = layout(image_size)
        draws = Rng.from_seed(0).per_image(torch.arange(20))
        corner = cut(places.expand(20, 2, image_size, image_size), shape, draws)[..., 0, 0]
        first, second, direction = adjacent_pairs()
        apart = corner[:, second] - corner[:, first]  # [20, 40, 2]: down, right
        for pair, number in enumerate(direction.tolist()):
            compass = {d: offset for offset, d in twins.COMPASS.items()}[number]
            for axis, sign in enumerate(compass):
                if sign == 0:
                    assert apart[:, pair, axis].abs().max() <= shape.jitter < shape.tile
                else:
                    assert (apart[:, pair, axis] * sign).min() >= shape.tile

    @pytest.mark.parametrize(
        ("image_size", "patch", "gap", "jitter"), [(28, 8, 1, 1), (32, 8, 3, 2), (64, 16, 6, 4), (96, 24, 9, 6)]
    )
    def test_sizes(self, image_size: int, patch: int, gap: int, jitter: int):
        """8, 3 and +-1 at 32 px, as the reference facts have it. Mutation: no smallest patch; all that is free for gaps."""
        found = layout(image_size)
        assert (found.tile, found.pitch - found.tile, found.jitter) == (patch, gap, jitter)
        assert image_size - 1 <= found.extent <= image_size


class TestNamingLoss:
    def test_equals_the_twin(self):
        """Mutation: all pairs alike, so that sides count more than corners; the sum over images."""
        logits = random_scores(3, 40, 8)
        expected = twins.naming_loss(logits.numpy(), DIRECTION.numpy())
        assert float(naming_loss(logits, DIRECTION)) == pytest.approx(expected, abs=1e-5)

    def test_collapse_is_log_8_for_any_equal_answer(self):
        """No constant answer is better than log 8, as all directions count alike. Mutation: pairs counted alike (2.059)."""
        assert float(naming_loss(torch.zeros(2, 40, 8), DIRECTION)) == pytest.approx(math.log(8), abs=1e-6)
        frequent = (DIRECTION.bincount() / 40).log().expand(2, 40, 8)
        assert float(naming_loss(frequent, DIRECTION)) > math.log(8)

    def test_shares(self):
        """Mutation: a share by the number of pairs."""
        found = shares(DIRECTION)
        totals = torch.zeros(8).index_add(0, DIRECTION, found)
        torch.testing.assert_close(totals, torch.full((8,), 1 / 8))

    def test_solved_is_zero(self):
        """Mutation: mirrored labels."""
        solved = 100.0 * torch.nn.functional.one_hot(DIRECTION, 8).float().expand(2, 40, 8)
        assert float(naming_loss(solved, DIRECTION)) == pytest.approx(0.0, abs=1e-6)

    def test_invariances_and_gradient(self):
        """Order of images, order of pairs, a common offset; exact in float64. Mutation: labels by row; detached scores."""
        logits = random_scores(3, 40, 8)
        value, order = naming_loss(logits, DIRECTION), torch.randperm(40, generator=torch.Generator().manual_seed(1))
        for changed, directions in (
            (logits.flip(0), DIRECTION), (logits[:, order], DIRECTION[order]), (logits + 4, DIRECTION),
        ):  # fmt: skip
            torch.testing.assert_close(naming_loss(changed, directions), value)
        few = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 3, 3])
        assert torch.autograd.gradcheck(
            lambda s: naming_loss(s, few), random_scores(2, 10, 8).double().requires_grad_()
        )


class TestMethod:
    def test_the_head_sees_first_then_second(self, pictures: ImageSet):
        """Mutation: second and first exchanged; a fixed anchor."""
        made, data, settings = built("context", pictures)
        assert isinstance(made, Context)
        shown = {}
        made.fuse.register_forward_pre_hook(lambda module, inputs: shown.update(pairs=inputs[0]))
        views, step = made.views(data.batch(0, 4), data.rng, data.chains), late_step(made, data, settings)
        h = made.embed(views, step)["h"]
        made.objective({"h": h}, views, step)
        for number, (first, second) in enumerate(zip(*(t.tolist() for t in adjacent_pairs()[:2]), strict=True)):
            assert torch.equal(shown["pairs"][:, number], torch.cat([h[:, first], h[:, second]], dim=1))

    def test_nothing_learned_is_log_8_and_one_eighth(self, pictures: ImageSet):
        """A head that always answers "right" names one direction in eight. Mutation: accuracy over pairs (0.15)."""
        made, data, settings = built("context", pictures)
        assert isinstance(made, Context)
        views, step = made.views(data.batch(0, 4), data.rng, data.chains), late_step(made, data, settings)
        for parameter in made.fuse.classify.parameters():
            parameter.data.zero_()
        assert float(made(views, step).loss.detach()) == pytest.approx(math.log(8), abs=1e-6)
        assert made.loss_of_nothing(4) == pytest.approx(math.log(8))
        made.fuse.classify.bias.data[4] = 1.0
        assert float(made(views, step).metrics["pretext_accuracy"]) == pytest.approx(1 / 8)

    def test_the_head_has_batch_norm(self, pictures: ImageSet):
        """Doersch et al. §3: without it the hidden layers became constant. Mutation: a head without it."""
        made, _, _ = built("context", pictures)
        assert any(isinstance(module, torch.nn.BatchNorm1d) for module in made.fuse.modules())  # type: ignore[union-attr]

    def test_patches_forget_brightness(self, pictures: ImageSet):
        """Mutation: patches that are not standardised."""
        made, data, _ = built("context", pictures)
        patches = made.views(data.batch(0, 4), data.rng, data.chains)["patches"]
        torch.testing.assert_close(patches.mean((3, 4)), torch.zeros(4, 9, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(patches.std((3, 4), correction=0), torch.ones(4, 9, 1))

    def test_the_backbone_sees_the_scale_of_whole_images(self, pictures: ImageSet):
        """Mutation: feeding standardised patches, which the backbone would normalise once more."""
        made, data, settings = built("context", pictures)
        assert isinstance(made, Context)
        seen = {}
        made.backbone.normalise.register_forward_hook(lambda module, inputs, output: seen.update(out=output))  # type: ignore[union-attr]
        views = made.views(data.batch(0, 4), data.rng, data.chains)
        made.embed(views, late_step(made, data, settings))
        torch.testing.assert_close(seen["out"], views["patches"].flatten(0, 1), atol=1e-5, rtol=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "sentence"), [({"dropout": 1.0}, "below 1"), ({"grey": -0.1}, "grey from 0 to 1")]
    )
    def test_impossible_settings(self, values: dict, sentence: str):
        """Mutation: no check."""
        with pytest.raises(ValueError, match=sentence):
            Settings(**values)

    def test_images_too_small(self):
        """Mutation: patches without a gap."""
        with pytest.raises(UserError, match="at least 28 pixels a side"):
            resolve("context", {}, DataCard(num_images=100, channels=1, image_size=27), "test")
        assert resolve("context", {}, DataCard(num_images=100, channels=1, image_size=28), "test")

    def test_colour_is_dropped_from_colour_images_only(self):
        """Mutation: grey steps for grey images; none for colour."""
        steps = {c: Context.chains(Settings(), DataCard(100, c, 32))["base"].steps for c in (1, 3)}
        assert steps[1] == () and [step.p for step in steps[3]] == [0.66]
