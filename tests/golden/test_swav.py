"""SwAV: codes and loss against closed forms, the twin and lightly; queue, prototypes and multi-crop as documented."""

import math

import lightly.loss
import pytest
import torch
from lightly.loss.swav_loss import sinkhorn as lightly_codes
from torch import Tensor

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.swav import Settings, SwAV, prototype_scores, swapped_prediction, usable
from selfstudy.nn.sinkhorn import codes
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.training.optimizer import build, set_rates
from selfstudy.types import Batch, DataCard, Step
from tests.reference import swav as twin

SCORES = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.9, 0.3], [0.6, 0.5]], dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(**settings: object) -> SwAV:
    def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
        return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=16, mean=(0.5,), std=(0.2,)))

    defaults = {"hidden_dim": 16, "out_dim": 4, "num_prototypes": 6, "num_local": 0}
    with Rng.from_seed(0).seeding_torch():
        return SwAV(make_backbone, DataCard(40, 1, 16), Settings(**{**defaults, **settings})).train()


def step(number: int = 0, epoch: int = 0) -> Step:
    return Step(number, epoch, False, 0.0, Rng.from_seed(number))


def embedding_batch(n: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(random(2, n, 4, seed=seed).float(), dim=2)


class TestCodes:
    @pytest.mark.parametrize(
        ("epsilon", "sweeps", "expected"),
        [
            (0.05, 3, [0.99981454, 0.6439368, 0.6439368, 0.0000821]),
            (0.05, 1000, [0.99966, 0.50014, 0.50014, 0.00005]),
            (0.5, 3, [0.69958802, 0.51133226, 0.51133226, 0.27794799]),
        ],
    )
    def test_known_values(self, epsilon: float, sweeps: int, expected: list[float]):
        """Mutation: the step for the samples before the one for the prototypes; one sweep fewer."""
        found = codes(SCORES, epsilon, sweeps)
        torch.testing.assert_close(found[:, 0], torch.tensor(expected, dtype=torch.float64), atol=6e-6, rtol=0)

    def test_every_sample_has_one_unit_after_any_number_of_sweeps(self):
        """Mutation: ending on the prototypes' step."""
        scores = random(7, 3)
        for sweeps in (1, 2, 5):
            torch.testing.assert_close(codes(scores, 0.1, sweeps).sum(1), torch.ones(7, dtype=torch.float64))
        shares = codes(scores, 0.1, 2000).sum(0)
        torch.testing.assert_close(shares, torch.full((3,), 7 / 3, dtype=torch.float64), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("epsilon", [0.05, 0.5])
    def test_equals_the_twin_and_lightly(self, epsilon: float):
        """Mutation: multiplying by epsilon instead of dividing; logsumexp along the other axis."""
        scores = random(6, 4) / 3
        found = codes(scores, epsilon, 3)
        torch.testing.assert_close(found, torch.from_numpy(twin.codes(scores.numpy(), epsilon, 3)))
        torch.testing.assert_close(found, lightly_codes(scores.clone(), iterations=3, epsilon=epsilon))

    def test_invariances(self):
        """A constant on a prototype or on all scores changes nothing; order of samples and prototypes is kept.

        Mutation: starting with the samples' step makes a prototype's constant count.
        """
        scores = random(6, 4)
        found = codes(scores, 0.3, 2)
        torch.testing.assert_close(codes(scores + torch.tensor([3.0, 0.0, -1.0, 0.0]), 0.3, 2), found)
        torch.testing.assert_close(codes(scores - scores.max(), 0.3, 2), found)
        rows, columns = torch.tensor([3, 1, 5, 0, 2, 4]), torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(codes(scores[rows][:, columns], 0.3, 2), found[rows][:, columns])
        one_sample = scores + torch.tensor([2.0, 0, 0, 0, 0, 0])[:, None]
        assert (codes(one_sample, 0.3, 1) - codes(scores, 0.3, 1)).abs().max() > 1e-3
        torch.testing.assert_close(codes(one_sample, 0.3, 3000), codes(scores, 0.3, 3000))

    def test_no_overflow(self):
        """Scores of 1,000 / 0.01 in float32, and 16-bit ones. Mutation: exp before the sweeps gives NaN."""
        large = codes(random(6, 4).float() * 1000, 0.01, 3)
        assert torch.isfinite(large).all() and large.dtype == torch.float32
        rounded = random(6, 4).half()
        with torch.autocast("cpu", torch.bfloat16):
            found = codes(rounded, 0.05, 3)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, codes(rounded.float(), 0.05, 3))

    def test_without_equal_shares_all_images_get_one_code(self):
        """The broken twin: one prototype near to everything takes all samples, unless shares are equal.

        Mutation: the prototypes' step left out of a sweep.
        """
        scores = random(30, 5) / 10 + torch.tensor([1.0, 0, 0, 0, 0])
        assert scores.argmax(1).unique().tolist() == [0]
        assert codes(scores, 0.05, 3).argmax(1).bincount(minlength=5).min() >= 3

    def test_equal_scores_give_equal_codes(self):
        """The code of collapsed embeddings: 1 / K. Mutation: a division of the whole by N."""
        torch.testing.assert_close(codes(torch.full((5, 4), 0.7), 0.05, 3), torch.full((5, 4), 0.25))


class TestSwappedPrediction:
    def test_nothing_learned_is_log_k(self):
        """Collapsed embeddings, equally near to all prototypes. Mutation: the sum over views instead of the mean."""
        scores = torch.full((4, 5, 6), 0.3)
        value = swapped_prediction(scores, torch.stack([codes(view, 0.05, 3) for view in scores[:2]]), 0.1)
        assert float(value) == pytest.approx(math.log(6), abs=1e-6)
        assert made(num_prototypes=6).loss_of_nothing(8) == pytest.approx(math.log(6))

    def test_a_view_predicts_the_others_only(self):
        """View 0 is sure of its own cluster, and so is view 1 of another: each fails on the other's code.

        Mutation: counting the diagonal halves the loss; swapping the views' roles in it makes it 0.
        """
        scores = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
        own = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
        assert float(swapped_prediction(scores, own, 0.1)) == pytest.approx(10 + math.log1p(math.exp(-10)), abs=1e-5)

    @pytest.mark.parametrize("num_views", [2, 4])
    def test_equals_the_twin_and_lightly(self, num_views: int):
        """Mutation: the softmax over samples; the temperature on the codes."""
        scores = random(num_views, 5, 4) / 2
        own = torch.stack([codes(view, 0.05, 3) for view in scores[:2]])
        ours = float(swapped_prediction(scores, own, 0.2))
        assert ours == pytest.approx(twin.swapped_prediction(scores.numpy(), own.numpy(), 0.2), abs=1e-9)
        theirs = lightly.loss.SwaVLoss(temperature=0.2)(list(scores[:2]), list(scores[2:]))
        assert ours == pytest.approx(float(theirs), abs=1e-9)

    def test_gradient_reaches_predictions_only(self):
        """Exact in float64. Mutation: codes without the detach get a gradient."""
        scores = random(3, 4, 3).requires_grad_()
        own = random(2, 4, 3, seed=1).softmax(2).requires_grad_()
        assert torch.autograd.gradcheck(lambda s: swapped_prediction(s, own.detach(), 0.5), scores)
        swapped_prediction(scores, own, 0.5).backward()
        assert own.grad is None

    def test_invariances(self):
        """Swap of the two large views, joint permutation of images. Mutation: codes paired with their own view."""
        scores = random(2, 5, 4)
        own = torch.stack([codes(view, 0.3, 3) for view in scores])
        value = swapped_prediction(scores, own, 0.2)
        order = torch.tensor([4, 2, 0, 1, 3])
        torch.testing.assert_close(swapped_prediction(scores.flip(0), own.flip(0), 0.2), value)
        torch.testing.assert_close(swapped_prediction(scores[:, order], own[:, order], 0.2), value)

    def test_scores_are_cosines(self):
        """Embeddings of any length: without it exp overflows (swav#67). Mutation: no normalisation; the wrong axis."""
        z = random(2, 5, 3)
        prototypes = torch.nn.functional.normalize(random(4, 3, seed=1), dim=1)
        scores = prototype_scores(z, prototypes)
        torch.testing.assert_close(prototype_scores(100 * z, prototypes), scores)
        expected = z[1, 3] @ prototypes[2] / z[1, 3].norm()
        torch.testing.assert_close(scores[1, 3, 2], expected)

    def test_half_precision_is_widened(self):
        """Mutation: dropping in_float32 from either function computes in bfloat16."""
        z, prototypes = random(2, 5, 3).bfloat16(), torch.nn.functional.normalize(random(4, 3, seed=1).float(), dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            scores = prototype_scores(z, prototypes)
            value = swapped_prediction(scores.bfloat16(), scores.softmax(2), 0.1)
        assert scores.dtype == value.dtype == torch.float32
        torch.testing.assert_close(scores, prototype_scores(z.float(), prototypes))


class TestPrototypes:
    def test_frozen_for_the_first_epoch_and_of_unit_length(self):
        """Mutation: frozen_epochs not handed to the group; no normalisation after the step."""
        method = made()
        own = {"epochs": 4, "batch_size": 8, "lr": 0.1, "lr_scaling": "none", "method.num_prototypes": 6}
        settings = resolve("swav", own, DataCard(40, 1, 16), "test")
        updates = build(method.param_groups(), settings.training)
        batch = Batch(torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8), torch.arange(8))
        chains = SwAV.chains(method.config, method.data)
        moved = []
        for epoch in (0, 1):
            before = method.prototypes.detach().clone()
            output = method(method.views(batch, Rng.from_seed(epoch), chains), step(epoch, epoch))
            output.loss.backward()
            set_rates(updates, settings.training, 0.5, epoch)
            updates.step()
            updates.zero_grad()
            method.after_step(output.carry, step(epoch, epoch))
            moved.append(float((before - method.prototypes.detach()).abs().max()) > 1e-4)
            torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(6))
        assert moved == [False, True]


class TestQueue:
    @pytest.mark.parametrize(
        ("queue", "batch", "expected"), [(3840, 256, 3840), (3840, 200, 3800), (20, 8, 16), (4, 8, 0)]
    )
    def test_whole_batches(self, queue: int, batch: int, expected: int):
        """Mutation: the length as it was given."""
        assert usable(queue, batch) == expected

    def test_newest_first_and_no_part_of_a_batch(self):
        """Mutation: writing at the end; one bank for both views."""
        method = made(queue_size=11)
        batches = [embedding_batch(4, seed) for seed in range(3)]
        for batch in batches:
            method.after_step({"large": batch}, step())
        assert torch.equal(method.queue[:, :8], torch.cat([batches[2], batches[1]], 1))
        assert not method.queue[:, 8:].any() and int(method.num_queued) == 8
        assert {"queue", "num_queued"} <= method.state_dict().keys()  # it survives a checkpoint

    def test_used_only_when_full_and_from_its_epoch(self):
        """Mutation: using a queue that still holds zeros; ignoring queue_from_epoch."""
        method = made(queue_size=8, queue_from_epoch=2)
        scores = prototype_scores(embedding_batch(4, 9)[0], method.prototypes.detach())
        alone = codes(scores, 0.05, 3)
        method.after_step({"large": embedding_batch(4, 0)}, step())
        assert torch.equal(method.codes_of(0, scores, step(9, 2)), alone)
        method.after_step({"large": embedding_batch(4, 1)}, step())
        assert torch.equal(method.codes_of(0, scores, step(9, 1)), alone)
        assert (method.codes_of(0, scores, step(9, 2)) - alone).abs().max() > 1e-3

    def test_scores_of_queued_embeddings_are_todays(self):
        """Mutation: the other view's bank; scores kept in the queue instead of embeddings."""
        method = made(queue_size=8, queue_from_epoch=0)
        queued = [embedding_batch(4, seed) for seed in (1, 0)]
        for batch in reversed(queued):
            method.after_step({"large": batch}, step())
        with torch.no_grad():
            method.prototypes.copy_(method.prototypes.flip(1))
        scores = prototype_scores(embedding_batch(4, 9)[1], method.prototypes.detach())
        old = torch.cat(queued, 1)[1] @ method.prototypes.detach().T
        expected = codes(torch.cat([scores, old]), 0.05, 3)[:4]
        torch.testing.assert_close(method.codes_of(1, scores, step(9, 0)), expected)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"num_prototypes": 1}, "num_prototypes is 1, but must be at least 2"),
            ({"sinkhorn_sweeps": 0}, "sinkhorn_sweeps is 0, but must be at least 1"),
            ({"epsilon": 0.0}, "temperature and epsilon must be above 0"),
            ({"num_local": -1}, "num_local and queue_size must be 0 or more"),
            (
                {"num_prototypes": 101},
                "swav needs at least 101 images, as method.num_prototypes is 101, but there are 100",
            ),
            (
                {"num_prototypes": 10, "queue_size": 128},
                "swav needs at least 128 images, as method.queue_size is 128, but",
            ),
        ],
    )
    def test_impossible_settings_are_a_sentence(self, settings: dict[str, float], sentence: str):
        """Mutation: any of the checks left out."""
        with pytest.raises(UserError, match=sentence):
            resolve("swav", {f"method.{key}": value for key, value in settings.items()}, DataCard(100, 1, 28), "test")


def test_small_crops_are_smaller_and_see_less():
    """96 of 224 pixels, but never fewer than 8. Mutation: the large crop's size or share for both."""
    for size, expected in ((224, 96), (32, 14), (16, 8)):
        chains = SwAV.chains(Settings(), DataCard(5000, 3, size))
        assert chains["global"].size == size and chains["local"].size == expected
        assert chains["local"].crop.scale == (0.05, 0.14) and chains["global"].crop.scale == (0.14, 1.0)
    assert set(SwAV.chains(Settings(num_local=0), DataCard(5000, 3, 32))) == {"global"}
