"""Rotation: labels, turned copies and loss against slow twins. Each test names a mutation that fails it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.rotation import Settings, closest, naming_loss, turned
from selfstudy.training import resolve
from selfstudy.types import DataCard
from tests.contract.test_methods import built, late_step
from tests.reference import rotation as twins

QUARTERS, EIGHTHS = (0, 90, 180, 270), tuple(range(0, 360, 45))
CARD = DataCard(num_images=100, channels=1, image_size=32)


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pictures() -> ImageSet:
    pixels = (random_images(12, 1, 16, 16) * 255).byte()
    names = np.array([f"image{i}" for i in range(12)])
    return ImageSet(name="pictures", images=pixels, image_size=16, ids=names, groups=names, paths=names)


class TestTurned:
    def test_quarter_turns_equal_the_twin_bit_for_bit(self):
        """Mutation: turning clockwise; turning about other dimensions; any interpolation."""
        images = random_images(2, 3, 5, 5)
        copies = turned(images, QUARTERS)
        for image, found in zip(images.numpy(), copies.numpy(), strict=True):
            expected = image
            for copy in found:
                assert np.array_equal(copy, expected)
                expected = twins.quarter_turn(expected)
            assert np.array_equal(expected, image)  # four quarter turns are none

    def test_every_class_once_per_image_in_the_order_of_the_setting(self):
        """Mutation: sorting the angles, or leaving the upright copy in for 90 and 270."""
        images = random_images(3, 1, 4, 4)
        copies = turned(images, (270, 90))
        assert copies.shape == (3, 2, 1, 4, 4)
        assert torch.equal(copies[:, 0], torch.rot90(images, 3, (2, 3)))
        assert torch.equal(copies[:, 1], torch.rot90(images, 1, (2, 3)))

    def test_eighth_turns_equal_the_twin(self):
        """Mutation: a sign of the angle, an enlargement by 2, corners turned in from outside."""
        images = random_images(2, 1, 9, 9)
        copies = turned(images, EIGHTHS)
        for image, found in zip(images.numpy(), copies.numpy(), strict=True):
            for angle, copy in zip(EIGHTHS, found, strict=True):
                np.testing.assert_allclose(copy, twins.middle_turned(image, angle), atol=1e-5)

    def test_no_corner_and_no_scale_tells_an_eighth_turn(self):
        """A white image stays white in every copy. Mutation: without the enlargement the corners are black."""
        copies = turned(torch.ones(1, 1, 20, 20), EIGHTHS)
        torch.testing.assert_close(copies, torch.ones_like(copies), atol=1e-5, rtol=0)

    def test_all_copies_are_read_alike(self):
        """With 8 angles the upright copy is cropped and enlarged too. Mutation: leaving quarter turns as they are."""
        images = random_images(1, 1, 12, 12)
        copies = turned(images, EIGHTHS)
        assert not torch.equal(copies[:, 0], images)
        for quarter in range(4):
            assert torch.equal(copies[:, 2 * quarter], copies[:, 0].rot90(quarter, (2, 3)))
            assert torch.equal(copies[:, 2 * quarter + 1], copies[:, 1].rot90(quarter, (2, 3)))


class TestNamingLoss:
    def test_equals_the_twin(self):
        """Mutation: the same label for all copies of an image; the sum instead of the mean."""
        logits = random_images(5, 4, 4) * 6 - 3
        assert float(naming_loss(logits)) == pytest.approx(twins.naming_loss(logits.numpy()), abs=1e-5)

    def test_collapse_is_log_of_the_number_of_angles(self):
        """Mutation: the sum over copies instead of the mean."""
        for count in (2, 4, 8):
            assert float(naming_loss(torch.ones(3, count, count))) == pytest.approx(math.log(count), abs=1e-6)

    def test_solved_is_zero(self):
        """Mutation: labels rolled by one."""
        assert float(naming_loss(100.0 * torch.eye(4).expand(3, 4, 4))) == pytest.approx(0.0, abs=1e-6)

    def test_what_looks_alike_from_all_sides_cannot_be_solved(self):
        """Copies with equal scores: at least log R, whatever the scores. Mutation: scores taken for logarithms."""
        logits = (random_images(6, 1, 4) * 8).expand(6, 4, 4)
        assert float(naming_loss(logits)) >= math.log(4)

    def test_order_of_images_and_a_common_offset_do_not_matter(self):
        """Mutation: labels by row of the batch instead of by copy; logits taken for probabilities."""
        logits = random_images(6, 4, 4)
        torch.testing.assert_close(naming_loss(logits.flip(0)), naming_loss(logits))
        torch.testing.assert_close(naming_loss(logits + 5), naming_loss(logits))

    def test_gradient(self):
        """Exact in float64. Mutation: a detached logit."""
        logits = random_images(4, 3, 3).double().requires_grad_()
        assert torch.autograd.gradcheck(naming_loss, logits)


class TestMethod:
    def test_accuracy_counts_the_copies_named_right(self, pictures: ImageSet):
        """A classifier made to answer "90" names one copy in four right. Mutation: counting other labels."""
        made, data, settings = built("rotation", pictures)
        made.classify.weight.data.zero_()
        made.classify.bias.data.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
        output = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))
        assert float(output.metrics["pretext_accuracy"]) == 0.25

    def test_nothing_learned_is_log_r_and_says_so(self, pictures: ImageSet):
        """Mutation: loss_of_nothing by the batch."""
        made, data, settings = built("rotation", pictures, **{"method.angles": [0, 180]})
        for parameter in made.classify.parameters():
            parameter.data.zero_()
        loss = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings)).loss.detach()
        assert float(loss) == pytest.approx(math.log(2), abs=1e-6)
        assert made.loss_of_nothing(8) == pytest.approx(math.log(2))

    def test_whole_views_lie_one_after_the_other(self, pictures: ImageSet):
        """Mutation: flattening image by image, which makes neighbours of an image's own copies."""
        made, data, settings = built("rotation", pictures)
        views, step = made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings)
        made.eval()
        output = made(views, step)
        assert output.watched_views == 4
        torch.testing.assert_close(output.watch["h"][8:16], made.backbone(views["turned"][:, 1]))

    @pytest.mark.parametrize("angles", [(0, 180), (90, 270), QUARTERS, EIGHTHS])
    def test_all_four_sets_of_angles_train(self, pictures: ImageSet, angles: tuple[int, ...]):
        """Mutation: a classifier of a fixed width."""
        made, data, settings = built("rotation", pictures, **{"method.angles": list(angles)})
        output = made(made.views(data.batch(0, 4), data.rng, data.chains), late_step(made, data, settings))
        output.loss.backward()
        assert made.classify.weight.shape[0] == len(angles) and torch.isfinite(output.loss)


class TestRefusals:
    @pytest.mark.parametrize(
        ("views", "angles", "reason"),
        [
            ([{"flip": {"vertical": True}}], QUARTERS, "cannot use flip: an image upside down looks like"),
            ([{"affine": {"degrees": 45}}], QUARTERS, "cannot use affine: turned by up to 45 degrees.* below 45,"),
            ([{"affine": {"degrees": 25}}], EIGHTHS, "cannot use affine: turned by up to 25 degrees.* below 22.5,"),
        ],
    )
    def test_views_that_make_labels_wrong(self, views: list, angles: tuple[int, ...], reason: str):
        """Mutation: allowing the vertical flip; a limit that does not know the angles."""
        with pytest.raises(UserError, match=reason):
            resolve("rotation", {"views": views, "method.angles": list(angles)}, CARD, "test")

    def test_harmless_views_are_allowed(self):
        """The mirror image is as upright as the image; 25 degrees are less than half of 90."""
        for views in (["flip", {"affine": {"degrees": 25}}], "digits", "photo"):
            assert resolve("rotation", {"views": views}, CARD, "test").views

    def test_distance_of_the_closest_classes(self):
        """Mutation: forgetting that 270 lies next to 0."""
        assert [closest(a) for a in ((0, 180), (270, 90), QUARTERS, EIGHTHS, (0, 270))] == [180, 180, 90, 45, 90]

    @pytest.mark.parametrize(
        ("angles", "sentence"),
        [
            ((0,), "two different"), ((), "two different"), ((90, 90), "two different"), ((0, 30), "multiples of 45"),
            ((0, 360), "from 0 to 315"), ((-90, 0), "from 0 to 315"),
        ],
    )  # fmt: skip
    def test_impossible_angles(self, angles: tuple[int, ...], sentence: str):
        """Mutation: no check of repeated classes."""
        with pytest.raises(ValueError, match=sentence):
            Settings(angles=angles)
