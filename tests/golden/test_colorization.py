"""Colorization: Lab, bins, soft targets, weights, loss and what evaluation is fed. Each test names a mutation that fails it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab
from torch import Tensor

from selfstudy.encoder import Encoder, Feed, lightness
from selfstudy.errors import RunError, UserError
from selfstudy.images import ImageSet
from selfstudy.methods.colorization import Colorization, Settings, colour_loss, is_coloured, quarter_colours
from selfstudy.nn import lab
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import fit, resolve
from selfstudy.types import DataCard, Views
from tests.contract.test_methods import CPU, built, late_step
from tests.reference import colorization as twins

COLOURS = {  # sRGB to Lab, of published tables for D65
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0), (0.0, 0.0, 0.0): (0.0, 0.0, 0.0), (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18), (0.0, 0.0, 1.0): (32.30, 79.19, -107.86), (0.5, 0.5, 0.5): (53.39, 0.0, 0.0),
}  # fmt: skip
BINS = lab.gamut_bins()


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def image_set(pixels: Tensor) -> ImageSet:
    names = np.array([f"image{i}" for i in range(len(pixels))])
    return ImageSet(name="pictures", images=pixels, image_size=pixels.shape[2], ids=names, groups=names, paths=names)


def shapes(count: int, seed: int, colour_of_shape: tuple[int, int, int] = (0, 1, 2)) -> ImageSet:
    """Discs, squares and crosses of about equal lightness on a dark ground, 16 px: the shape tells the colour."""
    generator, size = torch.Generator().manual_seed(seed), 16
    kind = torch.randint(0, 3, (count,), generator=generator)
    down, right = torch.randint(5, size - 5, (2, count, 1, 1), generator=generator)
    radius = torch.randint(3, 5, (count, 1, 1), generator=generator)
    y, x = (torch.arange(size)[:, None] - down).abs(), (torch.arange(size) - right).abs()
    far = torch.maximum(x, y)
    masks = torch.stack([x**2 + y**2 <= radius**2, far <= radius, (torch.minimum(x, y) <= 1) & (far <= radius + 1)])
    colours = torch.tensor([[0.85, 0.3, 0.3], [0.2, 0.58, 0.25], [0.35, 0.45, 0.95]])[list(colour_of_shape)]
    images = torch.where(masks[kind, torch.arange(count)][:, None], colours[kind][:, :, None, None], 0.12)
    noise = 0.02 * torch.randn(count, 1, size, size, generator=generator)
    return image_set(((images + noise).clamp(0, 1) * 255).round().byte())


@pytest.fixture
def pictures() -> ImageSet:
    return image_set((random_images(12, 3, 16, 16) * 255).byte())


class TestLab:
    def test_known_colours(self):
        """Mutation: Lab of pixel values instead of light (no linearisation); another white."""
        for colour, expected in COLOURS.items():
            found = lab.rgb_to_lab(torch.tensor(colour).view(1, 3, 1, 1)).flatten()
            assert found.tolist() == pytest.approx(expected, abs=0.01)

    def test_equals_the_twin_and_scikit_image(self):
        """Mutation: a and b exchanged; the straight line near black left out."""
        images = random_images(2, 3, 6, 6)
        images[0] = images[0] * 0.05
        found = lab.rgb_to_lab(images).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(found, rgb2lab(images.permute(0, 2, 3, 1).numpy()), atol=0.02)
        for pixel, own in zip(images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), found.reshape(-1, 3), strict=True):
            assert own.tolist() == pytest.approx(twins.lab(pixel), abs=0.02)

    def test_there_and_back(self):
        """To less than a level of 255, dark colours too. Mutation: a transposed inverse."""
        images = torch.cat([random_images(3, 3, 20, 20), random_images(1, 3, 20, 20) * 0.04])
        assert (lab.lab_to_rgb(lab.rgb_to_lab(images)) - images).abs().max() < 1 / 255
        outside = lab.lab_to_rgb(torch.tensor([50.0, 120.0, -120.0]).view(1, 3, 1, 1))
        assert outside.min() >= 0 and outside.max() <= 1

    def test_grey_has_no_colour(self):
        """Mutation: rows of the matrix that do not sum to 1."""
        grey = torch.linspace(0, 1, 50).view(1, 1, 1, 50).expand(1, 3, 1, 50)
        assert lab.rgb_to_lab(grey)[:, 1:].abs().max() < 1e-3

    def test_lightness_is_l(self):
        """Of colour, and of grey as if it were stored three times. Mutation: luma of pixel values; L / 116."""
        images = random_images(2, 3, 5, 5)
        torch.testing.assert_close(lightness(images) * 100, lab.rgb_to_lab(images)[:, :1])
        grey = images[:, :1]
        torch.testing.assert_close(lightness(grey), lightness(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=0)
        with pytest.raises(UserError, match="2 channels, but lightness is of grey or colour"):
            lightness(images[:, :2])


class TestBins:
    def test_the_gamut(self):
        """261 cells, not the paper's list of 313. Mutation: floors instead of roundings; the whole square of colours."""
        assert BINS.shape == (261, 2) and len(BINS.unique(dim=0)) == 261
        assert torch.equal(BINS, (BINS / 10).round() * 10)
        colours = lab.rgb_to_lab(random_images(1, 3, 200, 200))[0, 1:].flatten(1).T
        assert torch.cdist(colours, BINS).min(1).values.max() < 5 * math.sqrt(2) + 1e-3
        assert BINS.min(0).values.tolist() == [-90, -110] and BINS.max(0).values.tolist() == [100, 90]

    def test_soft_codes_equal_the_twin(self):
        """Mutation: 5 neighbours (the paper's text); sigma 10; distances that are not squared."""
        colours = random_images(2, 8, 2) * 120 - 60 + 0.123
        nearest, shares = lab.soft_encode(colours, BINS)
        assert nearest.shape == shares.shape == (2, 8, 10)
        codes = torch.zeros(2, 8, 261).scatter(2, nearest, shares)
        for colour, code in zip(colours.reshape(-1, 2).tolist(), codes.reshape(-1, 261).numpy(), strict=True):
            np.testing.assert_allclose(code, twins.soft_code(colour, BINS.numpy()), atol=1e-5)

    def test_a_centre_peaks_at_itself_and_decodes_to_itself(self):
        """Mutation: shares in no order; a mean over bins' numbers."""
        nearest, shares = lab.soft_encode(BINS, BINS)
        assert torch.equal(nearest[:, 0], torch.arange(261)) and torch.equal(shares.argmax(1), torch.zeros(261).long())
        torch.testing.assert_close(shares.sum(1), torch.ones(261))
        scores = torch.full((261, 261), -40.0).scatter(1, nearest, shares.log())
        assert (lab.decode(scores, BINS, 0.01) - BINS).norm(dim=1).max() < 1

    @pytest.mark.parametrize("temperature", [1.0, 0.38])
    def test_decoding_equals_the_twin(self, temperature: float):
        """Mutation: multiplying by the temperature; softmax before it."""
        scores = random_images(3, 261) * 8
        for row, colour in zip(scores, lab.decode(scores, BINS, temperature), strict=True):
            expected = twins.decode(row.tolist(), BINS.numpy(), temperature)
            np.testing.assert_allclose(colour.numpy(), expected, atol=1e-3)

    def test_colours_are_averaged_before_they_are_binned(self):
        """Parts of 4 x 4 pixels, row by row. Mutation: the mean of RGB; columns first."""
        images = random_images(2, 3, 8, 8)
        found = quarter_colours(images, 2)
        assert found.shape == (2, 4, 2)
        colours = lab.rgb_to_lab(images)[:, 1:]
        torch.testing.assert_close(found[:, 1], colours[:, :, :4, 4:].mean((2, 3)), atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(found[:, 2], colours[:, :, 4:, :4].mean((2, 3)), atol=1e-3, rtol=1e-4)


class TestRebalancing:
    @pytest.mark.parametrize("uniform_share", [0.1, 0.5, 1.0])
    def test_equals_the_twin_and_has_mean_1(self, uniform_share: float):
        """Mutation: evenness over all bins; weights that sum to 1."""
        frequency = torch.tensor([0.6, 0.3, 0.1, 0.0])
        found = lab.rebalancing(frequency, uniform_share)
        assert found.tolist() == pytest.approx(twins.rebalancing(frequency.tolist(), uniform_share), rel=1e-5)
        assert float((frequency * found).sum()) == pytest.approx(1.0)

    def test_rare_colours_weigh_more_and_unseen_ones_are_finite(self):
        """Mutation: weights by frequency; evenness left out for colours that were never seen."""
        found = lab.rebalancing(torch.tensor([0.7, 0.29, 0.01, 0.0]), 0.5)
        assert torch.isfinite(found).all() and found.diff().min() > 0
        assert float(found[3] / found[2]) < 1.1
        assert lab.rebalancing(torch.tensor([0.7, 0.3]), 1.0).tolist() == pytest.approx([1.0, 1.0])


class TestLoss:
    def test_equals_the_twin(self):
        """Mutation: a mean over all pixels; weights in the target instead of outside; the sum."""
        colours, weights = random_images(3, 4, 2) * 80 - 40, random_images(3, 4, seed=1) + 0.2
        weights[1] = 0.0
        scores = random_images(3, 4, 261, seed=2) * 6
        nearest, shares = lab.soft_encode(colours, BINS)
        codes = torch.zeros_like(scores).scatter(2, nearest, shares)
        found = float(colour_loss(scores, nearest, shares, weights))
        assert found == pytest.approx(twins.colour_loss(scores.numpy(), codes.numpy(), weights.numpy()), rel=1e-5)

    def test_nothing_known_is_log_q(self):
        """Mutation: a hard target would give the same, but not the bound below."""
        nearest, shares = lab.soft_encode(random_images(2, 5, 2) * 50, BINS)
        assert float(colour_loss(torch.zeros(2, 5, 261), nearest, shares, torch.ones(2, 5))) == pytest.approx(
            math.log(261)
        )
        best = torch.full((2, 5, 261), -50.0).scatter(2, nearest, shares.log())
        entropy = float(-(shares * shares.log()).sum(2).mean())
        assert float(colour_loss(best, nearest, shares, torch.ones(2, 5))) == pytest.approx(entropy, abs=1e-4)
        assert entropy > 1.3

    def test_gradient_and_offset(self):
        """Exact in float64. Mutation: detached scores; scores taken for logarithms."""
        nearest, shares = (
            torch.tensor([[[0, 2], [1, 0]]]),
            torch.tensor([[[0.7, 0.3], [0.6, 0.4]]], dtype=torch.float64),
        )
        weights, scores = (
            torch.tensor([[0.5, 2.0]], dtype=torch.float64),
            random_images(1, 2, 3).double().requires_grad_(),
        )
        assert torch.autograd.gradcheck(lambda s: colour_loss(s, nearest, shares, weights), scores)
        torch.testing.assert_close(
            colour_loss(scores + 4, nearest, shares, weights), colour_loss(scores, nearest, shares, weights)
        )

    def test_a_batch_without_colour_is_0_and_finite(self):
        """Mutation: dividing by the number of pixels that count without a floor."""
        nearest, shares = lab.soft_encode(torch.zeros(2, 3, 2), BINS)
        scores = random_images(2, 3, 261).requires_grad_()
        loss = colour_loss(scores, nearest, shares, torch.zeros(2, 3))
        loss.backward()
        assert float(loss.detach()) == 0.0 and scores.grad is not None and torch.isfinite(scores.grad).all()

    def test_grey_images_do_not_count(self):
        """An image counts if any colour of it is 5 away from grey. Mutation: every pixel by itself; no absolute value."""
        colours = torch.zeros(3, 4, 2)
        colours[1, 2, 1], colours[2] = -6.0, 4.9
        assert is_coloured(colours).tolist() == [[False], [True], [False]]


class TestMethod:
    def test_no_colour_reaches_the_encoder(self, pictures: ImageSet):
        """Images of equal lightness have equal inputs. Mutation: three channels; luma, which mixes colour in."""
        made, data, _ = built("colorization", pictures)
        views = made.views(data.batch(0, 8), data.rng, data.chains)
        assert views["lightness"].shape == (8, 1, 16, 16) and views["colours"].shape == (8, 16, 2)
        assert made.encoder()[0].spec.channels == 1
        in_lab = lab.rgb_to_lab(pictures.images.float() / 255 * 0.6 + 0.2)
        turned = torch.cat([in_lab[:, :1], in_lab[:, 2:] * 0.3, in_lab[:, 1:2] * 0.3], dim=1)
        faded = torch.cat([in_lab[:, :1], in_lab[:, 1:2] * 0.3, in_lab[:, 2:] * 0.3], dim=1)
        torch.testing.assert_close(
            lightness(lab.lab_to_rgb(turned)), lightness(lab.lab_to_rgb(faded)), atol=2e-3, rtol=0
        )

    def test_evaluation_is_fed_what_training_saw(self, pictures: ImageSet):
        """Mutation: the feed's luma; a resize between the two."""
        made, data, _ = built("colorization", pictures, views=[{"crop": {"scale": [1, 1], "ratio": [1, 1]}}])
        batch = data.images.at(torch.arange(12))
        views = made.views(batch, data.rng, data.chains)
        backbone, feed = made.encoder()
        assert feed == Feed(size=16, channels=1, colour="lightness")
        torch.testing.assert_close(feed(batch.images), views["lightness"])
        encoder = Encoder(backbone, feed, {})
        torch.testing.assert_close(
            encoder(batch.images), made.eval().embed(views, late_step(made, data, _))["h"].detach()
        )

    def test_feed_of_grey_and_resized_images(self):
        """Mutation: lightness of grey images as their values; lightness before the resize."""
        colour = (random_images(2, 3, 12, 12) * 255).byte()
        feed = Feed(size=6, channels=1, colour="lightness")
        stored = Feed(size=6, channels=3)
        torch.testing.assert_close(feed(colour), lightness(stored(colour)))
        torch.testing.assert_close(feed(colour[:, :1]), lightness(Feed(size=6, channels=1)(colour[:, :1])))
        assert Feed(size=6, channels=3, colour="lightness")(colour).shape == (2, 3, 6, 6)

    def test_statistics_are_gathered_once_at_the_start(self, pictures: ImageSet):
        """Mutation: at every epoch, which would change the loss; never."""
        made, data, settings = built("colorization", pictures)
        step = late_step(made, data, settings)
        assert not made.refresh_due(step) and made.refresh_due(replace(step, number=0))

    def test_weights_and_the_best_single_answer_come_from_the_set(self):
        """Mutation: log Q; weights of a uniform set; grey images counted."""
        pixels = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
        pixels[:6, 0], pixels[6:8, 2], pixels[8:] = 200, 200, 128  # red, blue, grey
        pictures = image_set(pixels)
        made, data, settings = built("colorization", pictures)
        assert isinstance(made, Colorization)
        made.refresh(data.scan(4, CPU), late_step(made, data, settings))
        colours = quarter_colours(pixels[:8].float() / 255, 2)
        codes = np.array([[twins.soft_code(c, BINS.numpy()) for c in image] for image in colours.tolist()])
        frequency = codes.reshape(-1, 261).mean(0)
        expected = twins.rebalancing(frequency.tolist(), 0.5)
        np.testing.assert_allclose(made.weights.numpy(), expected, rtol=1e-4)
        nearest = lab.soft_encode(colours, BINS)[0][..., 0]
        assert made.weights[nearest[7, 0]] > made.weights[nearest[0, 0]]
        # The best answer that is the same for all pixels, found by hand: the codes' weighted mean.
        weights = made.weights[nearest].numpy()
        answer = (codes * weights[..., None]).reshape(-1, 261).sum(0)
        answer = np.log(answer / answer.sum() + 1e-30)
        best = twins.colour_loss(np.broadcast_to(answer, codes.shape), codes, weights)
        assert made.loss_of_nothing(8) == pytest.approx(best, rel=1e-4)
        assert {"bins", "weights", "nothing"} <= set(made.state_dict())

    def test_metrics_at_known_answers(self, pictures: ImageSet):
        """A decoder that always says the right thing: all bins right, and less than a cell off. Mutation: bins exchanged."""
        made, data, settings = built("colorization", pictures)
        assert isinstance(made, Colorization)
        views = made.views(data.batch(0, 4), data.rng, data.chains)
        nearest, shares = lab.soft_encode(views["colours"], made.bins)
        made.paint.register_forward_hook(
            lambda *_: torch.full((4, 16, 261), -40.0).scatter(2, nearest, shares.log()).requires_grad_()
        )
        output = made(views, late_step(made, data, settings))
        assert float(output.metrics["pretext_accuracy"]) == 1.0 and float(output.metrics["colour_error"]) < 7
        wrong = Views(views.index, {**views.tensors, "colours": views["colours"] + 30})
        assert float(made(wrong, late_step(made, data, settings)).metrics["colour_error"]) == pytest.approx(
            30 * math.sqrt(2), abs=7
        )

    @pytest.mark.parametrize("image_size", [28, 32, 33, 96])
    def test_sizes(self, image_size: int):
        """Mutation: a decoder for one size."""
        pictures = image_set((random_images(4, 3, image_size, image_size) * 255).byte())
        made, data, settings = built("colorization", pictures, batch_size=4, **{"method.decoder_width": 16})
        views = made.views(data.batch(0, 4), data.rng, data.chains)
        assert views["colours"].shape == (4, (image_size // 4) ** 2, 2)
        assert torch.isfinite(made(views, late_step(made, data, settings)).loss)


class TestRefusals:
    @pytest.mark.parametrize(
        ("view", "reason"),
        [
            (
                {"jitter": {"hue": 0.1, "saturation": 0.0}},
                "cannot use jitter: the colours are the target, and a changed hue",
            ),
            ({"jitter": {"hue": 0.0, "saturation": 0.4}}, "cannot use jitter: .* set both to 0"),
            ("grey", "cannot use grey: the colours are the target, and a grey image has none"),
            ("solarise", "cannot use solarise: the colours are the target, and inverted"),
        ],
    )
    def test_views_that_change_the_target(self, view: object, reason: str):
        """Mutation: allowing any of them."""
        with pytest.raises(UserError, match=reason):
            resolve("colorization", {"views": [view]}, DataCard(100, 3, 32), "test")

    def test_views_that_keep_it(self):
        """Mutation: refusing jitter as such."""
        views = ["flip", {"jitter": {"hue": 0.0, "saturation": 0.0, "brightness": 0.2}}, {"affine": {"degrees": 10}}]
        assert resolve("colorization", {"views": views}, DataCard(100, 3, 32), "test")

    def test_grey_sets(self):
        """By their channels before training, by their pixels before the first step. Mutation: weights of 0 / 0."""
        with pytest.raises(UserError, match="needs images with 3 channels, but these have 1"):
            resolve("colorization", {}, DataCard(100, 1, 32), "test")
        made, data, settings = built("colorization", image_set(torch.full((10, 3, 8, 8), 90, dtype=torch.uint8)))
        with pytest.raises(RunError, match="every image is grey"):
            made.refresh(data.scan(4, CPU), late_step(made, data, settings))

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [({"uniform_share": 0.0}, "weigh infinitely"), ({"uniform_share": 1.1}, "at most 1"), ({"decoder_width": 0}, "1 or more")],
    )  # fmt: skip
    def test_impossible_settings(self, values: dict, sentence: str):
        """Mutation: no check."""
        with pytest.raises(ValueError, match=sentence):
            Settings(**values)


def test_learns_colours_from_shapes():
    """On new images it beats the best single answer, and by the shape: with two colours exchanged it does not.

    Mutation: a decoder that sees nothing of the image.
    """
    seen, new, exchanged = shapes(256, seed=0), shapes(128, seed=1), shapes(128, seed=1, colour_of_shape=(1, 2, 0))
    overrides = {"epochs": 14, "batch_size": 32, "lr": 3e-3, "lr_scaling": "none"}
    made, data, settings = built("colorization", seen, **overrides, **{"method.decoder_width": 16})
    fit(made, data, settings.training, device=CPU, progress=Progress(quiet=True))
    made.eval()
    step = late_step(made, data, settings)
    views, other = (made.views(part.at(torch.arange(128)), Rng.from_seed(1), data.chains) for part in (new, exchanged))
    output = made(views, step)
    nothing = made.loss_of_nothing(32)
    assert float(output.loss.detach()) < nothing - 0.2
    mismatched = Views(views.index, {"lightness": views["lightness"], "colours": other["colours"]})
    assert float(made(mismatched, step).loss.detach()) > nothing
