"""MoCo, its queue and its split BatchNorm: closed forms, twins, lightly, and every pitfall. Each test names a mutation."""

import itertools
import math

import lightly.loss
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from selfstudy import config
from selfstudy.encoder import BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.moco import MoCo, Settings, queue_contrast
from selfstudy.nn.queue import NO_IMAGE, Queue
from selfstudy.nn.split_norm import in_groups, in_shuffled_groups
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.types import DataCard, Step, Views
from tests.reference import moco as twins

CONV4 = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.5,), std=(0.5,))
STEP = Step(0, 0, True, 0.0, Rng(0))


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def units(seed: int, *shape: int) -> Tensor:
    return F.normalize(draw(seed, *shape), dim=1)


class TestLoss:
    """Four queries of width 5, seven keys in the queue."""

    q, k, queue, none = draw(0, 4, 5), draw(1, 4, 5), units(2, 7, 5), torch.zeros(4, 7, dtype=torch.bool)

    def loss(self, q: Tensor | None = None, k: Tensor | None = None, queue: Tensor | None = None) -> Tensor:
        q, k, queue = (a if b is None else b for a, b in ((self.q, q), (self.k, k), (self.queue, queue)))
        return queue_contrast(q, k, queue, self.none, 0.3)[0]

    @pytest.mark.parametrize("temperature", [0.07, 0.5])
    def test_closed_forms(self, temperature: float):
        """Mutation: a sign turned; the temperature only on the negatives; the sum instead of the mean."""
        q, queue = torch.eye(9)[:2], torch.eye(9)[2:]
        none = torch.zeros(2, 7, dtype=torch.bool)
        expected = math.log(1 + 7 * math.exp(-1 / temperature))
        assert float(queue_contrast(q, q, queue, none, temperature)[0]) == pytest.approx(expected, abs=1e-6)
        collapsed = queue_contrast(torch.ones(2, 4), torch.ones(2, 4), torch.full((7, 4), 0.5), none, temperature)
        assert float(collapsed[0]) == pytest.approx(math.log(8), abs=1e-6)
        assert float(collapsed[1]) == 0  # equal similarities name nothing

    @pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
    def test_equals_the_twin_and_lightly(self, temperature: float):
        """Mutation: normalising along the batch; the label of the last column."""
        ours = float(queue_contrast(self.q, self.k, self.queue, self.none, temperature)[0])
        arrays = (value.numpy() for value in (self.q, self.k, self.queue, self.none))
        assert ours == pytest.approx(twins.queue_contrast(*arrays, temperature), abs=1e-5)
        theirs = lightly.loss.NTXentLoss(temperature, memory_bank_size=(7, 5))
        theirs.memory_bank.bank = self.queue.clone()
        assert ours == pytest.approx(float(theirs(self.q, self.k)), abs=1e-5)

    def test_own_keys_are_no_negatives(self):
        """The loss is that of the queue without them. Mutation: no mask; a mask that writes 0 instead of -infinity."""
        own = torch.zeros(4, 7, dtype=torch.bool)
        own[0, 2] = own[1, 2] = own[1, 6] = True
        loss = queue_contrast(self.q, self.k, self.queue, own, 0.3)[0]
        arrays = [value.numpy() for value in (self.q, self.k, self.queue, own)]
        assert float(loss) == pytest.approx(twins.queue_contrast(*arrays, 0.3), abs=1e-5)
        assert float(loss) != pytest.approx(float(self.loss()), abs=1e-3)

    def test_a_queue_of_own_keys_only_gives_zero(self):
        """Mutation: a mean over the negatives left, of which there are none, is not a number."""
        q = self.q.clone().requires_grad_()
        loss, accuracy = queue_contrast(q, self.k, self.queue, ~self.none, 0.3)
        loss.backward()
        assert float(loss.detach()) == 0 and float(accuracy) == 1
        assert q.grad is not None and torch.isfinite(q.grad).all()

    def test_accuracy_counts_named_keys(self):
        """Mutation: the share of those not named; a comparison with the mean of the negatives."""
        queue = torch.cat([self.queue[:6], F.normalize(self.q[:1], dim=1)])  # a stranger just like the first query
        k = torch.cat([self.q[:3] + 0.1 * self.k[:3], -self.q[3:]])  # three keys like their queries, one opposite
        assert float(queue_contrast(self.q, k, queue, self.none, 0.3)[1]) == pytest.approx(0.5)

    def test_invariances(self):
        """Joint permutation, scale of queries and keys, order of the queue, a rotation. Mutation: q or k not normalised."""
        order = torch.tensor([2, 0, 3, 1])
        rotation = torch.linalg.qr(draw(3, 5, 5)).Q
        for value in (
            self.loss(self.q[order], self.k[order]), self.loss(3 * self.q), self.loss(k=self.k / 7),
            self.loss(queue=self.queue.flip(0)), self.loss(self.q @ rotation, self.k @ rotation, self.queue @ rotation),
        ):  # fmt: skip
            torch.testing.assert_close(value, self.loss())

    def test_only_the_query_gets_a_gradient(self):
        """Exact in float64, orthogonal to the query. Mutation: without the detach of the key or the queue."""
        q, k, queue = (value.double().requires_grad_() for value in (self.q, self.k, self.queue))
        assert torch.autograd.gradcheck(lambda rows: self.loss(rows, k.detach(), queue.detach()), q)
        self.loss(q, k, queue).backward()
        assert k.grad is None and queue.grad is None and q.grad is not None
        torch.testing.assert_close((q.grad * q).sum(1), torch.zeros(4, dtype=torch.float64))

    def test_half_precision_is_widened(self):
        """Mutation: dropping in_float32 computes in bfloat16."""
        q, k = self.q.bfloat16(), self.k.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = self.loss(q, k)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, self.loss(q.float(), k.float()))


class TestQueue:
    @given(size=st.integers(1, 9), batches=st.lists(st.integers(1, 23), max_size=8))
    def test_holds_the_last_rows_in_order(self, size: int, batches: list[int]):
        """Any batch, also one that does not divide the size or exceeds it.

        Mutation: cutting a batch at the end as lightly does; keeping the first rows of too large a batch; the pointer not
        taken modulo the size.
        """
        queue, twin, number = Queue(size, 2), twins.Queue([NO_IMAGE] * size), itertools.count()
        for batch in batches:
            index = torch.tensor([next(number) for _ in range(batch)])
            queue.push(index[:, None].expand(-1, 2).float(), index)
            twin.push(index.tolist())
        in_order = (int(queue.oldest) + torch.arange(size)) % size
        assert queue.index[in_order].tolist() == twin.rows and int(queue.oldest) < size
        pushed = queue.index >= 0
        assert torch.equal(queue.rows[pushed, 1], queue.index[pushed].float())

    def test_begins_with_random_unit_rows_of_no_image(self):
        """Mutation: zeros, or rows that are not normalised."""
        queue = Queue(50, 8)
        torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(50))
        assert queue.rows.std(0).min() > 0.2
        assert not queue.holds(torch.arange(50)).any()

    def test_travels_in_the_state(self):
        """Pointer, rows and indices, at the precision they were made in. Mutation: persistent=False."""
        queue, resumed = Queue(5, 3), Queue(5, 3)
        queue.push(units(0, 3, 3).bfloat16(), torch.arange(3))
        resumed.load_state_dict(queue.state_dict())
        assert {name: value.dtype for name, value in queue.state_dict().items()} == {
            "rows": torch.float32, "index": torch.int64, "oldest": torch.int64,
        }  # fmt: skip
        for each in (queue, resumed):
            each.push(units(1, 4, 3), torch.arange(3, 7))
        assert torch.equal(resumed.rows, queue.rows) and resumed.index.tolist() == [5, 6, 2, 3, 4]

    def test_a_push_spares_the_losses_before_it(self):
        """Mutation: writing into the buffers makes autograd refuse the backward pass."""
        queue, q = Queue(6, 4), draw(0, 3, 4).requires_grad_()
        own = queue.holds(torch.arange(3))
        expected = torch.autograd.grad(queue_contrast(q, units(1, 3, 4), queue.rows, own, 0.2)[0], q)[0]
        loss = queue_contrast(q, units(1, 3, 4), queue.rows, own, 0.2)[0]
        queue.push(units(2, 4, 4), torch.arange(4))
        assert torch.equal(torch.autograd.grad(loss, q)[0], expected)


class Mean(nn.Module):
    """The mean of the rows that were seen together, beside each row: it shows how a batch was split."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)  # only so that there is one

    def forward(self, rows: Tensor) -> Tensor:
        self.norm(rows)
        return torch.cat([rows, rows.mean(0).expand_as(rows)], 1)


def companions(seen: Tensor) -> list[set[int]]:
    """For every row the rows that were seen with it: the same mean of distinct powers of two."""
    return [set((seen[:, 1] == mean).nonzero()[:, 0].tolist()) for mean in seen[:, 1]]


class TestSplitNorm:
    rows = 2.0 ** torch.arange(12)[:, None]
    draws = Rng(3).per_image(torch.arange(12))

    def test_keys_and_queries_have_other_companions(self):
        """Mutation: no shuffling, so that an image's key and query share their statistics; no groups."""
        queries = companions(in_groups(Mean(), self.rows, 3))
        assert queries == [set(range(start, start + 4)) for start in (0, 4, 8) for _ in range(4)]
        keys = companions(in_shuffled_groups(Mean(), self.rows, 3, self.draws))
        assert sorted(map(len, keys)) == [4] * 12
        assert set(map(frozenset, keys)) != set(map(frozenset, queries))

    def test_rows_come_back_in_their_order(self):
        """Mutation: the groups' outputs in their shuffled order, or put back by the order itself."""
        assert torch.equal(in_shuffled_groups(Mean(), self.rows, 3, self.draws)[:, :1], self.rows)

    def test_the_same_images_are_shuffled_alike(self):
        """So that the second pass of cached gradients sees the first's. Mutation: torch's own generator."""
        seen = [in_shuffled_groups(Mean(), self.rows, 3, self.draws) for _ in range(2)]
        assert torch.equal(*seen)
        other = in_shuffled_groups(Mean(), self.rows, 3, Rng(4).per_image(torch.arange(12)))
        assert not torch.equal(seen[0], other)

    @pytest.mark.parametrize("count", range(2, 13))
    def test_no_group_is_too_small_and_none_much_larger(self, count: int):
        """Mutation: one group per row, for which BatchNorm fails; a last group of what is left over."""
        for groups in (1, 2, 5, 8):
            sizes = [len(others) for others in companions(in_groups(Mean(), self.rows[:count], groups))]
            assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
            assert sum(1 / size for size in sizes) == pytest.approx(max(1, min(groups, count // 2)))

    def test_without_batch_norm_there_is_one_pass(self):
        """Mutation: splitting a vision transformer's batch for nothing."""
        assert companions(in_groups(nn.Sequential(_MeanOnly()), self.rows, 3))[0] == set(range(12))

    def test_in_eval_mode_it_changes_nothing(self):
        """Mutation: rows in another order."""
        network = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3)).eval()
        torch.testing.assert_close(in_shuffled_groups(network, self.rows, 3, self.draws), network(self.rows))


class _MeanOnly(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.mean(0).expand_as(rows)], 1)


def moco(**settings: object) -> MoCo:
    with Rng(0).seeding_torch():
        own = {"hidden_dim": 8, "out_dim": 6, "queue_size": 6, "norm_groups": 2} | settings
        return MoCo(lambda **_: build_backbone(CONV4), DataCard(20, 1, 8), Settings(**own)).train()  # type: ignore[arg-type]


def seen(*index: int) -> Views:
    images = torch.rand(2, 20, 1, 8, 8, generator=torch.Generator().manual_seed(5))[:, list(index)]
    return Views(torch.tensor(index), {"first": images[0], "second": images[1]})


class TestMethod:
    def test_keys_join_the_queue_after_the_step(self):
        """Mutation: pushing before the loss makes every key its own negative."""
        method = moco()
        before = method.queue.rows.clone()
        output = method(seen(0, 1, 2, 3), STEP)
        assert torch.equal(method.queue.rows, before)
        q, keys = output.watch["z"], output.carry["keys"]
        nobody = torch.zeros(4, 6, dtype=torch.bool)
        torch.testing.assert_close(output.loss, queue_contrast(q, keys, before, nobody, 0.2)[0])
        torch.testing.assert_close(keys.norm(dim=1), torch.ones(4))
        method.after_step(output.carry, STEP)
        assert torch.equal(method.queue.rows[:4], keys) and torch.equal(method.queue.rows[4:], before[4:])
        assert method.queue.index.tolist() == [0, 1, 2, 3, NO_IMAGE, NO_IMAGE]

    def test_an_image_seen_again_is_not_its_own_negative(self):
        """Next epoch the queue still holds its key. Mutation: no mask, or one by position in the batch."""
        method = moco()
        method.after_step(method(seen(0, 1, 2, 3), STEP).carry, STEP)
        output = method(seen(3, 7, 0, 9), STEP)
        own = torch.zeros(4, 6, dtype=torch.bool)
        own[0, 3] = own[2, 0] = True
        queue = method.queue.rows
        arrays = (value.detach().numpy() for value in (output.watch["z"], output.carry["keys"], queue, own))
        assert float(output.loss.detach()) == pytest.approx(twins.queue_contrast(*arrays, 0.2), abs=1e-5)

    def test_symmetric_is_the_sum_of_both_directions(self):
        """Both keys are pushed, the image's other one is no negative. Mutation: their mean; one view's keys only."""
        method = moco(symmetric=True, queue_size=12)
        output = method(seen(0, 1, 2, 3), STEP)
        q, keys = output.watch["z"], output.carry["keys"]
        nobody = torch.zeros(4, 12, dtype=torch.bool)
        directions = [
            queue_contrast(q[rows], keys[rows], method.queue.rows, nobody, 0.2)[0] for rows in (slice(4), slice(4, 8))
        ]
        torch.testing.assert_close(output.loss, directions[0] + directions[1])
        assert output.watched_views == 2 and output.watch["h"].shape == (8, 128)
        method.after_step(output.carry, STEP)
        assert method.queue.index.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, *[NO_IMAGE] * 4]
        assert method.queue.holds(torch.tensor([2])).sum() == 2

    def test_queries_are_matched_with_keys_of_the_other_view(self):
        """Mutation: query and key of the same view."""
        method = moco(symmetric=True).eval()
        views = seen(0, 1, 2, 3)
        with torch.no_grad():
            embedded = method.embed(views, STEP)
            output = method(views, STEP)
            first, second = (method.backbone(views[name]) for name in ("first", "second"))
            torch.testing.assert_close(embedded["first"], first)
            torch.testing.assert_close(embedded["key_second"], second)  # equal weights before the first step
            torch.testing.assert_close(output.watch["h"], torch.cat([first, second]))
            expected = F.normalize(method.project(torch.cat([second, first])), dim=1)
            torch.testing.assert_close(output.carry["keys"], expected)

    def test_the_key_encoder_moves_by_one_share_per_step(self):
        """Mutation: momentum and its complement swapped; two moves; the projector forgotten."""
        method = moco(momentum=0.9)
        pairs = [(method.key_backbone, method.backbone), (method.key_project, method.project)]
        with torch.no_grad():
            for parameter in [*method.backbone.parameters(), *method.project.parameters()]:
                parameter.add_(1.0)
        before = [[p.clone() for p in key.parameters()] for key, _ in pairs]
        method.after_step(method(seen(0, 1), STEP).carry, STEP)
        for (key, query), olds in zip(pairs, before, strict=True):
            for new, old, target in zip(key.parameters(), olds, query.parameters(), strict=True):
                torch.testing.assert_close(new, 0.9 * old + 0.1 * target)

    def test_keys_see_shuffled_groups_and_queries_see_runs(self):
        """Another picture in the batch changes the embeddings of its companions alone.

        Mutation: BatchNorm over the whole batch; keys in the queries' groups.
        """
        method, views = moco(), seen(*range(8))
        changed = {name: view.clone() for name, view in views.tensors.items()}
        for view in changed.values():
            view[0] = 1 - view[0]
        with torch.no_grad():
            before, after = method.embed(views, STEP), method.embed(Views(views.index, changed), STEP)
        touched = {name: {int(i) for i in (after[name] != before[name]).any(1).nonzero()} for name in before}
        assert touched["first"] == {0, 1, 2, 3}
        assert len(touched["key_second"]) == 4 and 0 in touched["key_second"]
        assert touched["key_second"] != touched["first"]

    def test_the_head_has_biases_and_no_batch_norm(self):
        """methods.md's pitfall: MoCo v2's projector has none. Mutation: heads.mlp's default."""
        kinds = [type(layer) for layer in moco().project]
        assert kinds == [nn.Linear, nn.ReLU, nn.Linear]
        assert all(layer.bias is not None for layer in moco().project if isinstance(layer, nn.Linear))

    def test_biases_and_norms_decay(self):
        """As in FAIR's code. Mutation: the default groups."""
        (group,) = moco().param_groups()
        assert group.weight_decay_scale == 1.0 and any(p.ndim == 1 for p in group.params)

    @pytest.mark.parametrize("symmetric", [False, True])
    def test_loss_of_nothing_is_what_equal_embeddings_give(self, symmetric: bool):
        """Mutation: log K; one direction for both."""
        method = moco(symmetric=symmetric)
        for project in (method.project, method.key_project):
            nn.init.zeros_(project[2].weight)
            nn.init.ones_(project[2].bias)
        method.queue.rows = torch.full((6, 6), 6**-0.5)
        loss = float(method(seen(0, 1, 2), STEP).loss.detach())
        assert method.loss_of_nothing(3) == pytest.approx(loss, abs=1e-5)
        assert loss == pytest.approx((2 if symmetric else 1) * math.log(7), abs=1e-5)


class TestRefusals:
    def test_a_queue_larger_than_the_set(self):
        """Mutation: without least_images the queue is full of the query's own keys."""
        card = DataCard(40, 1, 8)
        overrides = {"backbone": "conv4", "batch_size": 8, "epochs": 1}
        with pytest.raises(
            UserError, match=r"moco needs at least 41 images, as method.queue_size is 41, but there are 40"
        ):
            resolve("moco", overrides | {"method.queue_size": 41}, card, "test")
        assert resolve("moco", overrides | {"method.queue_size": 40}, card, "test").config["queue_size"] == 40

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("temperature", 0.0, "temperature is 0.0, but similarities are divided by it"),
            ("momentum", 1.5, "momentum is 1.5, but must lie between 0"),
            ("queue_size", 0, "queue_size 0 and norm_groups 8 must both be at least 1"),
            ("norm_groups", 0, "queue_size 65536 and norm_groups 0 must both be at least 1"),
        ],
    )
    def test_impossible_settings_are_one_sentence(self, name: str, value: float, sentence: str):
        """Mutation: without the check an index error deep inside."""
        with pytest.raises(UserError, match=sentence):
            config.validate(Settings, {name: value}, "test")
