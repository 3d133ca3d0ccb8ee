"""MoCo v3 against closed forms and its slow twin, with its pitfalls. Each test names a mutation that fails it."""

import math

import lightly.loss
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy import config
from selfstudy.encoder import BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.mocov3 import MoCoV3, Settings, batch_contrast
from selfstudy.rng import Rng
from selfstudy.types import DataCard, Step, Views
from tests.reference import mocov3 as twins

STEP = Step(0, 0, True, 0.0, Rng(0), {"momentum": torch.tensor(0.9)})
CARD = DataCard(20, 1, 16)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestLoss:
    q, k = draw(0, 5, 4), draw(1, 5, 4)

    @pytest.mark.parametrize("temperature", [0.2, 1.0])
    def test_closed_forms(self, temperature: float):
        """Mutation: without the factor 2 * temperature, to which the learning rates belong; a sign turned."""
        loss, accuracy = batch_contrast(torch.eye(4), torch.eye(4), temperature)
        expected = 2 * temperature * math.log(1 + 3 * math.exp(-1 / temperature))
        assert float(loss) == pytest.approx(expected, abs=1e-6)
        assert float(accuracy) == 1
        collapsed, chance = batch_contrast(torch.ones(4, 3), torch.ones(4, 3), temperature)
        assert float(collapsed) == pytest.approx(2 * temperature * math.log(4), abs=1e-6)
        assert float(chance) == pytest.approx(0.25)

    @pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
    def test_equals_the_twin_and_lightly(self, temperature: float):
        """lightly's bank of the other keys is a batch of one query. Mutation: the transpose; normalising along the batch."""
        ours = float(batch_contrast(self.q, self.k, temperature)[0])
        assert ours == pytest.approx(twins.batch_contrast(self.q.numpy(), self.k.numpy(), temperature), abs=1e-5)
        theirs = []
        for i in range(5):
            loss = lightly.loss.NTXentLoss(temperature, memory_bank_size=(4, 4))
            loss.memory_bank.bank = F.normalize(torch.cat([self.k[:i], self.k[i + 1 :]]), dim=1)
            theirs.append(float(loss(self.q[i : i + 1], self.k[i : i + 1])))
        assert ours == pytest.approx(2 * temperature * sum(theirs) / 5, abs=1e-5)

    def test_invariances(self):
        """Joint permutation, scale of either side, a rotation. Mutation: no normalisation."""
        order, rotation = torch.tensor([3, 1, 4, 0, 2]), torch.linalg.qr(draw(2, 4, 4)).Q
        value = batch_contrast(self.q, self.k, 0.3)[0]
        for q, k in (
            (self.q[order], self.k[order]), (3 * self.q, self.k), (self.q, self.k / 7), (self.q @ rotation, self.k @ rotation),
        ):  # fmt: skip
            torch.testing.assert_close(batch_contrast(q, k, 0.3)[0], value)

    def test_gradient(self):
        """Exact in float64, orthogonal to the query, none for the key. Mutation: without the detach; a detached query."""
        q, k = self.q.double().requires_grad_(), self.k.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: batch_contrast(rows, k.detach(), 0.5)[0], q)
        batch_contrast(q, k, 0.5)[0].backward()
        assert k.grad is None and q.grad is not None and q.grad.norm(dim=1).min() > 0
        torch.testing.assert_close((q.grad * q).sum(1), torch.zeros(5, dtype=torch.float64))

    def test_half_precision_is_widened(self):
        """Mutation: dropping in_float32 computes in bfloat16."""
        q, k = self.q.bfloat16(), self.k.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = batch_contrast(q, k, 0.1)[0]
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, batch_contrast(q.float(), k.float(), 0.1)[0])


def mocov3(backbone: str = "conv4", **settings: object) -> MoCoV3:
    spec = BackboneSpec(name=backbone, channels=1, image_size=16, mean=(0.5,), std=(0.5,))
    with Rng(0).seeding_torch():
        own = Settings(**({"hidden_dim": 8, "out_dim": 6} | settings))  # type: ignore[arg-type]
        return MoCoV3(lambda **_: build_backbone(spec), CARD, own).train()


def seen(count: int) -> Views:
    images = torch.rand(2, count, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    return Views(torch.arange(count), {"first": images[0], "second": images[1]})


class TestMethod:
    def test_both_directions_are_added(self):
        """A query meets the keys of the other view. Mutation: their mean; keys of the same view; queries without predictor."""
        method, views = mocov3(), seen(4)
        output = method(views, STEP)
        q = method.predict(output.watch["z"]).detach()
        with torch.no_grad():
            k = method.teacher_project(method.teacher_backbone(torch.cat([views["first"], views["second"]])))
        there, back = batch_contrast(q[:4], k[4:], 0.2), batch_contrast(q[4:], k[:4], 0.2)
        torch.testing.assert_close(output.loss, there[0] + back[0])
        torch.testing.assert_close(output.metrics["accuracy"], (there[1] + back[1]) / 2)

    def test_the_heads_of_a_convolutional_network(self):
        """methods.md: two layers each, no biases, BatchNorm without scale last in the projector, none last in the predictor.

        Mutation: a last BatchNorm in the predictor; last biases; a third layer; a last BatchNorm that scales.
        """
        block, method = [nn.Linear, nn.BatchNorm1d, nn.ReLU], mocov3()
        assert [type(layer) for layer in method.project] == [*block, nn.Linear, nn.BatchNorm1d]
        assert [type(layer) for layer in method.predict] == [*block, nn.Linear]
        assert not method.project[-1].affine
        self.has_no_bias(method)

    def test_the_heads_of_a_transformer(self):
        """methods.md: three layers in the projector, and BatchNorm without scale last in both. Mutation: the others' heads."""
        block, method = [nn.Linear, nn.BatchNorm1d, nn.ReLU], mocov3("test_vit")
        assert [type(layer) for layer in method.project] == [*block, *block, nn.Linear, nn.BatchNorm1d]
        assert [type(layer) for layer in method.predict] == [*block, nn.Linear, nn.BatchNorm1d]
        assert not method.project[-1].affine and not method.predict[-1].affine
        self.has_no_bias(method)

    def has_no_bias(self, method: MoCoV3) -> None:
        layers = [layer for layer in [*method.project, *method.predict] if isinstance(layer, nn.Linear)]
        assert all(layer.bias is None for layer in layers)

    def test_a_transformers_patch_projection_is_frozen(self):
        """methods.md's pitfall: without it accuracy dips. Nothing else is, and no optimiser sees it.

        Mutation: no freezing; freezing all the backbone; a convolutional network's first layer too.
        """
        method = mocov3("test_vit")
        before = method.backbone.model.patch_embed.proj.weight.clone()
        frozen = {name for name, parameter in method.backbone.named_parameters() if not parameter.requires_grad}
        assert frozen == {"model.patch_embed.proj.weight", "model.patch_embed.proj.bias"}
        grouped = {id(p) for group in method.param_groups() for p in group.params}
        assert not grouped & {id(p) for p in method.backbone.model.patch_embed.proj.parameters()}
        method(seen(3), STEP).loss.backward()
        method.after_step({}, STEP)
        assert method.backbone.model.patch_embed.proj.weight.grad is None
        assert torch.equal(method.teacher_backbone.model.patch_embed.proj.weight, before)
        assert all(parameter.requires_grad for parameter in mocov3().backbone.parameters())

    def test_weight_decay_as_in_its_code(self):
        """Biases and norms decay in transformers only. Mutation: the default groups for both, or one group for both."""
        (group,) = mocov3("test_vit").param_groups()
        assert group.weight_decay_scale == 1.0 and any(p.ndim == 1 for p in group.params)
        assert [group.weight_decay_scale for group in mocov3().param_groups()] == [1.0, 0.0]

    def test_the_teacher_follows_once_per_step(self):
        """Mutation: momentum and its complement swapped; the projector forgotten; a step in forward."""
        method = mocov3()
        pairs = [(method.teacher_backbone, method.backbone), (method.teacher_project, method.project)]
        with torch.no_grad():
            for parameter in [*method.backbone.parameters(), *method.project.parameters()]:
                parameter.add_(1.0)
        before = [[p.clone() for p in teacher.parameters()] for teacher, _ in pairs]
        method.after_step(method(seen(3), STEP).carry, STEP)
        for (teacher, student), olds in zip(pairs, before, strict=True):
            for new, old, target in zip(teacher.parameters(), olds, student.parameters(), strict=True):
                torch.testing.assert_close(new, 0.9 * old + 0.1 * target)

    def test_momentum_ends_at_one(self):
        """Mutation: a constant, or the ends swapped."""
        momentum = mocov3().schedules()["momentum"]
        assert momentum(0.0) == pytest.approx(0.99) and momentum(0.5) == pytest.approx(0.995) and momentum(1.0) == 1.0

    def test_the_smallest_crop_is_a_setting(self):
        """Mutation: BYOL's crops whatever it says; only one of the views."""
        for smallest in (0.08, 0.2):
            chains = MoCoV3.chains(Settings(smallest_crop=smallest), CARD)
            assert [chain.crop.scale for chain in chains.values()] == [(smallest, 1.0)] * 2
        names = [
            [type(step).__name__ for step in chain.steps]
            for chain in MoCoV3.chains(Settings(blur=False), CARD).values()
        ]
        assert "Blur" not in names[0] + names[1] and "Solarise" in names[1]

    @pytest.mark.parametrize("temperature", [0.2, 1.0])
    def test_loss_of_nothing_is_what_equal_embeddings_give(self, temperature: float):
        """4 * temperature * log N. Mutation: one direction; no factor."""
        method = mocov3(temperature=temperature)
        nn.init.zeros_(method.predict[0].weight)
        nn.init.zeros_(method.predict[3].weight)
        loss = float(method(seen(4), STEP).loss.detach())
        assert method.loss_of_nothing(4) == pytest.approx(loss, abs=1e-5)

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("temperature", 0.0, "temperature is 0.0, but similarities are divided by it"),
            ("momentum", -0.1, "momentum is -0.1, but must lie between 0"),
            ("smallest_crop", 0.0, "smallest_crop is 0.0, but is a share"),
        ],
    )
    def test_impossible_settings_are_one_sentence(self, name: str, value: float, sentence: str):
        """Mutation: without the check an error deep inside."""
        with pytest.raises(UserError, match=sentence):
            config.validate(Settings, {name: value}, "test")

    def test_a_single_image_is_refused(self):
        """Its loss would always be 0. Mutation: the default smallest batch of 1."""
        assert float(batch_contrast(draw(0, 1, 3), draw(1, 1, 3), 0.2)[0]) == 0
        assert MoCoV3.requires(Settings(), CARD).smallest_batch == 2
