"""The denoising autoencoder: what is spoiled, what is drawn, and that the two are never mixed up."""

import numpy as np
import pytest
import torch

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.methods.denoising import Settings, add_gaussian, mask, squared_error
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Step, Views
from tests.reference import denoising as twin

RNG = Rng.from_seed(0)
STEP = Step(0, 0, True, 0.0, RNG)


def made(images: ImageSet, **overrides: object) -> tuple[Method, Views]:
    """A small method on digits of 8 pixels, and the views of six of them."""
    chosen = {"backbone": "conv4", "batch_size": 6, "epochs": 1, "method.decoder_width": 16} | overrides
    settings = resolve("denoising", chosen, images.card, "test")
    method = build_method(settings, images, RNG)
    return method, method.views(images.at(torch.arange(6)), RNG, settings.chains())


class TestSquaredError:
    def test_offset(self):
        """Mutation: a root, as in the autoencoder, gives 0.25; a sum over pixels gives 1."""
        clean = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 2
        assert float(squared_error(clean + 0.25, clean)) == pytest.approx(0.0625, abs=1e-6)
        assert float(squared_error(clean, clean)) == 0.0

    def test_equals_the_twin(self):
        """Mutation: the absolute instead of the squared error."""
        drawn, clean = torch.rand(2, 5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
        assert float(squared_error(drawn, clean)) == pytest.approx(
            twin.squared_error(drawn.numpy(), clean.numpy()), 1e-5
        )

    def test_gradient(self):
        """Mutation: a detached drawing."""
        drawn, clean = torch.rand(2, 2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(lambda d: squared_error(d, clean), drawn.requires_grad_())

    def test_half_precision_is_widened(self):
        """Mutation: without in_float32 the difference of two 16-bit images is a 16-bit number."""
        drawn, clean = torch.rand(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
        value = squared_error(drawn, clean)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, squared_error(drawn.float(), clean.float()))


class TestMasking:
    def test_equals_the_twin(self):
        """Mutation: masking what should be kept; a mask for every channel of its own."""
        images = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.01
        draws = RNG.per_image(torch.tensor([3, 1, 7]))
        expected = twin.mask(images.numpy(), draws.uniform(20).numpy(), 0.4)
        np.testing.assert_array_equal(mask(images, draws, 0.4).numpy(), expected)

    def test_share(self):
        """Mutation: the share of what stays. Three standard errors of a share among 25,600 pixels."""
        black = mask(torch.ones(100, 3, 16, 16), RNG.per_image(torch.arange(100)), 0.25) == 0.0
        assert torch.equal(black.all(1), black.any(1))
        assert float(black.float().mean()) == pytest.approx(0.25, abs=3 * (0.25 * 0.75 / 25600) ** 0.5)


class TestGaussian:
    def test_strength_and_range(self):
        """Mutation: the variance in place of the deviation; no clamp; one number for all channels."""
        noisy = add_gaussian(torch.full((100, 3, 16, 16), 0.5), RNG.per_image(torch.arange(100)), 0.1)
        assert float(noisy.std()) == pytest.approx(0.1, rel=0.02)
        assert float(noisy.mean()) == pytest.approx(0.5, abs=0.002)
        assert not torch.equal(noisy[:, 0], noisy[:, 1])
        dark = add_gaussian(torch.zeros(2, 1, 8, 8), RNG.per_image(torch.arange(2)), 0.5)
        assert dark.min() == 0.0 and dark.max() <= 1.0

    def test_the_best_linear_drawing_is_wieners(self):
        """Pixels of deviation s under noise of deviation t: slope s²/(s² + t²), error s²t²/(s² + t²).

        Mutation: noise that depends on the pixel, or comes twice; the noisy pixel as the target gives slope 1 and error 0.
        """
        s, t, count = 0.06, 0.04, 200_000
        clean = 0.5 + s * torch.randn(count, 1, 1, 1, generator=torch.Generator().manual_seed(1))
        noisy = add_gaussian(clean, RNG.per_image(torch.arange(count)), t)
        slope = float(((noisy - 0.5) * (clean - 0.5)).sum() / (noisy - 0.5).square().sum())
        assert slope == pytest.approx(s**2 / (s**2 + t**2), rel=0.02)
        error = float(squared_error(0.5 + slope * (noisy - 0.5), clean))
        assert error == pytest.approx(s**2 * t**2 / (s**2 + t**2), rel=0.02)


@pytest.mark.parametrize("corruption", ["masking", "gaussian"])
class TestMethod:
    def test_the_target_is_clean(self, digits: ImageSet, corruption: str):
        """Mutations: drawing the spoiled view; spoiling the clean view in place."""
        method, views = made(digits, **{"method.corruption": corruption})
        clean = digits.images[:6].float() / 255
        assert torch.equal(views["clean"], clean) and not torch.equal(views["spoiled"], clean)
        embedded = {"h": torch.zeros(6, 128)}
        loss = method.objective(embedded, views, STEP).loss
        torch.testing.assert_close(loss, squared_error(method.draw(embedded["h"]), clean))
        elsewhere = Views(views.index, {**views.tensors, "spoiled": torch.zeros_like(clean)})
        assert torch.equal(method.objective(embedded, elsewhere, STEP).loss, loss)

    def test_only_training_sees_corruption(self, digits: ImageSet, corruption: str):
        """Mutations: noise in eval mode too; no noise at all."""
        method, views = made(digits, **{"method.corruption": corruption})
        for training, name, other in ((True, "spoiled", "clean"), (False, "clean", "spoiled")):
            method.train(training)
            assert torch.equal(method.embed(views, STEP)["h"], method.backbone(views[name]))
            assert not torch.equal(method.embed(views, STEP)["h"], method.backbone(views[other]))

    def test_an_image_is_spoiled_alike_in_any_batch(self, digits: ImageSet, corruption: str):
        """Mutation: draws by the row of the batch instead of the image."""
        settings = resolve("denoising", {"method.corruption": corruption, "backbone": "conv4"}, digits.card, "test")
        method = build_method(settings, digits, RNG)
        all_rows, last = (
            method.views(digits.at(rows), RNG, settings.chains()) for rows in (torch.arange(6), torch.tensor([5]))
        )
        assert torch.equal(all_rows["spoiled"][5:], last["spoiled"])


@pytest.mark.parametrize(("name", "value"), [("share", 0.0), ("share", 1.0), ("std", 0.0), ("std", 1.5)])
def test_impossible_settings(digits: ImageSet, name: str, value: float):
    """Mutation: the check left out, or an end of its range let in."""
    with pytest.raises(UserError, match=f"test: method: {name} is {value}, but must"):
        resolve("denoising", {f"method.{name}": value}, digits.card, "test")
    assert Settings().share == 0.25


def test_noise_in_the_views_is_refused(digits: ImageSet):
    """Mutation: without `spoils` the target would be noisy."""
    with pytest.raises(UserError, match="denoising cannot use noise: its target would be noisy too"):
        resolve("denoising", {"views": ["noise"]}, digits.card, "test")
    resolve("denoising", {"views": ["blur"]}, digits.card, "test")


class TestLossOfNothing:
    def test_is_of_the_mean_image_of_earlier_batches(self, digits: ImageSet):
        """Worked by hand, for grey levels 1/4, 3/4 and 1. Mutations: a mean that holds the very batch (0 each time); the last batch alone."""
        method, views = made(digits)
        found = []
        for level in (0.25, 0.75, 1.0):
            clean = torch.full_like(views["clean"], level)
            output = method(Views(views.index, {"spoiled": clean, "clean": clean}), STEP)
            method.after_step(output.carry, STEP)
            found.append(method.loss_of_nothing(6))
        assert found == pytest.approx([0.0, 0.5**2, 0.5**2], abs=1e-6)

    def test_is_the_loss_of_a_decoder_that_draws_it(self, digits: ImageSet):
        """Mutation: the loss of another batch or of a black drawing."""
        method, views = made(digits)
        for _ in range(2):
            method.after_step(method(views, STEP).carry, STEP)
        mean = views["clean"].mean(0).numpy()
        expected = np.square(views["clean"].numpy() - mean).mean()
        assert method.loss_of_nothing(6) == pytest.approx(expected, rel=1e-2)  # pixels are kept half a level from black

    def test_no_validation_moves_it(self, digits: ImageSet):
        """Mutation: the mean moved in objective, which held-out images reach too."""
        method, views = made(digits)
        before = {name: value.clone() for name, value in method.mean_image.state_dict().items()}
        method.eval()(views, STEP)
        assert all(torch.equal(value, before[name]) for name, value in method.mean_image.state_dict().items())
