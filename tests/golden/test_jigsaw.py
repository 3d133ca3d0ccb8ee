"""Jigsaw: permutations, tiles, head and loss against slow twins. Each test names a mutation that fails it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from selfstudy.encoder import BackboneSpec
from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.jigsaw import Jigsaw, Settings, in_order, layout, naming_loss, swap_in
from selfstudy.nn.permutations import far_apart, least_distance
from selfstudy.nn.tiles import Fusion, Layout, PixelScale, cut, standardise
from selfstudy.rng import Draws, Rng
from selfstudy.training import resolve
from selfstudy.types import DataCard
from tests.contract.test_methods import built, late_step
from tests.reference import jigsaw as twins


def random_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def draws_of(count: int, purpose: str = "test") -> Draws:
    return Rng.from_seed(0).fork(purpose).per_image(torch.arange(count))


def coordinates(count: int, size: int) -> Tensor:
    """Images whose two channels are the row and the column of every pixel."""
    line = torch.arange(size, dtype=torch.float32)
    return torch.stack([line[:, None].expand(size, size), line.expand(size, size)]).expand(count, 2, size, size)


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> ImageSet:
    pixels = (random_images(12, 3, 32, 32) * 255).byte()
    names = np.array([f"image{i}" for i in range(12)])
    return ImageSet(name="pictures", images=pixels, image_size=32, ids=names, groups=names, paths=names)


class TestPermutations:
    @pytest.mark.parametrize(("num_tiles", "count"), [(3, 6), (4, 10), (5, 12)])
    def test_equal_the_twin(self, num_tiles: int, count: int):
        """Mutation: the mean distance first; the last among equals; distances to the first only."""
        found = far_apart(num_tiles, count)
        assert found.tolist() == [list(order) for order in twins.far_apart(num_tiles, count, found[0].tolist())]
        assert least_distance(found) == twins.least_distance(found.tolist())

    @pytest.mark.parametrize(("count", "least"), [(9, 9), (64, 7), (100, 6)])
    def test_no_two_of_nine_tiles_are_near(self, count: int, least: int):
        """The usual greedy choice by the mean distance leaves pairs at 2. Mutation: choosing by the sum alone."""
        found = far_apart(9, count)
        assert found.shape == (count, 9) and found.dtype == torch.int64
        assert torch.equal(found.sort(1).values, torch.arange(9).expand(count, 9))
        assert least_distance(found) == twins.least_distance(found.tolist()) == least
        mean = np.mean([(a != b).sum() for i, a in enumerate(found.numpy()) for b in found.numpy()[i + 1 :]])
        assert mean >= 8.0

    def test_two_by_two_has_all_24_and_a_pair_one_swap_apart(self):
        """Mutation: drawing with repetition."""
        found = far_apart(4, 24)
        assert len(found.unique(dim=0)) == 24 and least_distance(found) == 2

    def test_the_seed_decides_the_first(self):
        """Mutation: starting at the identity."""
        assert torch.equal(far_apart(9, 5, seed=3), far_apart(9, 5, seed=3))
        assert far_apart(9, 1, seed=3).tolist() != far_apart(9, 1, seed=4).tolist()

    def test_impossible_sets(self):
        """Mutation: no check would repeat the last ones for ever."""
        for num_tiles, count in ((4, 25), (10, 3), (1, 1), (9, 0)):
            with pytest.raises(ValueError, match=f"no {count} permutations of {num_tiles} tiles"):
                far_apart(num_tiles, count)

    def test_distance_of_a_single_row(self):
        """Mutation: a minimum over nothing."""
        assert least_distance(torch.arange(9)[None]) == 9


class TestCut:
    @pytest.mark.parametrize("shape", [Layout(3, 8, 10, 2), Layout(2, 5, 7, 1), Layout(3, 8, 9, 1)])
    def test_tiles_are_squares_of_the_image_that_never_overlap(self, shape: Layout):
        """Mutation: jitter beyond the cell; down and right exchanged; origin beyond the edge."""
        size = shape.extent + 3
        found = cut(coordinates(40, size), shape, draws_of(40))
        assert found.shape == (40, shape.count, 2, shape.tile, shape.tile)
        corner = found[..., 0, 0]  # [N, T, 2]
        line = torch.arange(shape.tile)
        assert torch.equal(found[:, :, 0], (corner[:, :, :1] + line)[..., None].expand_as(found[:, :, 0]))
        assert torch.equal(found[:, :, 1], (corner[:, :, 1:] + line)[:, :, None].expand_as(found[:, :, 1]))
        grid = corner.view(40, shape.grid, shape.grid, 2)
        for axis, gaps in ((0, grid[:, 1:] - grid[:, :-1]), (1, grid[:, :, 1:] - grid[:, :, :-1])):
            assert gaps[..., axis].min() == shape.pitch - shape.jitter >= shape.tile
            assert gaps[..., axis].max() == shape.pitch + shape.jitter
        assert corner.min() == 0 and corner.max() == size - shape.tile  # the whole image is used

    def test_equal_the_twin_when_standardised(self):
        """Mutation: tiles column by column; one mean for all channels; the unbiased deviation."""
        images, shape = random_images(2, 3, 9, 9), Layout(2, 4, 4, 0)
        images[0, 1, :4, :4] = 0.7  # a flat one
        found = standardise(cut(images, shape, draws_of(2)))
        places = cut(coordinates(2, 9), shape, draws_of(2))[..., 0, 0].long()
        for image, tiles_of_image, corners in zip(images.numpy(), found.numpy(), places.tolist(), strict=True):
            for tile, (top, left) in zip(tiles_of_image, corners, strict=True):
                np.testing.assert_allclose(tile, twins.tile(image, top, left, 4), atol=1e-4)

    def test_an_image_is_cut_alike_in_every_batch(self):
        """Mutation: one place for the whole batch; draws by row instead of by image."""
        images, shape = random_images(6, 1, 14, 14), Layout(3, 3, 4, 1)
        whole = cut(images, shape, draws_of(6))
        alone = cut(images[4:5], shape, Draws(draws_of(6).key, torch.tensor([4])))
        assert torch.equal(alone, whole[4:5])
        assert len(cut(coordinates(30, 14), shape, draws_of(30))[:, 0, :, 0, 0].unique(dim=0)) > 8

    def test_channels_are_shifted_within_the_cell(self):
        """Mutation: one shift for all channels; no clamp, so that tiles overlap."""
        line = torch.arange(32.0)[:, None].expand(32, 32)
        found = cut(line.expand(50, 3, 32, 32), Layout(3, 6, 10, 4), draws_of(50), channel_shift=2)[..., 0, 0]
        spread = found.amax(2) - found.amin(2)
        assert spread.max() == 4 and (spread > 0).float().mean() > 0.5
        grid = found.view(50, 3, 3, 3)
        assert (grid[:, 1:].amin((2, 3)) - grid[:, :-1].amax((2, 3))).min() >= 6

    def test_standardised_tiles_forget_brightness_and_contrast(self):
        """Mutation: dividing by the image's deviation. A blank tile gives zeros, not noise: no floor gives NaN."""
        tiles = random_images(2, 4, 3, 8, 8)
        found = standardise(tiles)
        torch.testing.assert_close(found.mean((3, 4)), torch.zeros(2, 4, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.std((3, 4), correction=0), torch.ones(2, 4, 3))
        torch.testing.assert_close(standardise(tiles * 0.3 + 0.2), found, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(standardise(torch.full((1, 8, 8), 0.7)), torch.zeros(1, 8, 8), atol=1e-4, rtol=0)

    def test_the_backbone_sees_tiles_on_the_scale_of_whole_images(self):
        """Mutation: standardised tiles fed as they are would be normalised a second time."""
        spec = BackboneSpec(name="conv4", channels=2, image_size=8, mean=(0.1, 0.4), std=(0.3, 0.2))
        found = standardise(random_images(5, 2, 8, 8))
        mean, std = torch.tensor(spec.mean).view(2, 1, 1), torch.tensor(spec.std).view(2, 1, 1)
        torch.testing.assert_close((PixelScale(spec)(found) - mean) / std, found)


class TestPuzzle:
    @pytest.mark.parametrize(
        ("image_size", "grid", "cell", "tile"),
        [
            (32, 3, 10, 8),
            (96, 3, 32, 25),
            (28, 3, 9, 8),
            (28, 2, 14, 11),
            (27, 3, 9, 8),
            (18, 2, 9, 8),
            (224, 3, 74, 59),
        ],
    )
    def test_sizes(self, image_size: int, grid: int, cell: int, tile: int):
        """32 px as the reference facts have it: cells of 10, tiles of 8. Mutation: no smallest tile."""
        found = layout(image_size, grid)
        assert (found.pitch, found.tile, found.jitter) == (cell, tile, cell - tile)
        assert found.extent <= image_size and found.jitter >= 1

    def test_in_order(self):
        """Place k holds tile orders[k], and the inverse order restores. Mutation: the inverse permutation."""
        features = torch.arange(18.0).view(2, 3, 3)
        orders = torch.tensor([[2, 0, 1], [1, 0, 2]])
        found = in_order(features, orders).view(2, 3, 3)
        for n, order in enumerate(orders.tolist()):
            for place, tile in enumerate(order):
                assert torch.equal(found[n, place], features[n, tile])
        assert torch.equal(in_order(found, orders.argsort(1)).view(2, 3, 3), features)

    def test_swapped_tiles_come_from_the_next_image_and_are_never_too_many(self):
        """Mutation: replacing always `most`; tiles of the image itself; the same places in all images."""
        own = torch.arange(60.0)[:, None].expand(60, 9).clone() * 9 + torch.arange(9)
        found = swap_in(own[:, :, None, None, None], 2, draws_of(60))[:, :, 0, 0, 0]
        changed = found != own
        assert sorted(changed.sum(1).unique().tolist()) == [0, 1, 2]
        next_image = (torch.arange(60) + 1) % 60
        assert torch.equal((found // 9).long()[changed], next_image[:, None].expand(60, 9)[changed])
        assert len((found % 9)[changed].unique()) > 5 and changed.any(0).all()

    def test_label_and_order_agree(self, pictures: ImageSet):
        """The head is shown the tiles in the labelled order. Mutation: labels rolled; the identity for all."""
        made, data, settings = built("jigsaw", pictures)
        assert isinstance(made, Jigsaw)
        shown = {}
        made.fuse.register_forward_pre_hook(lambda module, inputs: shown.update(groups=inputs[0]))
        views, step = made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings)
        assert len(views["label"].unique()) > 2
        h = made.embed(views, step)["h"]
        made.objective({"h": h}, views, step)
        for image, label in enumerate(views["label"].tolist()):
            expected = torch.cat([h[image, tile] for tile in made.orders[label].tolist()])
            assert torch.equal(shown["groups"][image, 0], expected)

    def test_permutations_are_stored_with_the_method(self, pictures: ImageSet):
        """Mutation: a buffer that is not persistent, or a plain attribute."""
        made, _, _ = built("jigsaw", pictures)
        assert made.state_dict()["orders"].shape == (12, 9)

    def test_nothing_learned_is_log_p_and_says_so(self, pictures: ImageSet):
        """Mutation: log of the number of tiles."""
        made, data, settings = built("jigsaw", pictures)
        assert isinstance(made, Jigsaw)
        for parameter in made.fuse.classify.parameters():
            parameter.data.zero_()
        output = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))
        assert float(output.loss.detach()) == pytest.approx(math.log(12), abs=1e-6)
        assert made.loss_of_nothing(8) == pytest.approx(math.log(12))

    @pytest.mark.parametrize(
        "own", [{"method.grid": 2}, {"method.replaced": 2}, {"method.grid": 2, "method.replaced": 1}]
    )
    def test_two_by_two_and_jigsaw_plus_plus_train(self, pictures: ImageSet, own: dict):
        """Mutation: a head of nine tiles for any grid; tiles swapped after they were standardised with another shape."""
        made, data, settings = built("jigsaw", pictures, **own)
        output = made(made.views(data.batch(0, 8), data.rng, data.chains), late_step(made, data, settings))
        output.loss.backward()
        assert torch.isfinite(output.loss) and 0 <= output.metrics["pretext_accuracy"] <= 1


class TestFusion:
    def test_drops_the_stated_share_and_keeps_the_mean(self):
        """Mutation: no division by the share kept; dropping in eval mode; other units at the second call."""
        head = Fusion(6, 400, 3, dropout=0.25)
        head.classify = torch.nn.Identity()  # type: ignore[assignment]
        rows = random_images(16, 2, 6)
        found, again = (head(rows, draws_of(16)) for _ in range(2))
        assert torch.equal(found, again) and not torch.equal(found, head(rows, draws_of(16, "other")))
        before = head.norm(head.hidden(rows.flatten(0, 1))).relu().view(16, 2, 400)
        kept = (found != 0).float().sum() / (before != 0).sum()
        assert float(kept) == pytest.approx(0.75, abs=0.02)
        torch.testing.assert_close(found[found != 0], (before / 0.75)[found != 0])
        head.eval()
        assert torch.equal(head(rows, draws_of(16)), head(rows, draws_of(16, "other")))

    def test_has_batch_norm(self):
        """Without it the hidden layers of Doersch et al. became constant. Mutation: leaving it out keeps the offset."""
        head, rows = Fusion(6, 16, 3, dropout=0.0), random_images(16, 1, 6)
        torch.testing.assert_close(head(rows + 100, draws_of(16)), head(rows, draws_of(16)), atol=1e-3, rtol=1e-3)


class TestNamingLoss:
    def test_equals_the_twin(self):
        """Mutation: the sum instead of the mean."""
        logits, labels = random_images(6, 5) * 8 - 4, torch.tensor([0, 4, 2, 2, 1, 3])
        assert float(naming_loss(logits, labels)) == pytest.approx(twins.naming_loss(logits.numpy(), labels.numpy()))

    def test_gradient_and_offset(self):
        """Exact in float64; a common offset changes nothing. Mutation: scores taken for logarithms; a detached score."""
        logits, labels = random_images(4, 3).double().requires_grad_(), torch.tensor([0, 2, 1, 1])
        assert torch.autograd.gradcheck(lambda scores: naming_loss(scores, labels), logits)
        torch.testing.assert_close(naming_loss(logits + 3, labels), naming_loss(logits, labels))


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"grid": 2}, "num_permutations must be 2 to 24, the orders of 2 x 2 tiles"),
            ({"num_permutations": 1}, "num_permutations must be 2 to 362880"),
            ({"replaced": 9}, "fewer than there are tiles"),
            ({"dropout": 1.0}, "dropout from 0 to below 1"),
            ({"grey": 1.1}, "grey from 0 to 1"),
        ],
    )
    def test_impossible_settings(self, values: dict, sentence: str):
        """Mutation: no check."""
        with pytest.raises(ValueError, match=sentence):
            Settings(**values)

    def test_puzzles_that_have_two_solutions(self, pictures: ImageSet):
        """Two orders of 2 x 2 tiles differ in 2 places, so 2 unknown tiles hide which it is. Mutation: < instead of <=."""
        own = {"method.grid": 2, "method.num_permutations": 24}
        with pytest.raises(UserError, match="some differ in only 2 places"):
            built("jigsaw", pictures, **own, **{"method.replaced": 2})
        assert built("jigsaw", pictures, **own, **{"method.replaced": 1})

    def test_images_too_small(self):
        """Mutation: tiles without room to move."""
        for grid, least in ((3, 27), (2, 18)):
            own = {"method.grid": grid, "method.num_permutations": 24}
            with pytest.raises(UserError, match=f"at least {least} pixels a side"):
                resolve("jigsaw", own, DataCard(num_images=100, channels=1, image_size=least - 1), "test")
            assert resolve("jigsaw", own, DataCard(num_images=100, channels=1, image_size=least), "test")

    def test_colour_is_dropped_from_colour_images_only(self):
        """Mutation: grey steps for grey images; none for colour."""
        shares = {
            channels: [step.p for step in Jigsaw.chains(Settings(), DataCard(100, channels, 32))["base"].steps]
            for channels in (1, 3)
        }
        assert shares == {1: [], 3: [0.3]}


def test_neighbours_in_a_row_are_not_joined():
    """The gap between tiles is random, so no edge continues. Mutation: jitter of 0."""
    shape = layout(32, 3)
    left = cut(coordinates(64, 32), shape, draws_of(64))[:, :3, 1, 0, 0]
    gaps = [set((b - a - shape.tile).tolist()) for a, b in pairwise(left.unbind(1))]
    assert gaps == [{0.0, 1.0, 2.0, 3.0, 4.0}] * 2
