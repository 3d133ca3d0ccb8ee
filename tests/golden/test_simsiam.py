"""SimSiam against closed forms, a slow twin and lightly; its stop-gradient and its predictor's rate. Each test names a mutation."""

import math

import lightly.loss
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.images import ImageSet
from selfstudy.methods.simsiam import Settings, SimSiam, negative_cosine
from selfstudy.nn.schedules import warmup_cosine
from selfstudy.rng import Rng
from selfstudy.training.health import Watch, effective_rank, spread
from selfstudy.training.optimizer import build, set_rates
from selfstudy.training.settings import Training
from selfstudy.types import DataCard, Embedded, Output, Step, Views
from tests.reference.simsiam import simsiam as twin

NARROW = Settings(hidden_dim=32, out_dim=16, bottleneck_dim=8, projector_layers=2, blur=False)


def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
    return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,)))


def made(kind: type[SimSiam] = SimSiam, config: Settings = NARROW) -> SimSiam:
    torch.manual_seed(0)
    return kind(make_backbone, DataCard(num_images=64, channels=1, image_size=8), config).train()


def step(number: int = 0) -> Step:
    return Step(number=number, epoch=1, starts_epoch=False, progress=0.0, rng=Rng.from_seed(number))


def some_views(rows: int = 6) -> Views:
    generator = torch.Generator().manual_seed(0)
    pair = {name: torch.rand(rows, 1, 8, 8, generator=generator) for name in ("first", "second")}
    return Views(torch.arange(rows), pair)


@pytest.fixture
def four() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 5, generator=generator) for _ in range(4)]


class TestLoss:
    @pytest.mark.parametrize(("cosine", "expected"), [(1.0, -1.0), (0.0, 0.0), (-1.0, 1.0)])
    def test_closed_forms(self, cosine: float, expected: float):
        """Mutation: the sign of the cosine; BYOL's 2 - 2 cos."""
        p, z = torch.tensor([[3.0, 0.0]]), torch.tensor([[cosine, math.sqrt(1 - cosine**2)]])
        assert float(negative_cosine(p, z)) == pytest.approx(expected, abs=1e-6)

    def test_equals_the_twin_and_lightly(self, four: list[Tensor]):
        """Mutation: a sum over rows; normalising along the batch."""
        p1, p2, z1, z2 = four
        ours = float(negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2
        theirs = lightly.loss.NegativeCosineSimilarity()
        assert ours == pytest.approx(twin(*(t.numpy() for t in four)), abs=1e-6)
        assert ours == pytest.approx(float(theirs(p1, z2) + theirs(p2, z1)) / 2, abs=1e-6)

    def test_invariances(self, four: list[Tensor]):
        """Scale of any row, order of the images, a common rotation. Mutation: no normalisation of p or of z."""
        p, z = four[:2]
        value = negative_cosine(p, z)
        order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
        rotation = torch.linalg.qr(four[2][:5]).Q
        scale = torch.rand(6, 1, generator=torch.Generator().manual_seed(2)) + 0.5
        for other in ((p * scale, z / scale), (p[order], z[order]), (p @ rotation, z @ rotation)):
            torch.testing.assert_close(negative_cosine(*other), value)

    def test_gradient_is_exact_and_stops_at_z(self, four: list[Tensor]):
        """Mutation: without the detach z gets a gradient."""
        p, z = (t[:4, :3].double().requires_grad_() for t in four[:2])
        assert torch.autograd.gradcheck(lambda rows: negative_cosine(rows, z.detach()), p)
        negative_cosine(p, z).backward()
        assert z.grad is None

    def test_half_precision_is_widened(self, four: list[Tensor]):
        """Mutation: dropping in_float32 computes in bfloat16."""
        p, z = (t.bfloat16() for t in four[:2])
        with torch.autocast("cpu", torch.bfloat16):
            value = negative_cosine(p, z)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, negative_cosine(p.float(), z.float()))

    def test_collapse_is_minus_one_and_seen_in_the_spread(self):
        """The loss cannot tell a collapse from success; the watched spread can. Mutation: BYOL's 2 - 2 cos is 0 here."""
        equal = torch.ones(8, 16)
        assert float(negative_cosine(equal, equal)) == pytest.approx(-1.0)
        watch = Watch()
        for _ in range(2):
            watch.look({"z": equal})
        assert watch.collapsed


class TestMethod:
    def test_views_swapped_give_the_same_loss(self):
        """Mutation: only one of the two directions."""
        method, views = made(), some_views()
        swapped = Views(views.index, {"first": views["second"], "second": views["first"]})
        torch.testing.assert_close(method(views, step()).loss, method(swapped, step()).loss)

    def test_the_loss_is_the_papers(self):
        """Both directions, predictions against the other view's projection. Mutation: each view against itself."""
        method, views = made(), some_views()
        z1, z2 = method.project(method.backbone(torch.cat([views["first"], views["second"]]))).chunk(2)
        p1, p2 = method.predict(torch.cat([z1, z2])).chunk(2)
        expected = twin(*(t.detach().numpy() for t in (p1, p2, z1, z2)))
        assert float(method(views, step()).loss.detach()) == pytest.approx(expected, abs=1e-5)

    def test_the_encoder_learns_through_the_predictor_alone(self):
        """A predictor that ignores its input leaves the encoder no gradient. Mutation: z without the detach."""
        method = made()
        nn.init.zeros_(method.predict[-1].weight)
        method(some_views(), step()).loss.backward()
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in method.backbone.parameters())
        assert method.predict[-1].bias.grad.abs().sum() > 0

    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_heads(self, layers: int):
        """§4.4: BatchNorm ends the projector, without scale and shift; none ends the predictor. Mutation: either."""
        method = made(config=Settings(hidden_dim=32, out_dim=16, bottleneck_dim=8, projector_layers=layers))
        linear = [m for m in method.project if isinstance(m, nn.Linear)]
        norms = [m for m in method.project if isinstance(m, nn.BatchNorm1d)]
        assert [m.out_features for m in linear] == [32] * (layers - 1) + [16]
        assert [m.affine for m in norms] == [True] * (layers - 1) + [False]
        assert all(m.bias is None for m in linear)
        assert [type(m) for m in method.predict] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert method.predict[-1].bias is not None

    def test_paper_heads_are_2048_wide(self):
        """§3. Mutation: a predictor without its bottleneck."""
        config = Settings()
        assert (config.hidden_dim, config.out_dim, config.bottleneck_dim, config.projector_layers) == (
            2048,
            2048,
            512,
            3,
        )

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ValueError, match="projector_layers is 0, but the projector needs at least 1 layer"):
            Settings(projector_layers=0)


class TestRates:
    def test_the_predictors_rate_stays_at_the_peak(self):
        """§4.2, at every step, while the rest follows warm-up and cosine. Mutation: ParamGroup without lr_fixed."""
        method = made()
        training = Training(
            optimizer="sgd", lr=0.1, weight_decay=5e-4, momentum=0.9, betas=(0.9, 0.999), warmup=0.2, final_lr_factor=0.0,
            clip_norm=0.0, batch_size=8, steps=50,
        )  # fmt: skip
        updates = build(method.param_groups(), training)
        predictor = {id(p) for p in method.predict.parameters()}
        for number in range(training.steps + 1):
            progress = number / training.steps
            set_rates(updates, training, progress, epoch=number // 10)
            rates = {id(p): group["lr"] for group in updates.param_groups for p in group["params"]}
            assert {rates[i] for i in predictor} == {0.1}
            assert {rates[i] for i in rates.keys() - predictor} == {0.1 * warmup_cosine(0.2, 0.0)(progress)}
        assert len(rates) == len(list(method.parameters()))

    def test_everything_decays(self):
        """Biases and norms too, as in the reference code. Mutation: the contract's default groups."""
        assert {group.weight_decay_scale for group in made().param_groups()} == {1.0}


class Broken(SimSiam):
    """Both sides learn: no stop-gradient."""

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        z = self.project(torch.cat([embedded["first"], embedded["second"]]))
        (z_first, z_second), (p_first, p_second) = z.chunk(2), self.predict(z).chunk(2)
        loss = -(F.cosine_similarity(p_first, z_second).mean() + F.cosine_similarity(p_second, z_first).mean()) / 2
        return Output(loss=loss, watch={"z": z})


@pytest.mark.parametrize(("kind", "collapses"), [(SimSiam, False), (Broken, True)])
def test_without_the_stop_gradient_it_collapses(kind: type[SimSiam], collapses: bool, digits: ImageSet):
    """§4.1. Mutation: removing the detach makes the first case collapse as well.

    BatchNorm at the projector's end keeps every dimension's deviation at 1, so a collapse leaves a few outliers against the
    rest: the spread falls towards 2 / sqrt(rows) rather than to 0, and the effective rank towards 1.
    """
    method = made(kind)
    updates = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    chains = SimSiam.chains(NARROW, digits.card)
    for number in range(60):
        rows = torch.arange(64) + 64 * (number % 20)
        views = method.views(digits.at(rows), Rng.from_seed(number), chains)
        output = method(views, step(number))
        output.loss.backward()
        updates.step()
        updates.zero_grad()
    z = output.watch["z"]
    assert (spread(z) < 0.8) == collapses
    assert (effective_rank(z) < 3) == collapses
