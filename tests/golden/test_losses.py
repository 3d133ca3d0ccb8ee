"""Losses against closed forms, slow twins and lightly, with their invariances. Each test names a mutation that fails it."""

import math

import lightly.loss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.methods.autoencoder import root_mean_squared_error
from selfstudy.methods.byol import regression
from selfstudy.methods.simclr import nt_xent
from tests.reference import losses as twins


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)


def both(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second])


class TestNtXent:
    @pytest.mark.parametrize("n", [2, 5])
    @pytest.mark.parametrize("temperature", [0.1, 0.5])
    def test_orthogonal_images_with_identical_views(self, n: int, temperature: float):
        """Mutation: masking the positive too (that is DCL) drops the 1."""
        z = torch.eye(n)
        expected = math.log(1 + 2 * (n - 1) * math.exp(-1 / temperature))
        assert float(nt_xent(both(z, z), temperature)) == pytest.approx(expected, abs=1e-6)

    def test_known_value(self):
        """Mutation: labels rolled by one, or the self-similarity left in."""
        z = both(torch.eye(2), torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
        assert float(nt_xent(z, 0.5)) == pytest.approx(0.5359693518, abs=1e-6)

    def test_collapse_is_log_2n_minus_1(self):
        """Mutation: not masking the self-similarity gives log(2N)."""
        assert float(nt_xent(torch.ones(8, 3), 0.2)) == pytest.approx(math.log(7), abs=1e-6)

    @pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
    def test_equals_the_twin_and_lightly(self, pair: tuple[Tensor, Tensor], temperature: float):
        """Mutation: the sum instead of the mean; normalising along the batch."""
        ours = float(nt_xent(both(*pair), temperature))
        assert ours == pytest.approx(twins.nt_xent(*(z.numpy() for z in pair), temperature), abs=1e-5)
        assert ours == pytest.approx(float(lightly.loss.NTXentLoss(temperature)(*pair)), abs=1e-5)

    def test_invariances(self, pair: tuple[Tensor, Tensor]):
        """Swap of views, joint permutation of images, scale of any row, a common rotation. Mutation: no normalisation."""
        first, second = pair
        value = nt_xent(both(first, second), 0.3)
        order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
        rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(2))).Q
        scale = torch.rand(12, 1, generator=torch.Generator().manual_seed(3)) + 0.5
        for changed in (
            both(second, first), both(first[order], second[order]), both(first, second) * scale, both(first, second) @ rotation,
        ):  # fmt: skip
            torch.testing.assert_close(nt_xent(changed, 0.3), value)

    def test_gradient(self, pair: tuple[Tensor, Tensor]):
        """Exact in float64, and orthogonal to every row. Mutation: detaching one of the views."""
        z = both(*pair)[:, :3].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: nt_xent(rows, 0.5), z)
        (gradient,) = torch.autograd.grad(nt_xent(z, 0.5), z)
        torch.testing.assert_close((gradient * z).sum(1), torch.zeros(12, dtype=torch.float64))
        assert gradient.norm(dim=1).min() > 0

    def test_half_precision_is_widened(self, pair: tuple[Tensor, Tensor]):
        """Mutation: dropping in_float32 computes in bfloat16, off by far more than the inputs' rounding."""
        rounded = both(*pair).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = nt_xent(rounded, 0.1)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, nt_xent(rounded.float(), 0.1))


class TestByol:
    @pytest.mark.parametrize(("cosine", "expected"), [(1.0, 0.0), (0.0, 2.0), (-1.0, 4.0)])
    def test_closed_forms(self, cosine: float, expected: float):
        """Mutation: the sign of the cosine; a forgotten factor 2."""
        p = torch.tensor([[1.0, 0.0]])
        z = torch.tensor([[cosine, math.sqrt(1 - cosine**2)]])
        assert float(regression(p, z)) == pytest.approx(expected, abs=1e-6)

    def test_equals_the_twin_and_lightly(self, pair: tuple[Tensor, Tensor]):
        """Mutation: averaging the two directions (lightly#1286)."""
        p1, p2 = pair
        z1, z2 = p2.flip(0), p1.flip(1)
        ours = float(regression(p1, z2) + regression(p2, z1))
        assert ours == pytest.approx(twins.byol(*(t.numpy() for t in (p1, p2, z1, z2))), abs=1e-5)
        negative_cosine = lightly.loss.NegativeCosineSimilarity()
        assert ours == pytest.approx(4 + 4 * float(0.5 * (negative_cosine(p1, z2) + negative_cosine(p2, z1))), abs=1e-5)

    def test_no_gradient_reaches_the_target(self, pair: tuple[Tensor, Tensor]):
        """Mutation: without the detach the target gets one."""
        p, z = (t.clone().requires_grad_() for t in pair)
        regression(p, z).backward()
        assert z.grad is None
        assert p.grad is not None and p.grad.abs().sum() > 0

    def test_invariant_to_scale_and_exact_gradient(self, pair: tuple[Tensor, Tensor]):
        """Mutation: no normalisation of either side."""
        p, z = pair
        torch.testing.assert_close(regression(3 * p, 0.2 * z), regression(p, z))
        assert torch.autograd.gradcheck(lambda rows: regression(rows, z.double()), p.double().requires_grad_())


class TestAutoencoder:
    def test_offset(self):
        """Mutation: the mean squared error without its root gives 0.0625."""
        images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 2
        assert float(root_mean_squared_error(images + 0.25, images)) == pytest.approx(0.25, abs=1e-6)

    def test_equals_the_twin(self):
        """Mutation: one root over the whole batch."""
        generator = torch.Generator().manual_seed(0)
        drawn, images = torch.rand(5, 2, 3, 3, generator=generator), torch.rand(5, 2, 3, 3, generator=generator)
        images[0] = drawn[0] / 8  # images of very different error, so that roots and means do not commute
        expected = twins.root_mean_squared_error(drawn.numpy(), images.numpy())
        assert float(root_mean_squared_error(drawn, images)) == pytest.approx(expected, abs=1e-6)
        assert abs(expected - float(F.mse_loss(drawn, images).sqrt())) > 1e-3

    def test_gradient_is_exact_and_finite_at_zero(self):
        """Mutation: without the floor the gradient of a perfect drawing is NaN."""
        images = torch.rand(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        drawn = (images + 0.1).requires_grad_()
        assert torch.autograd.gradcheck(lambda d: root_mean_squared_error(d, images), drawn)
        perfect = images.clone().requires_grad_()
        root_mean_squared_error(perfect, images).backward()
        assert perfect.grad is not None and torch.isfinite(perfect.grad).all()


def test_twins_agree_with_numpy_on_shapes():
    """The twins themselves: orthogonal pairs have the closed form, so a slip in a twin cannot hide one in a loss."""
    assert twins.nt_xent(np.eye(3), np.eye(3), 0.5) == pytest.approx(math.log(1 + 4 * math.exp(-2)))
    assert twins.byol(np.eye(2), np.eye(2), np.eye(2), np.eye(2)) == pytest.approx(0.0)
