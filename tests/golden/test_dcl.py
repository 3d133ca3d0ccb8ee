"""DCL against closed forms, its slow twin and lightly, with its invariances. Each test names a mutation that fails it."""

import math

import lightly.loss
import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy import config
from selfstudy.encoder import BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.dcl import DCL, Settings, decoupled_contrast, mises_fisher_weight
from selfstudy.rng import Rng
from selfstudy.types import DataCard, Step, Views
from tests.reference import dcl as twins

CONV4 = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.5,), std=(0.5,))
STEP = Step(0, 0, True, 0.0, Rng(0))


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def z() -> Tensor:
    return draw(0, 12, 5)


def loss_of(z: Tensor, temperature: float) -> Tensor:
    return decoupled_contrast(z, z.new_ones(len(z) // 2), temperature)


class TestLoss:
    @pytest.mark.parametrize("n", [2, 5])
    @pytest.mark.parametrize("temperature", [0.1, 0.5])
    def test_orthogonal_images_with_identical_views(self, n: int, temperature: float):
        """Mutation: keeping the positive in the denominator (that is SimCLR); a sign turned."""
        z = torch.eye(n).repeat(2, 1)
        expected = math.log(2 * (n - 1)) - 1 / temperature
        assert float(loss_of(z, temperature)) == pytest.approx(expected, abs=1e-5)

    def test_known_values(self):
        """It may be negative. Mutation: labels rolled by one; the self-similarity left in."""
        assert float(loss_of(torch.eye(2).repeat(2, 1), 0.5)) == pytest.approx(-1.3068528194, abs=1e-6)
        z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
        assert float(loss_of(z, 0.5)) == pytest.approx(-0.4894850596, abs=1e-6)

    @pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
    def test_collapse_is_log_2n_minus_2_at_any_temperature(self, temperature: float):
        """Mutation: only the other view's negatives give log(N - 1)."""
        assert float(loss_of(torch.ones(8, 3), temperature)) == pytest.approx(math.log(6), abs=1e-5)

    @pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
    def test_equals_the_twin_and_lightly(self, z: Tensor, temperature: float):
        """Mutation: the sum instead of the mean; normalising along the batch."""
        first, second = z.chunk(2)
        ours = float(loss_of(z, temperature))
        assert ours == pytest.approx(
            twins.decoupled_contrast(first.numpy(), second.numpy(), np.ones(6), temperature), abs=1e-5
        )
        assert ours == pytest.approx(float(lightly.loss.DCLLoss(temperature)(first, second)), abs=1e-5)

    def test_invariances(self, z: Tensor):
        """Swap of views, joint permutation of images, scale of any row, a common rotation. Mutation: no normalisation."""
        order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
        rotation = torch.linalg.qr(draw(2, 5, 5)).Q
        scale = torch.rand(12, 1, generator=torch.Generator().manual_seed(3)) + 0.5
        for changed in (z.roll(6, 0), z[torch.cat([order, order + 6])], z * scale, z @ rotation):
            torch.testing.assert_close(loss_of(changed, 0.3), loss_of(z, 0.3))

    def test_gradient(self, z: Tensor):
        """Exact in float64, and orthogonal to every row. Mutation: detaching the negatives, or no normalisation."""
        rows = z[:, :3].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda r: loss_of(r, 0.5), rows)
        (gradient,) = torch.autograd.grad(loss_of(rows, 0.5), rows)
        torch.testing.assert_close((gradient * rows).sum(1), torch.zeros(12, dtype=torch.float64))

    def test_the_positive_pulls_alike_however_easy_it_is(self):
        """What the paper is about: the pull of a pair has the strength 1 / temperature even where it is long named.

        Mutation: SimCLR's denominator, whose pull is weaker the likelier the positive.
        """
        z = torch.eye(3, dtype=torch.float64).repeat(2, 1)  # every pair is named with near certainty
        weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
        decoupled_contrast(z, weight, 0.1).backward()
        torch.testing.assert_close(weight.grad, torch.full((3,), -10.0 / 3, dtype=torch.float64))

    def test_half_precision_is_widened(self, z: Tensor):
        """Mutation: dropping in_float32 computes in bfloat16."""
        rounded = z.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss_of(rounded, 0.1)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss_of(rounded.float(), 0.1))


class TestWeights:
    @pytest.mark.filterwarnings("ignore:To copy construct")  # lightly's own
    @pytest.mark.parametrize("sigma", [0.2, 0.5])
    def test_equal_the_twin_and_lightly(self, z: Tensor, sigma: float):
        """Mutation: a sign turned; softmax without the factor N; the weight also on the negatives."""
        first, second = z.chunk(2)
        weight = mises_fisher_weight(z, sigma)
        expected = twins.mises_fisher_weight(first.numpy(), second.numpy(), sigma)
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5)
        ours = float(decoupled_contrast(z, weight, 0.2))
        assert ours == pytest.approx(twins.decoupled_contrast(first.numpy(), second.numpy(), expected, 0.2), abs=1e-4)
        assert ours == pytest.approx(float(lightly.loss.DCLWLoss(0.2, sigma=sigma)(first, second)), abs=1e-4)

    def test_average_one_and_less_for_the_more_alike(self):
        """Mutation: the plus sign gives the look-alikes more."""
        z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # one pair equal, one orthogonal
        weight = mises_fisher_weight(z, 0.5)
        share = math.exp(2) / (math.exp(2) + 1)
        torch.testing.assert_close(weight, torch.tensor([2 - 2 * share, 2 * share]))
        torch.testing.assert_close(mises_fisher_weight(draw(0, 12, 5), 1e6), torch.ones(6))

    def test_no_gradient_goes_through_them(self, z: Tensor):
        """Mutation: without the detach."""
        assert not mises_fisher_weight(z.requires_grad_(), 0.5).requires_grad


class TestMethod:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_the_setting_chooses_the_weighted_form(self, weighted: bool):
        """Mutation: `weighted` not read, or read the wrong way round."""
        method = DCL(lambda **_: build_backbone(CONV4), DataCard(9, 1, 8), Settings(weighted=weighted, hidden_dim=8))
        first, second = draw(0, 8, method.backbone.dim).chunk(2)
        output = method.objective({"first": first, "second": second}, Views(torch.arange(4), {}), STEP)
        z = output.watch["z"]
        weight = mises_fisher_weight(z, 0.5)
        assert (weight - 1).abs().min() > 1e-3
        torch.testing.assert_close(output.loss, decoupled_contrast(z, weight if weighted else torch.ones(4), 0.1))

    def test_a_single_image_is_refused(self):
        """Its loss would be -infinity. Mutation: the default smallest batch of 1."""
        assert torch.isinf(loss_of(draw(0, 2, 5), 0.5))
        assert DCL.requires(Settings(), DataCard(9, 1, 8)).smallest_batch == 2

    @pytest.mark.parametrize("name", ["temperature", "sigma"])
    def test_impossible_settings_are_one_sentence(self, name: str):
        """Mutation: without the check a division by zero shows up as a loss that is not finite."""
        with pytest.raises(UserError, match="both must be above 0"):
            config.validate(Settings, {name: 0.0}, "test")

    @pytest.mark.parametrize("weighted", [False, True])
    def test_loss_of_nothing_is_what_equal_embeddings_give(self, weighted: bool):
        """Mutation: SimCLR's log(2N - 1)."""
        z = torch.ones(8, 3)
        weight = mises_fisher_weight(z, 0.5) if weighted else torch.ones(4)
        assert DCL.loss_of_nothing(None, 4) == pytest.approx(float(decoupled_contrast(z, weight, 0.1)), abs=1e-5)
