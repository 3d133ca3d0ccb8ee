"""SeLa: transport, loss and schedule against closed forms, the twin and linear programming; labels kept by index."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.sela import SeLa, Settings, cross_entropy_of_heads, equal_labels
from selfstudy.nn.sinkhorn import transport
from selfstudy.rng import Rng
from selfstudy.training import Data, resolve
from selfstudy.types import DataCard, Step, Views
from tests.reference import sela as twin


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal(k: int) -> Tensor:
    return torch.full((k,), 1 / k, dtype=torch.float64)


def made(num_images: int = 40, **settings: object) -> SeLa:
    def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
        return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=16, mean=(0.5,), std=(0.2,)))

    with Rng.from_seed(0).seeding_torch():
        card = DataCard(num_images, 1, 16)
        return SeLa(make_backbone, card, Settings(**{"num_prototypes": 5, "num_heads": 3, **settings})).train()


def step(number: int, total: int) -> Step:
    return Step(number, 0, number == 0, number / total, Rng.from_seed(number))


def pictures(count: int) -> ImageSet:
    """Stored larger than the 16 pixels that are seen."""
    pixels = torch.randint(0, 256, (count, 1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = np.array([f"image{i}" for i in range(count)])
    return ImageSet(name="pictures", images=pixels, image_size=16, ids=names, groups=names, paths=names)


class TestTransport:
    @pytest.mark.parametrize("shares", [equal(3), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)])
    def test_shares_are_met(self, shares: Tensor):
        """12 samples, 3 prototypes. Mutation: shares not multiplied by N never stand still."""
        found = transport(random(12, 3), shares, 1e-12, 1000)
        masses = found.log_codes.exp()
        torch.testing.assert_close(masses.sum(1), torch.ones(12, dtype=torch.float64), atol=1e-8, rtol=0)
        torch.testing.assert_close(masses.sum(0), 12 * shares, atol=1e-8, rtol=0)
        assert found.converged and found.sweeps < 200

    @pytest.mark.parametrize("sweeps", [1, 8, 23])
    def test_equals_the_twin_after_any_number_of_sweeps(self, sweeps: int):
        """Mutation: the samples' step first; potentials not absorbed after a block; a block counted as one sweep."""
        p, shares = random(6, 4).softmax(1), torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)
        found = transport(10 * p.log(), shares, 1e-300, sweeps)
        assert found.sweeps == sweeps and not found.converged
        expected = twin.transport(p.numpy() ** 10, shares.numpy(), sweeps)
        torch.testing.assert_close(found.log_codes.exp(), torch.from_numpy(expected))

    def test_is_the_best_assignment_in_the_limit(self):
        """As sharpness grows: the balanced assignment of largest total log-probability. Mutation: the wrong sign."""
        log_p = random(12, 3).log_softmax(1)
        _, columns = linear_sum_assignment(-log_p.repeat_interleave(4, dim=1).numpy())  # four places per prototype
        found = equal_labels(log_p, 200.0, 1e-6, 20_000)
        assert found.tolist() == (columns // 4).tolist()

    def test_powers_that_underflow_do_not(self):
        """exp(-2000) is 0 even in float64; here for a whole sample and a whole prototype, which changes nothing.

        Mutation: a first sweep on exp of the weights.
        """
        log_weights = random(20, 4)
        unlikely = log_weights.clone()
        unlikely[3] -= 2000
        unlikely[:, 1] -= 1500
        found = transport(unlikely, equal(4), 1e-9, 1000)
        assert found.converged
        torch.testing.assert_close(found.log_codes, transport(log_weights, equal(4), 1e-9, 1000).log_codes)

    def test_is_bounded(self):
        """Mutation: no bound on the sweeps, or a block that runs past it."""
        found = transport(100 * random(30, 5), equal(5), 1e-300, 14)
        assert found.sweeps == 14 and not found.converged
        torch.testing.assert_close(found.log_codes.exp().sum(1), torch.ones(30, dtype=torch.float64))

    def test_stands_still_when_it_says_so(self):
        """The tolerance is of a sum over samples. Mutation: the mean instead, or the last change of the prototypes."""
        log_weights = 5 * random(200, 4)
        found = transport(log_weights, equal(4), 0.01, 10_000)
        more = transport(log_weights, equal(4), 1e-300, found.sweeps + 1)
        prototype, sample = (found.log_codes - log_weights, more.log_codes - log_weights)
        change = (prototype - sample).mean(1).expm1().abs().sum()
        assert found.converged and float(change) < 0.01
        assert not transport(log_weights, equal(4), 0.01, found.sweeps - 10).converged


class TestLabels:
    def test_without_equal_shares_all_images_get_one_label(self):
        """The broken twin: one label for all, whose loss is near 0. Mutation: the argmax of the logits as labels."""
        logits = random(60, 4) + torch.tensor([12.0, 0, 0, 0])
        alone = logits.argmax(1)
        assert alone.unique().tolist() == [0]
        assert float(cross_entropy_of_heads(logits[:, None], alone[None])) < 1e-3
        shared = equal_labels(logits, 25.0, 0.01, 5000)
        counts = shared.bincount(minlength=4)
        assert counts.min() >= 10 and counts.max() <= 1.5 * 15
        assert float(cross_entropy_of_heads(logits[:, None], shared[None])) > 1

    def test_invariances(self):
        """A class's constant changes no label, and the order of images and classes is kept. Mutation: no prototypes' step."""
        logits = random(40, 4)
        found = equal_labels(logits, 10.0, 1e-9, 100_000)
        shifted = logits + torch.tensor([5.0, -2.0, 0.0, 1.0])
        assert torch.equal(equal_labels(shifted, 10.0, 1e-9, 100_000), found)
        rows, columns = torch.randperm(40, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 3, 1])
        permuted = equal_labels(logits[rows][:, columns], 10.0, 1e-9, 100_000)
        assert torch.equal(columns[permuted], found[rows])

    def test_first_labels_are_equal_shares_that_differ_by_head(self):
        """Mutation: one permutation for all heads; no permutation."""
        labels = made().labels
        assert all(head.bincount().tolist() == [8] * 5 for head in labels)
        assert not torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], torch.arange(40) % 5)


class TestLoss:
    def test_nothing_learned_is_log_k(self):
        """Mutation: the sum over heads."""
        value = cross_entropy_of_heads(torch.zeros(4, 3, 5), torch.arange(12).view(3, 4) % 5)
        assert float(value) == pytest.approx(math.log(5), abs=1e-6)
        assert made().loss_of_nothing(8) == pytest.approx(math.log(5))

    def test_equals_the_twin(self):
        """Mutation: labels flattened without the transpose; the softmax over heads."""
        logits, labels = random(4, 3, 5), torch.randint(0, 5, (3, 4), generator=torch.Generator().manual_seed(1))
        expected = twin.cross_entropy_of_heads(logits.numpy(), labels.numpy())
        assert float(cross_entropy_of_heads(logits, labels)) == pytest.approx(expected, abs=1e-9)

    def test_gradient_and_precision(self):
        """Exact in float64; 16-bit logits are widened. Mutation: a detach; in_float32 dropped."""
        logits, labels = random(4, 2, 3).requires_grad_(), torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
        assert torch.autograd.gradcheck(lambda values: cross_entropy_of_heads(values, labels), logits)
        assert cross_entropy_of_heads(logits.detach().bfloat16(), labels).dtype == torch.float32

    def test_labels_belong_to_indices(self):
        """Whatever the order in which the loader brings images. Mutation: labels taken by position in the batch."""
        method = made().eval()
        images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        index, order = torch.tensor([3, 39, 0, 17, 8, 21]), torch.tensor([5, 2, 0, 4, 1, 3])
        losses = [
            float(method(Views(index[rows], {"base": images[rows]}), step(1, 10)).loss.detach())
            for rows in (torch.arange(6), order)
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-6)
        logits = method.classify(method.backbone(images)).view(6, 3, 5)
        expected = twin.cross_entropy_of_heads(logits.detach().double().numpy(), method.labels[:, index].numpy())
        assert losses[0] == pytest.approx(expected, abs=1e-5)


class TestRelabelling:
    def test_falls_where_the_paper_says(self):
        """At (i / 99) ** 2 of the training, the first before the first step. Mutation: the square root's place; no step 0."""
        method, total = made(), 20_000
        found = [number for number in range(total) if method.refresh_due(step(number, total))]
        assert found == [math.ceil(round((i / 99) ** 2 * total, 6)) for i in range(99)]  # the hundredth is at the end

    @pytest.mark.parametrize(
        ("num", "total", "expected"), [(5, 400, [0, 25, 100, 225]), (1, 9, [0]), (50, 4, [0, 1, 2, 3]), (3, 1, [0])]
    )
    def test_is_due_once_however_short_the_training(self, num: int, total: int, expected: list[int]):
        """Mutation: the last step's progress from this one's, so that rounding makes a relabelling come twice or never."""
        method = made(num_relabelings=num)
        assert [number for number in range(total) if method.refresh_due(step(number, total))] == expected

    def test_every_epoch(self):
        """Mutation: at the first step only; at every step."""
        method, total, per_epoch = made(schedule="every_epoch"), 12, 4
        steps = [Step(n, n // per_epoch, n % per_epoch == 0, n / total, Rng.from_seed(n)) for n in range(total)]
        assert [method.refresh_due(each) for each in steps] == 3 * [True, False, False, False]

    def test_every_image_gets_its_label(self):
        """A last batch that is not full counts too, and how images are batched changes nothing.

        Mutation: train mode while labelling; images not brought to the size that is seen; one head for all.
        """
        data = Data(pictures(40), {}, Rng.from_seed(0))
        found = []
        for batch_size in (7, 40):
            method = made()
            method.labels.fill_(-1)
            state = {name: value.clone() for name, value in method.state_dict().items() if "running" in name}
            method.refresh(data.scan(batch_size, torch.device("cpu")), step(0, 10))
            assert method.training and method.labels.min() >= 0
            assert all(torch.equal(method.state_dict()[name], value) for name, value in state.items())
            found.append(method.labels)
        assert torch.equal(*found) and not torch.equal(found[0][0], found[0][1])
        backbone, feed = method.encoder()
        logits = method.classify(backbone.eval()(feed(data.images.images))).view(40, 3, 5)
        for head in range(3):
            assert torch.equal(found[0][head], equal_labels(logits[:, head].detach(), 25.0, 0.1, 2000))
        assert float(method.largest_cluster) == max(float(head.bincount().max()) for head in found[0]) / 8


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"num_prototypes": 1}, "num_prototypes is 1, but must be at least 2"),
            ({"num_heads": 0}, "num_heads, num_relabelings and most_sweeps must be at least 1"),
            ({"sharpness": 0.0}, "sharpness and tolerance must be above 0"),
            (
                {"num_prototypes": 101},
                "sela needs at least 101 images, as method.num_prototypes is 101, but there are 100",
            ),
        ],
    )
    def test_impossible_settings_are_a_sentence(self, settings: dict[str, float], sentence: str):
        """Mutation: any of the checks left out."""
        with pytest.raises(UserError, match=sentence):
            resolve("sela", {f"method.{key}": value for key, value in settings.items()}, DataCard(100, 1, 28), "test")

    def test_says_that_it_keeps_labels(self):
        """The set may not change, and held-out images have no labels. Mutation: either left at its default."""
        needs = SeLa.requires(Settings(), DataCard(5000, 1, 28))
        assert not needs.held_out_loss
