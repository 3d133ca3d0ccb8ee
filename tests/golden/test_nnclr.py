"""NNCLR against closed forms, its slow twin and lightly's memory bank, with its pitfalls. Each test names a mutation."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.models.modules import NNMemoryBankModule
from torch import Tensor, nn

from selfstudy import config
from selfstudy.encoder import BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.nnclr import NNCLR, Settings, nearest, neighbour_contrast
from selfstudy.nn.queue import NO_IMAGE
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.types import DataCard, Step, Views
from tests.reference import nnclr as twins

CONV4 = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.5,), std=(0.5,))
STEP = Step(0, 0, True, 0.0, Rng(0))


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestNearest:
    z, queue = draw(0, 5, 4), F.normalize(draw(1, 9, 4), dim=1)
    everyone = torch.ones(5, 9, dtype=torch.bool)

    def test_equals_the_twin_and_lightly(self):
        """Mutation: the farthest row; the most like along the wrong axis."""
        found = nearest(self.z, self.queue, self.everyone)
        expected = twins.nearest(self.z.numpy(), self.queue.numpy(), self.everyone.numpy())
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        bank = NNMemoryBankModule(size=(9, 4))
        bank.bank = self.queue.clone()
        torch.testing.assert_close(found, bank(self.z))

    def test_rows_that_are_not_allowed_are_passed_over(self):
        """Mutation: no mask, or the mask turned round."""
        first = nearest(self.z, self.queue, self.everyone)
        allowed = ~(first[:, None] == self.queue).all(2)  # all but the nearest: the second nearest
        found = nearest(self.z, self.queue, allowed)
        expected = twins.nearest(self.z.numpy(), self.queue.numpy(), allowed.numpy())
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
        assert not (found == first).all(1).any()

    def test_the_view_stands_in_where_no_row_is_allowed(self):
        """Mutation: the first row of the queue, whatever it is."""
        allowed = self.everyone.clone()
        allowed[2] = False
        found = nearest(self.z, self.queue, allowed)
        torch.testing.assert_close(found[2], F.normalize(self.z[2], dim=0))
        assert torch.equal(found[3], nearest(self.z, self.queue, self.everyone)[3])

    def test_scale_does_not_matter_and_no_gradient_passes(self):
        """Mutation: without the detach the stand-in has a gradient."""
        z = self.z.clone().requires_grad_()
        found = nearest(z, self.queue, torch.zeros(5, 9, dtype=torch.bool))
        assert not found.requires_grad
        assert torch.equal(nearest(5 * self.z, self.queue, self.everyone), nearest(self.z, self.queue, self.everyone))


class TestLoss:
    neighbours, p = draw(0, 5, 4), draw(1, 5, 4)

    @pytest.mark.parametrize("temperature", [0.1, 0.5])
    def test_closed_forms(self, temperature: float):
        """Mutation: a sign turned; the sum instead of the mean; the label of the next row."""
        loss, accuracy = neighbour_contrast(torch.eye(4), torch.eye(4), temperature)
        assert float(loss) == pytest.approx(math.log(1 + 3 * math.exp(-1 / temperature)), abs=1e-6)
        assert float(accuracy) == 1
        collapsed, chance = neighbour_contrast(torch.ones(4, 3), torch.ones(4, 3), temperature)
        assert float(collapsed) == pytest.approx(math.log(4), abs=1e-6)
        assert float(chance) == pytest.approx(0.25)

    @pytest.mark.parametrize("temperature", [0.1, 0.5])
    def test_equals_the_twin(self, temperature: float):
        """Mutation: the softmax over the neighbours, which is the transpose; normalising along the batch."""
        ours = float(neighbour_contrast(self.neighbours, self.p, temperature)[0])
        expected = twins.neighbour_contrast(self.neighbours.numpy(), self.p.numpy(), temperature)
        assert ours == pytest.approx(expected, abs=1e-5)
        assert ours != pytest.approx(float(neighbour_contrast(self.p, self.neighbours, temperature)[0]), abs=1e-3)

    def test_invariances(self):
        """Joint permutation, scale of either side, a rotation. Mutation: no normalisation."""
        order, rotation = torch.tensor([3, 1, 4, 0, 2]), torch.linalg.qr(draw(2, 4, 4)).Q
        value = neighbour_contrast(self.neighbours, self.p, 0.3)[0]
        for neighbours, p in (
            (self.neighbours[order], self.p[order]), (3 * self.neighbours, self.p), (self.neighbours, self.p / 7),
            (self.neighbours @ rotation, self.p @ rotation),
        ):  # fmt: skip
            torch.testing.assert_close(neighbour_contrast(neighbours, p, 0.3)[0], value)

    def test_gradient(self):
        """Exact in float64, none for the neighbours. Mutation: without the detach of the neighbours; a detached prediction."""
        neighbours, p = self.neighbours.double().requires_grad_(), self.p.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: neighbour_contrast(neighbours.detach(), rows, 0.5)[0], p)
        neighbour_contrast(neighbours, p, 0.5)[0].backward()
        assert neighbours.grad is None and p.grad is not None and p.grad.abs().min() > 0

    def test_half_precision_is_widened(self):
        """Mutation: dropping in_float32 computes in bfloat16."""
        neighbours, p = self.neighbours.bfloat16(), self.p.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = neighbour_contrast(neighbours, p, 0.1)[0]
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, neighbour_contrast(neighbours.float(), p.float(), 0.1)[0])


def nnclr(**settings: object) -> NNCLR:
    with Rng(0).seeding_torch():
        own = {"hidden_dim": 8, "predictor_dim": 8, "out_dim": 6, "queue_size": 10} | settings
        return NNCLR(lambda **_: build_backbone(CONV4), DataCard(20, 1, 8), Settings(**own)).train()  # type: ignore[arg-type]


def seen(*index: int) -> Views:
    images = torch.rand(2, 20, 1, 8, 8, generator=torch.Generator().manual_seed(5))[:, list(index)]
    return Views(torch.tensor(index), {"first": images[0], "second": images[1]})


class TestMethod:
    def test_an_image_is_never_its_own_neighbour(self):
        """The same views come again, so the image's own row is the nearest by far, and passed over.

        Mutation: no mask, or one by position in the batch; a push before the search, which makes it SimCLR.
        """
        method = nnclr()
        method.after_step(method(seen(0, 1, 2, 3), STEP).carry, STEP)
        output = method(seen(3, 2, 1, 0), STEP)
        z, queue = output.watch["z"].detach(), method.queue.rows.numpy()
        own = torch.tensor([3, 2, 1, 0, 3, 2, 1, 0])
        allowed = torch.zeros(8, 10, dtype=torch.bool)
        allowed[:, :4] = own[:, None] != torch.arange(4)
        neighbours = twins.nearest(z.numpy(), queue, allowed.numpy())
        p = method.predict(z).detach().numpy()
        there = twins.neighbour_contrast(neighbours[:4], p[4:], 0.1)
        back = twins.neighbour_contrast(neighbours[4:], p[:4], 0.1)
        assert float(output.loss.detach()) == pytest.approx((there + back) / 2, abs=1e-4)
        cosines = [float(a @ b / np.linalg.norm(a)) for a, b in zip(z.numpy(), neighbours, strict=True)]
        assert float(output.metrics["neighbour_cosine"]) == pytest.approx(float(np.mean(cosines)), abs=1e-5)
        assert F.cosine_similarity(z[:4], method.queue.rows[:4].flip(0)).min() > 0.99  # its own row, by far the nearest
        assert max(cosines[:4]) < 0.99

    def test_the_first_views_join_the_queue_after_the_step(self):
        """Mutation: both views, or the second; a push in the objective; rows that are not of length 1."""
        method = nnclr()
        before = method.queue.rows.clone()
        output = method(seen(4, 5, 6), STEP)
        assert torch.equal(method.queue.rows, before)
        method.after_step(output.carry, STEP)
        assert method.queue.index.tolist() == [4, 5, 6, *[NO_IMAGE] * 7]
        torch.testing.assert_close(method.queue.rows[:3], F.normalize(output.watch["z"][:3].detach(), dim=1))

    def test_the_first_step_does_not_follow_random_rows(self):
        """The view stands in for its neighbour. Mutation: only the image's own rows left out."""
        method = nnclr()
        output = method(seen(0, 1, 2), STEP)
        z = output.watch["z"].detach()
        p = method.predict(z)
        there, back = (
            neighbour_contrast(z[a], p[b], 0.1)[0] for a, b in ((slice(3), slice(3, 6)), (slice(3, 6), slice(3)))
        )
        torch.testing.assert_close(output.loss, (there + back) / 2)

    def test_swapping_the_views_changes_nothing(self):
        """Both directions count alike. Mutation: one direction only, or neighbour and prediction of the same view."""
        method, views = nnclr(), seen(0, 1, 2, 3)
        swapped = Views(views.index, {"first": views["second"], "second": views["first"]})
        torch.testing.assert_close(method(views, STEP).loss, method(swapped, STEP).loss)

    def test_heads_are_the_papers(self):
        """BatchNorm after all layers of the projector and after the predictor's hidden one. Mutation: heads.mlp's default."""
        block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
        method = nnclr()
        assert [type(layer) for layer in method.project] == [*block, *block, nn.Linear, nn.BatchNorm1d]
        assert [type(layer) for layer in method.predict] == [*block, nn.Linear]

    def test_loss_of_nothing_is_what_equal_embeddings_give(self):
        """Mutation: SimCLR's log(2N - 1)."""
        method = nnclr()
        nn.init.zeros_(method.predict[3].weight)
        nn.init.ones_(method.predict[3].bias)
        assert method.loss_of_nothing(4) == pytest.approx(float(method(seen(0, 1, 2, 3), STEP).loss.detach()), abs=1e-5)


class TestRefusals:
    def test_a_queue_larger_than_the_set(self):
        """Mutation: without least_images the queue holds rows of long ago."""
        overrides = {"backbone": "conv4", "batch_size": 8, "epochs": 1, "method.queue_size": 41}
        with pytest.raises(
            UserError, match=r"nnclr needs at least 41 images, as method.queue_size is 41, but there are 40"
        ):
            resolve("nnclr", overrides, DataCard(40, 1, 8), "test")

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("temperature", -1.0, "temperature is -1.0, but similarities are divided by it"),
            ("queue_size", 0, "queue_size is 0, but must be at least 1"),
        ],
    )
    def test_impossible_settings_are_one_sentence(self, name: str, value: float, sentence: str):
        """Mutation: without the check an error deep inside."""
        with pytest.raises(UserError, match=sentence):
            config.validate(Settings, {name: value}, "test")
