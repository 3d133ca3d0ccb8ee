"""The beta-VAE: both terms against closed forms and twins, the code between them, and how it dies."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.methods.vae import active_units, divergence, reconstruction
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Step, Views
from tests.reference import vae as twin

RNG = Rng.from_seed(0)
STEP = Step(0, 0, True, 0.5, RNG, {"beta": torch.tensor(2.0)})


def made(images: ImageSet, rows: Tensor, **overrides: object) -> tuple[Method, Views]:
    """A small method on digits of 8 pixels, and its views of some of them."""
    chosen = {"backbone": "conv4", "batch_size": 6, "method.decoder_width": 16, "method.latent_dim": 5}
    settings = resolve("vae", chosen | overrides, images.card, "test")
    method = build_method(settings, images, RNG)
    return method, method.views(images.at(rows), RNG, settings.chains())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class TestReconstruction:
    def test_closed_forms(self):
        """Mutation: the mean over pixels gives log 2 whatever the size; a sum over the batch gives four times as much."""
        images = uniform(4, 3, 5, 5)
        assert float(reconstruction(torch.full_like(images, 0.5), images)) == pytest.approx(75 * math.log(2), rel=1e-5)
        assert float(reconstruction(images.round(), images.round())) == 0.0

    def test_equals_the_twin(self):
        """Mutation: drawing and image exchanged."""
        drawn, images = uniform(3, 2, 4, 4), uniform(3, 2, 4, 4, seed=1)
        assert float(reconstruction(drawn, images)) == pytest.approx(
            twin.reconstruction(drawn.numpy(), images.numpy()), 1e-5
        )

    def test_the_best_drawing_is_the_image(self):
        """Mutation: the sign. Gradient checked in float64, and 0 where the drawing equals the image."""
        images = 0.1 + 0.8 * uniform(2, 1, 2, 2).double()
        drawn = (0.9 * images + 0.03).requires_grad_()
        assert torch.autograd.gradcheck(lambda d: reconstruction(d, images), drawn)
        perfect = images.clone().requires_grad_()
        value = reconstruction(perfect, images)
        torch.testing.assert_close(torch.autograd.grad(value, perfect)[0], torch.zeros_like(images), atol=1e-12, rtol=0)
        assert value < reconstruction(drawn, images)


class TestDivergence:
    def test_closed_forms(self):
        """Mutation: a mean over the code gives 1/2 for any width; a sum over images gives three times as much."""
        zeros = torch.zeros(3, 4)
        assert float(divergence(zeros, zeros)) == 0.0
        assert float(divergence(zeros + 1, zeros)) == pytest.approx(4 * 0.5)
        assert float(divergence(zeros, zeros + math.log(4.0))) == pytest.approx(4 * (1.5 - math.log(2.0)), rel=1e-6)

    def test_equals_the_integral_and_torch(self):
        """Mutations: a log-deviation in place of the log-variance; the divergence the other way round."""
        mean, log_variance = normal(3, 4), normal(3, 4, seed=1)
        ours = float(divergence(mean, log_variance))
        assert ours == pytest.approx(twin.divergence(mean.numpy(), log_variance.numpy()), rel=1e-5)
        oracle = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
        assert ours == pytest.approx(float(oracle), rel=1e-5)

    def test_monte_carlo(self):
        """The mean of log q - log p over 100,000 samples of the code: within four of its standard errors."""
        mean, log_variance = torch.tensor([0.7, -0.3]), torch.tensor([-1.0, 0.5])
        q = Normal(mean, (log_variance / 2).exp())
        z = mean + (log_variance / 2).exp() * normal(100_000, 2)
        each = (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(1)
        expected = float(divergence(mean[None], log_variance[None]))
        assert float(each.mean()) == pytest.approx(expected, abs=4 * float(each.std()) / 100_000**0.5)

    def test_invariances_and_gradient(self):
        """Joint order of images and of dimensions, and the sign of the mean. Mutation: the mean itself, not squared."""
        mean, log_variance = normal(4, 3).double(), normal(4, 3, seed=1).double()
        value = divergence(mean, log_variance)
        for other in (
            (mean.flip(0), log_variance.flip(0)),
            (mean.flip(1), log_variance.flip(1)),
            (-mean, log_variance),
        ):
            torch.testing.assert_close(divergence(*other), value)
        assert torch.autograd.gradcheck(divergence, (mean.requires_grad_(), log_variance.requires_grad_()))

    def test_half_precision_is_widened(self):
        """Mutation: without in_float32 the exponential of a bfloat16 has 8 bits."""
        mean, log_variance = normal(4, 3).bfloat16(), normal(4, 3, seed=1).bfloat16()
        value = divergence(mean, log_variance)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, divergence(mean.float(), log_variance.float()))


class TestActiveUnits:
    def test_counts_what_varies(self):
        """Deviations of 0, 0.05, 0.2 and 1, and a large mean that is the same for all. Mutation: the deviation above 0.01."""
        mean = normal(200, 5) * torch.tensor([0.0, 0.05, 0.2, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0])
        assert float(active_units(mean)) == twin.active_units(mean.numpy()) == 2

    def test_posterior_collapse_is_seen(self, digits: ImageSet):
        """Mutation: variance along the code instead of over images, or of the samples instead of the means."""
        method, views = made(digits, torch.arange(6))
        embedded = {"h": normal(6, 128)}
        assert method.objective(embedded, views, STEP).metrics["active_units"] == 5
        with torch.no_grad():
            method.code.weight.zero_()  # every image has the same code
        assert method.objective(embedded, views, STEP).metrics["active_units"] == 0


class TestCode:
    def sample(self, method: Method, views: Views, h: Tensor) -> Tensor:
        """What the decoder is given."""
        given: list[Tensor] = []
        handle = method.draw.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].detach()))
        method.objective({"h": h}, views, STEP)
        handle.remove()
        return given[0]

    def test_samples_have_the_mean_and_deviation_of_the_code(self, digits: ImageSet):
        """Mutations: the variance in place of the deviation (4 for 2); no noise; means and log-variances exchanged."""
        method, views = made(digits, torch.arange(1500), **{"method.latent_dim": 4})
        with torch.no_grad():
            method.code.weight.zero_()
            method.code.bias.copy_(torch.tensor([3.0] * 4 + [math.log(4.0)] * 4))
        z = self.sample(method, views, torch.zeros(1500, 128))
        assert float(z.mean()) == pytest.approx(3.0, abs=4 * 2 / 6000**0.5)
        assert float(z.std()) == pytest.approx(2.0, rel=0.04)

    def test_noise_belongs_to_image_and_step(self, digits: ImageSet):
        """Mutation: noise by the row of the batch; noise that is the same at every step."""
        method, six = made(digits, torch.arange(6))
        _, last = made(digits, torch.tensor([5]))
        method.eval()  # BatchNorm of a single row has no variance
        torch.testing.assert_close(
            self.sample(method, six, torch.zeros(6, 128))[5:], self.sample(method, last, torch.zeros(1, 128))
        )
        later = Step(1, 0, False, 0.5, RNG.fork("later"), STEP.scheduled)
        first, second = (
            float(method.objective({"h": torch.zeros(6, 128)}, six, step).loss.detach()) for step in (STEP, later)
        )
        assert first != second

    @pytest.mark.parametrize("extreme", [1e4, -1e4])
    def test_extreme_variances_stay_finite(self, digits: ImageSet, extreme: float):
        """The divergence of log-variance 10 is (e^10 - 11) / 2 a dimension, of -10 it is (e^-10 + 9) / 2. Mutation: no clamp."""
        method, views = made(digits, torch.arange(6))
        with torch.no_grad():
            method.code.weight.zero_()
            method.code.bias.copy_(torch.tensor([0.0] * 5 + [extreme] * 5))
        output = method.objective({"h": torch.zeros(6, 128)}, views, STEP)
        end = math.copysign(10.0, extreme)
        assert float(output.metrics["divergence_nats"]) == pytest.approx(5 * (math.exp(end) - 1 - end) / 2, rel=1e-5)
        assert torch.isfinite(output.loss)


class TestObjective:
    def test_loss_is_both_terms(self, digits: ImageSet):
        """Mutations: the divergence subtracted; beta of the settings instead of the schedule's."""
        method, views = made(digits, torch.arange(6))
        output = method.objective({"h": normal(6, 128)}, views, STEP)
        expected = output.metrics["reconstruction_nats"] + 2.0 * output.metrics["divergence_nats"]
        torch.testing.assert_close(output.loss.detach(), expected)
        assert output.metrics["divergence_nats"] > 0

    @pytest.mark.parametrize(("warmup", "values"), [(0.2, (0.0, 2.0, 4.0, 4.0)), (0.0, (4.0, 4.0, 4.0, 4.0))])
    def test_beta_rises_and_stays(self, digits: ImageSet, warmup: float, values: tuple[float, ...]):
        """Mutation: a warm-up that goes on rising; a division by a warm-up of 0."""
        method, _ = made(digits, torch.arange(6), **{"method.beta": 4.0, "method.beta_warmup": warmup})
        assert tuple(method.schedules()["beta"](p) for p in (0.0, 0.1, 0.2, 1.0)) == pytest.approx(values)

    def test_white_paper_still_learns_in_bfloat16(self, digits: ImageSet):
        """Drawn at sigmoid(8) = 0.9997, which bfloat16 rounds to 1. Mutation: the decoder under autocast."""
        method, views = made(digits, torch.arange(6))
        with torch.no_grad():
            method.draw.last.weight.zero_()
            method.draw.last.bias.fill_(8.0)
        with torch.autocast("cpu", torch.bfloat16):
            method.objective({"h": normal(6, 128)}, views, STEP).loss.backward()
        white = 64 * (1 / (1 + math.exp(-8.0))) - float(views["base"].sum()) / 6  # d loss / d bias: drawn minus image
        assert float(method.draw.last.bias.grad) == pytest.approx(white, rel=1e-2)


@pytest.mark.parametrize(("name", "value"), [("latent_dim", 0), ("beta", -1.0), ("beta_warmup", 1.5)])
def test_impossible_settings(digits: ImageSet, name: str, value: float):
    """Mutation: the check left out."""
    with pytest.raises(UserError, match=f"test: method: {name} is {value}, but must be"):
        resolve("vae", {f"method.{name}": value}, digits.card, "test")


def test_loss_of_nothing_is_finite_where_black_turns_white(digits: ImageSet):
    """By hand: a black batch, then a white one; each value is drawn half a grey level from black. Mutation: no such distance gives 100 each."""
    method, views = made(digits, torch.arange(6))
    for level in (0.0, 1.0):
        output = method(Views(views.index, {"base": torch.full_like(views["base"], level)}), STEP)
        method.after_step(output.carry, STEP)
    assert method.loss_of_nothing(6) == pytest.approx(views["base"][0].numel() * math.log(510), rel=1e-4)
