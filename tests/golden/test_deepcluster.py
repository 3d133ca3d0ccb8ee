"""DeepCluster v2: k-means and loss against closed forms and twins; memory, labels and centroids kept by index."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.deepcluster import DeepCluster, Settings, cluster_prediction
from selfstudy.nn.kmeans import nearest, spherical_kmeans
from selfstudy.rng import Rng
from selfstudy.training import Data, resolve
from selfstudy.types import DataCard, Step, Views
from tests.reference import deepcluster as twins

RNG = Rng.from_seed(0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(random(*shape, seed=seed), dim=-1)


def made(num_images: int = 40, **settings: object) -> DeepCluster:
    def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
        return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=16, mean=(0.5,), std=(0.2,)))

    defaults = {"num_prototypes": 5, "num_heads": 3, "hidden_dim": 16, "out_dim": 4, "num_local": 0}
    with RNG.seeding_torch():
        return DeepCluster(make_backbone, DataCard(num_images, 1, 16), Settings(**{**defaults, **settings})).train()


def step(number: int = 0, starts_epoch: bool = False) -> Step:
    return Step(number, 0, starts_epoch, 0.0, Rng.from_seed(number))


def no_scan(apply: object) -> Tensor:
    raise AssertionError("only the first clustering looks at the images")


def carry(index: Tensor, seed: int = 0) -> dict[str, Tensor]:
    return {f"large{n}": directions(len(index), 4, seed=2 * seed + n).float() for n in range(2)} | {"index": index}


def pictures(count: int) -> ImageSet:
    """Stored larger than the 16 pixels that are seen."""
    pixels = torch.randint(0, 256, (count, 1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = np.array([f"image{i}" for i in range(count)])
    return ImageSet(name="pictures", images=pixels, image_size=16, ids=names, groups=names, paths=names)


class TestKmeans:
    @pytest.mark.parametrize("iterations", [1, 2, 10])
    def test_equals_the_twin(self, iterations: int):
        """Mutation: labels of the centroids before their last move; means that are not brought to length 1."""
        points = directions(30, 3)
        centroids, labels = spherical_kmeans(points, 4, iterations, RNG)
        expected, own = twins.spherical_kmeans(points.numpy(), RNG.permutation(30)[:4].tolist(), iterations)
        np.testing.assert_allclose(centroids.numpy(), expected)
        assert labels.tolist() == own
        torch.testing.assert_close(centroids.norm(dim=1), torch.ones(4, dtype=torch.float64))

    def test_more_points_than_are_compared_at_once(self):
        """Mutation: sums of the last part only."""
        points = directions(9000, 2)
        centroids, labels = spherical_kmeans(points, 3, 2, RNG)
        expected, own = twins.spherical_kmeans(points.numpy(), RNG.permutation(9000)[:3].tolist(), 2)
        np.testing.assert_allclose(centroids.numpy(), expected)
        assert labels.tolist() == own

    def test_an_empty_cluster_keeps_its_centroid(self):
        """Of centroids at the same place one gets all points. Mutation: the direction of a sum of nothing, which is 0."""
        points = torch.tensor([[0.6, 0.8]]).expand(4, -1)
        centroids, labels = spherical_kmeans(points, 3, 5, RNG)
        torch.testing.assert_close(centroids, points[:3])
        assert len(labels.unique()) == 1

    def test_finds_clusters_and_follows_its_stream(self):
        """Mutation: a start that does not depend on the stream; the farthest centroid instead of the nearest."""
        middles = torch.eye(4, dtype=torch.float64)
        points = F.normalize(middles.repeat_interleave(10, 0) + 0.1 * random(40, 4), dim=1)
        _, labels = spherical_kmeans(points, 4, 10, next(r for r in map(Rng.from_seed, range(99)) if spread(r)))
        assert all(len(group.unique()) == 1 for group in labels.view(4, 10)) and len(labels.unique()) == 4
        first, again, other = (spherical_kmeans(directions(30, 3), 4, 1, Rng.from_seed(s))[0] for s in (0, 0, 1))
        assert torch.equal(first, again) and not torch.equal(first, other)


def spread(rng: Rng) -> bool:
    """Whether k-means on four groups of ten begins with a point of each."""
    return len((rng.permutation(40)[:4] // 10).unique()) == 4


class TestLoss:
    def test_nothing_learned_is_log_k(self):
        """Embeddings that are equally near to all centroids. Mutation: the sum over heads or views."""
        prototypes = torch.eye(4)[None, :3].expand(2, -1, -1)
        z = torch.tensor([0.0, 0.0, 0.0, 2.0]).expand(3, 5, 4)
        value = cluster_prediction(z, prototypes, torch.zeros(2, 5, dtype=torch.int64), 0.1)
        assert float(value) == pytest.approx(math.log(3), abs=1e-6)
        assert made().loss_of_nothing(8) == pytest.approx(math.log(5))

    def test_equals_the_twin(self):
        """Two of the images have no label. Mutation: dividing by all images; labels of another head; no normalisation."""
        z, prototypes = random(3, 5, 4), directions(2, 6, 4, seed=1)
        labels = torch.tensor([[0, -100, 5, 2, -100], [3, -100, 1, 0, -100]])
        expected = twins.cluster_prediction(z.numpy(), prototypes.numpy(), labels.numpy(), 0.2)
        assert float(cluster_prediction(z, prototypes, labels, 0.2)) == pytest.approx(expected, abs=1e-9)

    def test_images_without_a_label_do_not_count(self):
        """Mutation: NaN where no image of a batch has one."""
        z = random(2, 3, 4).requires_grad_()
        prototypes, labels = directions(2, 5, 4, seed=1), torch.tensor([[1, -100, 2], [0, -100, 4]])
        (gradient,) = torch.autograd.grad(cluster_prediction(z, prototypes, labels, 0.2), z)
        assert not gradient[:, 1].any() and gradient[:, 0].abs().min() > 0
        nothing = cluster_prediction(z, prototypes, torch.full((2, 3), -100), 0.2)
        nothing.backward()
        assert float(nothing.detach()) == 0 and torch.isfinite(z.grad).all()

    def test_gradient_and_precision(self):
        """Exact in float64; 16-bit embeddings are widened. Mutation: a detach; in_float32 dropped."""
        prototypes, labels = directions(2, 5, 4, seed=1), torch.tensor([[1, 0, 2], [0, 3, 4]])
        z = random(2, 3, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: cluster_prediction(rows, prototypes, labels, 0.5), z)
        rounded = z.detach().bfloat16(), prototypes.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = cluster_prediction(*rounded, labels, 0.5)
        assert torch.equal(value, cluster_prediction(*(tensor.float() for tensor in rounded), labels, 0.5))

    def test_invariances(self):
        """Order of views, of images, of heads; length and common rotation. Mutation: labels that do not go with the images."""
        z, prototypes, labels = random(2, 3, 4), directions(2, 5, 4, seed=1), torch.tensor([[1, 0, 2], [0, 3, 4]])
        value, order = cluster_prediction(z, prototypes, labels, 0.2), torch.tensor([2, 0, 1])
        rotation = torch.linalg.qr(random(4, 4, seed=2)).Q
        for changed in (
            (z.flip(0), prototypes, labels), (z[:, order], prototypes, labels[:, order]), (7 * z, prototypes, labels),
            (z, prototypes.flip(0), labels.flip(0)), (z @ rotation, prototypes @ rotation, labels),
        ):  # fmt: skip
            torch.testing.assert_close(cluster_prediction(*changed, 0.2), value)


class TestMemory:
    def test_is_kept_by_index(self):
        """Whatever the order in which the loader brings images; so are labels.

        Mutation: memory or labels by position in the batch; one bank for both views.
        """
        method = made()
        index = torch.tensor([7, 0, 39])
        views = Views(index, {f"global{n}": torch.rand(3, 1, 16, 16) for n in range(2)})
        output = method(views, step(1))
        method.after_step(output.carry, step(1))
        first, second = F.normalize(output.watch["z"].detach(), dim=1).chunk(2)
        torch.testing.assert_close(method.memory[0, index], first)
        torch.testing.assert_close(method.memory[1, index], second)
        expected = cluster_prediction(torch.stack([first, second]), method.prototypes, method.labels[:, index], 0.1)
        torch.testing.assert_close(output.loss.detach(), expected)
        assert method.seen.nonzero()[:, 0].tolist() == [0, 7, 39]
        assert {"memory", "seen", "prototypes", "labels"} <= method.state_dict().keys()  # they survive a checkpoint

    @pytest.mark.parametrize("batch_size", [7, 39, 40])
    def test_begins_with_every_image(self, batch_size: int):
        """A last batch of a single image too, and how images are batched changes nothing.

        Mutation: train mode of the backbone while scanning; images not brought to the size that is seen.
        """
        method, data = made(), Data(pictures(40), {}, RNG)
        statistics = {name: value.clone() for name, value in method.backbone.state_dict().items()}
        method.refresh(data.scan(batch_size, torch.device("cpu")), step(0, True))
        assert all(torch.equal(method.backbone.state_dict()[name], value) for name, value in statistics.items())
        assert all(module.training for module in method.modules()) and (method.labels >= 0).all()
        backbone, feed = method.encoder()
        with torch.no_grad():
            z = F.normalize(method.project(backbone.eval()(feed(data.images.images))), dim=1)
        torch.testing.assert_close(method.memory, z.expand(2, -1, -1), atol=1e-5, rtol=1e-4)


class TestClusters:
    def test_are_those_of_last_epochs_embeddings(self):
        """Heads take the banks in turn, centroids overwrite the prototypes, labels are the nearest of them.

        Mutation: one bank for all heads; centroids averaged into the old prototypes; every head from the same stream.
        """
        method, index = made(), torch.randperm(40, generator=torch.Generator().manual_seed(0))
        method.after_step(carry(index), step(4))
        method.refresh(no_scan, step(5, True))
        for head, bank in enumerate((0, 1, 0)):
            points = method.memory[bank]
            expected, labels = spherical_kmeans(points, 5, 10, step(5).rng.fork("clusters", head))
            assert torch.equal(method.prototypes[head], expected) and torch.equal(method.labels[head], labels)
            assert torch.equal(labels, nearest(points, expected))
        assert not torch.equal(method.prototypes[0], method.prototypes[2])
        assert not method.seen.any()
        largest = max(int(labels.bincount().max()) for labels in method.labels)
        assert float(method.largest_cluster) == pytest.approx(largest / 8)

    def test_images_that_an_epoch_left_out_get_no_label(self):
        """Mutation: their label of the epoch before; the label of the image at that place of the memory."""
        method, index = made(), torch.arange(0, 40, 2)
        method.after_step(carry(torch.arange(40)), step(3))
        method.refresh(no_scan, step(4, True))
        method.after_step(carry(index, seed=1), step(7))
        method.refresh(no_scan, step(8, True))
        assert (method.labels[:, 1::2] == -100).all() and (method.labels[:, ::2] >= 0).all()
        assert torch.equal(method.labels[0, index], nearest(method.memory[0, index], method.prototypes[0]))

    def test_old_embeddings_join_when_too_few_were_seen(self):
        """Mutation: k-means with more centroids than points."""
        method = made()
        method.after_step(carry(torch.arange(40)), step(3))
        method.refresh(no_scan, step(4, True))
        method.after_step(carry(torch.arange(4), seed=1), step(7))
        method.refresh(no_scan, step(8, True))
        assert (method.labels >= 0).all()

    def test_no_gradient_moves_them(self):
        """Mutation: prototypes as a parameter, or moved after a step."""
        method = made()
        assert "prototypes" not in dict(method.named_parameters())
        before = method.prototypes.clone()
        method.after_step(carry(torch.arange(8)), step(3))
        assert torch.equal(method.prototypes, before)

    def test_are_made_as_each_epoch_starts(self):
        """Mutation: before the first epoch only."""
        assert [made().refresh_due(step(n, n % 5 == 0)) for n in range(11)] == [n % 5 == 0 for n in range(11)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"num_prototypes": 1}, "num_prototypes is 1, but must be at least 2"),
            ({"num_heads": 0}, "num_heads and kmeans_iterations must be at least 1, and num_local 0 or more"),
            ({"num_local": -1}, "num_heads and kmeans_iterations must be at least 1, and num_local 0 or more"),
            ({"temperature": 0.0}, "temperature must be above 0"),
            (
                {"num_prototypes": 101},
                "deepcluster needs at least 101 images, as method.num_prototypes is 101, but there are 100",
            ),
        ],
    )
    def test_impossible_settings_are_a_sentence(self, settings: dict[str, float], sentence: str):
        """Mutation: any of the checks left out."""
        with pytest.raises(UserError, match=sentence):
            own = {f"method.{key}": value for key, value in settings.items()}
            resolve("deepcluster", own, DataCard(100, 1, 28), "test")

    def test_says_what_it_needs(self):
        """Held-out images have no labels; BatchNorm needs two rows. Mutation: either left at its default."""
        needs = DeepCluster.requires(Settings(), DataCard(5000, 1, 28))
        assert not needs.held_out_loss and needs.smallest_batch == 2


def test_small_crops_are_smaller_and_see_less():
    """96 of 224 pixels, but never fewer than 8. Mutation: the large crop's size or share for both."""
    chains = DeepCluster.chains(Settings(), DataCard(5000, 3, 32))
    assert chains["global"].size == 32 and chains["local"].size == 14
    assert chains["local"].crop.scale == (0.05, 0.14) and chains["global"].crop.scale == (0.14, 1.0)
    assert set(DeepCluster.chains(Settings(num_local=0), DataCard(5000, 3, 32))) == {"global"}
