"""Exemplar, both forms: losses against slow twins, and what each form keeps. Each test names a mutation that fails it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.exemplar import (
    Exemplar,
    Settings,
    cosine_scores,
    naming_loss,
    nearest_is_own,
    squared_distances,
    triplet_loss,
)
from selfstudy.training import resolve
from selfstudy.training.gradients import backward
from selfstudy.types import DataCard
from tests.contract.test_methods import built, late_step
from tests.reference import exemplar as twins

TRIPLET = {"method.form": "triplet", "method.num_crops": 3, "method.out_dim": 16}


def random_rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def on_circle(degrees: list[list[float]]) -> Tensor:
    """[N, V, 2]: embeddings at these angles."""
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=2)


def chord(degrees: float) -> float:
    """The squared distance of two points of the circle."""
    return 2 - 2 * math.cos(math.radians(degrees))


@pytest.fixture
def pictures() -> ImageSet:
    pixels = torch.randint(0, 256, (12, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = np.array([f"image{i}" for i in range(12)])
    return ImageSet(name="pictures", images=pixels, image_size=16, ids=names, groups=names, paths=names)


class TestTriplets:
    @pytest.mark.parametrize("shape", [(3, 2, 2), (6, 2, 3), (4, 3, 5), (2, 4, 3)])
    @pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
    def test_equal_the_twin(self, shape: tuple[int, int, int], margin: float):
        """Mutation: the hardest negative; the mean over anchors only; distances that are not squared."""
        z = random_rows(*shape)
        assert float(triplet_loss(z, margin)) == pytest.approx(twins.triplet_loss(z.numpy(), margin), abs=1e-5)

    def test_semi_hard(self):
        """Of negatives nearer and farther than the copy, the nearest farther one: at 60 with a copy at 0, the one at 190 and
        not the one at 100. Mutation: the nearest of all; the farthest of all."""
        pairs = [(60, 100), (60, 130), (90, 100), (90, 130)]  # degrees to the copy, to its negative
        expected = 3.5 + sum(chord(copy) - chord(negative) for copy, negative in pairs) / 4
        assert float(triplet_loss(on_circle([[0, 60], [100, 190]]), 3.5)) == pytest.approx(expected, abs=1e-5)

    def test_where_no_negative_is_farther_than_the_copy(self):
        """Then the farthest one: 40 degrees for the anchor at 0. Mutation: the nearest; infinity, which counts as solved."""
        pairs = [(60, 40), (60, 30), (10, 30), (10, 20)]
        expected = 0.5 + sum(chord(copy) - chord(negative) for copy, negative in pairs) / 4
        assert float(triplet_loss(on_circle([[0, 60], [30, 40]]), 0.5)) == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("margin", [0.2, 0.5])
    def test_collapse_is_the_margin(self, margin: float):
        """Mutation: counting an anchor as its own copy gives (V - 1) / V of it, or V / (V - 1) of it."""
        assert float(triplet_loss(torch.ones(4, 3, 5), margin)) == pytest.approx(margin, abs=1e-5)

    def test_well_separated_is_zero(self):
        """Mutation: no hinge gives a negative value; the other sign of the distances."""
        assert float(triplet_loss(torch.eye(4)[:, None].expand(4, 3, 4), 0.5)) == 0.0

    def test_rows_are_normalised_one_by_one(self):
        """The reference code normalises along the batch. Mutation: dim=0, or no normalisation."""
        z = random_rows(4, 2, 3)
        scale = torch.rand(4, 2, 1, generator=torch.Generator().manual_seed(1)) + 0.1
        torch.testing.assert_close(triplet_loss(z * scale, 0.5), triplet_loss(z, 0.5))
        more = torch.cat([z, random_rows(3, 2, 3, seed=5)])
        torch.testing.assert_close(squared_distances(more)[:4, :, :4], squared_distances(z))

    def test_order_and_rotation_do_not_matter(self):
        """Of images, of copies, and of the axes of the sphere. Mutation: pairs of neighbouring copies only."""
        z, rotation = random_rows(5, 3, 4), torch.linalg.qr(random_rows(4, 4, seed=2)).Q
        for changed in (z.flip(0), z[:, [1, 2, 0]], z[:, [1, 0, 2]], z @ rotation):
            torch.testing.assert_close(triplet_loss(changed, 0.7), triplet_loss(z, 0.7))

    def test_gradient(self):
        """Exact in float64, orthogonal to every row, finite where no negative is farther. Mutation: a detached negative."""
        z = random_rows(3, 2, 3).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: triplet_loss(rows, 1.5), z)
        (gradient,) = torch.autograd.grad(triplet_loss(z, 1.5), z)
        torch.testing.assert_close((gradient * z).sum(2), torch.zeros(3, 2, dtype=torch.float64))
        none_farther = on_circle([[0, 60], [30, 40]]).requires_grad_()
        triplet_loss(none_farther, 0.5).backward()
        assert none_farther.grad is not None and torch.isfinite(none_farther.grad).all()

    def test_half_precision_is_widened(self):
        """Mutation: without in_float32 distances are products of 8 bits."""
        z = random_rows(4, 3, 8).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = triplet_loss(z, 0.5)
        torch.testing.assert_close(value, triplet_loss(z.float(), 0.5))

    def test_nearest_is_own(self):
        """Two of six rows lie nearest to their own copy. Mutation: a row counted as its own neighbour."""
        assert float(nearest_is_own(on_circle([[0, 10], [100, 300], [105, 250]]))) == pytest.approx(2 / 6)
        assert float(nearest_is_own(torch.eye(3)[:, None].expand(3, 2, 3))) == 1.0


class TestClasses:
    def test_equals_the_twin(self):
        """Mutation: the sum; another image's class."""
        logits, index = random_rows(5, 9), torch.tensor([8, 0, 3, 3, 5])
        expected = twins.naming_loss(logits.numpy(), index.numpy())
        assert float(naming_loss(logits, index)) == pytest.approx(expected, abs=1e-5)
        assert float(naming_loss(torch.zeros(5, 9), index)) == pytest.approx(math.log(9), abs=1e-6)

    def test_gradient(self):
        """Mutation: detached scores or features."""
        index = torch.tensor([2, 0, 1])
        assert torch.autograd.gradcheck(lambda s: naming_loss(s, index), random_rows(3, 4).double().requires_grad_())
        h, rows = random_rows(3, 2).double().requires_grad_(), random_rows(4, 2, seed=1).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda a, b: naming_loss(cosine_scores(a, b, 0.5), index), (h, rows))

    def test_cosine_scores(self):
        """Lengths do not matter; a row pointing the same way scores 1 / temperature. Mutation: only one side normalised."""
        h, rows = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.2, 0.0], [0.0, 5.0], [-1.0, 0.0]])
        torch.testing.assert_close(cosine_scores(h, rows, 0.1), torch.tensor([[10.0, 0.0, -10.0]]))

    def test_a_row_of_the_head_for_every_image_and_labels_by_index(self, pictures: ImageSet):
        """Images answer with their place in the set, not in the batch. Mutation: labels by row of the batch."""
        made, data, settings = built("exemplar", pictures, **{"method.temperature": 0.0})
        assert isinstance(made, Exemplar)
        assert made.head.weight.shape == (12, 128)
        made.head.weight.data.zero_()
        batch = data.batch(0, 8)
        made.head.bias.data.zero_()[int(batch.index[5])] = 1.0
        output = made(made.views(batch, data.rng, data.chains), late_step(made, data, settings))
        assert float(output.metrics["pretext_accuracy"]) == pytest.approx(1 / 8)
        made.head.bias.data.copy_(torch.arange(12.0))  # scores by class alone, so each image's term tells its label
        loss = made(made.views(batch, data.rng, data.chains), late_step(made, data, settings)).loss
        expected = torch.arange(12.0).logsumexp(0) - batch.index.float().mean()
        assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5)
        made.head.bias.data.zero_()
        loss = made(made.views(batch, data.rng, data.chains), late_step(made, data, settings)).loss
        assert float(loss.detach()) == pytest.approx(math.log(12), abs=1e-6)
        assert made.loss_of_nothing(8) == pytest.approx(math.log(12))

    def test_the_head_does_not_decay(self, pictures: ImageSet):
        """Mutation: the default groups, which shrink rows of images that are not in the batch."""
        made, _, _ = built("exemplar", pictures)
        assert isinstance(made, Exemplar)
        scale = {id(p): group.weight_decay_scale for group in made.param_groups() for p in group.params}
        assert scale[id(made.head.weight)] == 0.0
        assert {scale[id(p)] for p in made.backbone.parameters() if p.ndim > 1} == {1.0}
        assert len(scale) == len([p for p in made.parameters() if p.requires_grad])


class TestBothForms:
    @pytest.mark.parametrize("own", [TRIPLET, {"method.temperature": 0.0}, {"method.temperature": 0.2}])
    def test_every_parameter_gets_a_gradient(self, pictures: ImageSet, own: dict):
        """The battery sees one form only. Mutation: a bias that cosines do not use."""
        made, data, settings = built("exemplar", pictures, **own)
        output = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))
        output.loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
        assert not any(value.requires_grad for value in output.metrics.values())

    def test_triplets_survive_cached_gradients(self, pictures: ImageSet):
        """Chunks of 3 of 8 images give the whole batch's gradient. Mutation: the loss within each chunk."""

        def gradients(chunk_size: int) -> list[Tensor]:
            made, data, settings = built("exemplar", pictures, **TRIPLET, backbone="test_vit")
            made.double()
            views = made.views(data.batch(0, 8), data.rng, data.chains)
            views.tensors["copies"] = views["copies"].double()  # type: ignore[index]
            backward(made, views, late_step(made, data, settings), chunk_size)
            return [p.grad for p in made.parameters() if p.grad is not None]

        for whole, chunked in zip(gradients(0), gradients(3), strict=True):
            torch.testing.assert_close(whole, chunked, rtol=1e-4, atol=1e-6)  # timm resizes positions in float32

    def test_copies_differ_and_whole_views_lie_one_after_the_other(self, pictures: ImageSet):
        """Mutation: one stream for all copies; rows image by image."""
        made, data, settings = built("exemplar", pictures, **TRIPLET)
        assert isinstance(made, Exemplar)
        views, step = made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings)
        assert views["copies"].shape == (8, 3, 1, 16, 16)
        assert not torch.equal(views["copies"][:, 0], views["copies"][:, 1])
        made.eval()
        output = made(views, step)
        assert output.watched_views == 3
        h = made.backbone(views["copies"][:, 1])
        torch.testing.assert_close(output.watch["h"][8:16], h)
        torch.testing.assert_close(output.watch["z"][8:16], made.head(h))
        assert made.loss_of_nothing(8) == 0.5

    def test_collapsed_triplets_show_the_margin(self, pictures: ImageSet):
        """A head that answers the same for all: the loss is the margin, and the embeddings are a point."""
        made, data, settings = built("exemplar", pictures, **TRIPLET)
        assert isinstance(made, Exemplar)
        made.head.weight.data.zero_()
        output = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))
        assert float(output.loss.detach()) == pytest.approx(0.5, abs=1e-5)
        assert float(output.watch["z"].std(0).max().detach()) < 1e-6


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"num_crops": 1}, "num_crops must be 2 or more"), ({"out_dim": 1}, "out_dim must be 2 or more"),
            ({"margin": 0.0}, "margin must be above 0"), ({"margin": 4.0}, "below 4"), ({"temperature": -0.1}, "temperature must be 0"),
        ],
    )  # fmt: skip
    def test_impossible_settings(self, values: dict, sentence: str):
        """Mutation: no check."""
        with pytest.raises(ValueError, match=sentence):
            Settings(**values)

    def test_too_many_classes(self):
        """16,000 at most with classes, any number with triplets. Mutation: no limit."""
        many = DataCard(num_images=16_001, channels=1, image_size=32)
        with pytest.raises(UserError, match="takes at most 16000 images, but there are 16001"):
            resolve("exemplar", {}, many, "test")
        assert resolve("exemplar", {}, DataCard(num_images=16_000, channels=1, image_size=32), "test")
        assert resolve("exemplar", {"method.form": "triplet"}, many, "test")

    def test_what_each_form_needs(self):
        """Mutation: a validation loss of images that have no class; a batch without negatives."""
        needs = {form: Exemplar.requires(Settings(form=form), DataCard(100, 1, 32)) for form in ("classes", "triplet")}
        assert not needs["classes"].held_out_loss
        assert needs["triplet"].held_out_loss and needs["triplet"].smallest_batch == 2
        with pytest.raises(UserError, match="batches of at least 2 images"):
            resolve("exemplar", {"method.form": "triplet", "batch_size": 1}, DataCard(100, 1, 32), "test")

    def test_views_of_each_form(self):
        """Mutation: turned copies for triplets; grey for grey images."""
        names = {
            (form, channels): [
                step.name for step in Exemplar.chains(Settings(form=form), DataCard(100, channels, 32))["base"].steps
            ]
            for form in ("classes", "triplet")
            for channels in (1, 3)
        }
        assert names["triplet", 1] == ["flip"] and names["triplet", 3] == ["flip", "grey"]
        assert names["classes", 1] == names["classes", 3] == ["affine", "jitter"]
