"""InfoMax: estimators against closed forms, twins and the Gaussian's information; critics' indexing; halves and bounds."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from selfstudy.encoder import Backbone, BackboneSpec, Region, build_backbone
from selfstudy.errors import UserError
from selfstudy.methods.infomax import (
    InfoMax,
    Settings,
    donsker_varadhan,
    info_nce,
    jensen_shannon,
    log_mean_exp_of_others,
    mine,
    nwj,
)
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.types import Batch, DataCard, Step, Views
from tests.reference import infomax as twins

KNOWN = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [-0.5, 0.2, 1.0]], dtype=torch.float64)
ESTIMATORS = [info_nce, nwj, donsker_varadhan, jensen_shannon]
CRITICS = ["inner_product", "bilinear", "separable", "concatenated"]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(image_size: int = 16, backbone: str = "conv2", **settings: object) -> InfoMax:
    size = image_size

    def make_backbone(
        *, channels: int | None = None, image_size: int | None = None, region: Region = "whole"
    ) -> Backbone:
        spec = BackboneSpec(name=backbone, channels=1, image_size=size, mean=(0.5,), std=(0.2,), region=region)
        return build_backbone(spec)

    with Rng.from_seed(0).seeding_torch():
        return InfoMax(make_backbone, DataCard(40, 1, size), Settings(**settings)).train()


def seen(method: InfoMax, count: int = 6, seed: int = 0) -> Views:
    size = method.data.image_size
    images = torch.randint(
        0, 256, (count, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return method.views(
        Batch(images, torch.arange(count)), Rng.from_seed(seed), InfoMax.chains(method.config, method.data)
    )


STEP = Step(3, 0, False, 0.1, Rng.from_seed(0))


class TestEstimators:
    @pytest.mark.parametrize(
        ("estimator", "expected"),
        [
            (info_nce, 0.7157756632), (nwj, 1.1416526751), (donsker_varadhan, 1.5262525815), (jensen_shannon, -0.8715091399),
            (lambda scores: nwj(scores + 1), 1.5259109784),
        ],
    )  # fmt: skip
    def test_known_values(self, estimator: Callable[[Tensor], Tensor], expected: float):
        """Mutation: logsumexp over the upper halves (0.7397647050 for InfoNCE); the diagonal counted among the others."""
        assert float(estimator(KNOWN)) == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    @pytest.mark.parametrize("n", [2, 7])
    def test_equals_its_twin(self, estimator: Callable[[Tensor], Tensor], n: int):
        """Mutation: N * N instead of N * (N - 1) others; a sign; a forgotten 1/e."""
        scores = 2 * random(n, n)
        assert float(estimator(scores)) == pytest.approx(getattr(twins, estimator.__name__)(scores.numpy()), abs=1e-9)

    @pytest.mark.parametrize(
        ("estimator", "constant", "expected"),
        [
            (info_nce, 3.0, 0.0), (nwj, 0.0, -math.exp(-1)), (nwj, 1.0, 0.0), (donsker_varadhan, -4.0, 0.0),
            (jensen_shannon, 0.0, -2 * math.log(2)),
        ],
    )  # fmt: skip
    def test_equal_scores(self, estimator: Callable[[Tensor], Tensor], constant: float, expected: float):
        """What a critic that tells nothing apart is given. Mutation: no log N; NWJ without its shift by 1."""
        assert float(estimator(torch.full((5, 5), constant))) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("n", [2, 64, 512])
    def test_info_nce_is_at_most_log_n(self, n: int):
        """However sure the critic is: a larger batch is needed, not more training. Mutation: the sum over other scores only."""
        assert float(info_nce(1000 * torch.eye(n))) == pytest.approx(math.log(n), abs=1e-5)
        assert float(info_nce(10 * random(n, n))) <= math.log(n)

    def test_invariances(self):
        """Joint order of images; a row's constant leaves InfoNCE as it was but not NWJ; any constant leaves DV.

        Mutation: logsumexp along columns.
        """
        scores, rows = random(6, 6), random(6, 1, seed=1)
        order = torch.tensor([3, 5, 0, 1, 4, 2])
        for estimator in ESTIMATORS:
            torch.testing.assert_close(estimator(scores[order][:, order]), estimator(scores))
        torch.testing.assert_close(info_nce(scores + rows), info_nce(scores))
        assert abs(float(nwj(scores + rows) - nwj(scores))) > 1e-2
        torch.testing.assert_close(donsker_varadhan(scores + 3), donsker_varadhan(scores))

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_gradient_and_precision(self, estimator: Callable[[Tensor], Tensor]):
        """Exact in float64; 16-bit scores are widened. Mutation: a detach; in_float32 dropped."""
        assert torch.autograd.gradcheck(estimator, random(4, 4).requires_grad_())
        rounded = random(7, 7).half()
        value = estimator(rounded)
        assert value.dtype == torch.float32 and torch.equal(value, estimator(rounded.float()))

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_no_overflow(self, estimator: Callable[[Tensor], Tensor]):
        """Scores of 1,000 in float32, with a gradient whose square float32 holds. Mutation: NWJ's exponential uncapped, or cut off."""
        scores = (1000 * random(5, 5).float()).requires_grad_()
        value = estimator(scores)
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(value) and torch.isfinite(gradient.square()).all()
        assert gradient.fill_diagonal_(0.0).abs().max() > 0  # what is too high is still pushed down

    @pytest.mark.parametrize(("rho", "dim", "expected"), [(0.5, 10, 1.43841), (0.9, 2, 1.66073)])
    def test_a_gaussians_information(self, rho: float, dim: int, expected: float):
        """Independent pairs of correlation rho, scored by the true log ratio of densities.

        Mutation: NWJ read at F instead of F + 1 (off by 1 - 1/e at least); a mean over all pairs.
        """
        n = 1500
        x = random(n, dim)
        y = rho * x + math.sqrt(1 - rho**2) * random(n, dim, seed=1)
        information = -dim / 2 * math.log(1 - rho**2)
        assert information == pytest.approx(expected, abs=1e-5)
        squares = x.square().sum(1)[:, None] + y.square().sum(1)[None, :]
        scores = information - (rho**2 * squares - 2 * rho * (x @ y.T)) / (2 * (1 - rho**2))
        for estimate in (nwj(scores + 1), donsker_varadhan(scores), info_nce(scores)):
            assert float(estimate) == pytest.approx(information, abs=0.12)
        assert float(info_nce(scores[:16, :16])) < math.log(16)


class TestMine:
    def test_value_is_donsker_varadhans_and_gradient_is_not(self):
        """Mutation: the batch's own mean in the denominator; a gradient that reaches the running mean."""
        scores = KNOWN.clone().requires_grad_()
        log_average = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
        value = mine(scores, log_average)
        assert float(value.detach()) == pytest.approx(1.5262525815, abs=1e-9)
        value.backward()
        expected = twins.mine_gradient(KNOWN.numpy(), math.exp(1.3))
        torch.testing.assert_close(scores.grad, torch.from_numpy(expected))
        assert log_average.grad is None

    def test_running_mean(self):
        """Begun by the first batch, then moved by a tenth, in logarithms that do not overflow; it survives a checkpoint.

        Mutation: the mean of logarithms; a start at 0; the update in forward.
        """
        method, average = made(estimator="mine", momentum=0.9), 0.0
        for number, log_mean in enumerate([1.0, -2.0, 3.0]):
            method(seen(method), STEP)
            assert int(method.num_averaged) == number
            new = math.exp(log_mean)
            average = 0.9 * average + 0.1 * new if number else new
            method.after_step({"log_average": method.averaged(torch.tensor(log_mean))}, STEP)
            assert float(method.log_average) == pytest.approx(math.log(average), abs=1e-5)
        assert {"log_average", "num_averaged"} <= method.state_dict().keys()
        assert float(method.averaged(torch.tensor(5000.0))) == pytest.approx(5000 + math.log(0.1))

    def test_the_running_mean_is_the_others(self):
        """Mutation: the mean over all pairs; a running mean for estimators that need none."""
        method = made(estimator="mine")
        views = seen(method)
        embedded = method.embed(views, STEP)
        scores = method.critic(embedded["upper"], embedded["lower"]).detach()
        carry = method.objective(embedded, views, STEP).carry
        torch.testing.assert_close(carry["log_average"], log_mean_exp_of_others(scores))
        assert not made().objective(embedded, views, STEP).carry


class TestCritics:
    @pytest.mark.parametrize("kind", CRITICS)
    def test_row_is_the_upper_half(self, kind: str):
        """Score i, j is that of upper i and lower j seen alone. Mutation: the transpose of any critic's scores."""
        critic = made(critic=kind).critic.double()
        upper, lower = random(5, 100), random(5, 100, seed=1)
        scores = critic(upper, lower)
        for i in range(5):
            for j in range(5):
                torch.testing.assert_close(critic(upper[i : i + 1], lower[j : j + 1])[0, 0], scores[i, j])
        assert (scores - scores.T).abs().max() > 1e-3

    def test_values(self):
        """|upper - 2 lower| from the concatenated critic's weights; upper' W lower from the bilinear one.

        Mutation: no ReLU; a bias in the bilinear critic.
        """
        method = made(critic="concatenated", hidden_dim=1)
        upper, lower = random(4, 100), random(4, 100, seed=1)
        critic = method.critic.double()
        with torch.no_grad():
            for layer in (critic.upper, critic.lower, critic.last):
                layer.weight.zero_()
            critic.upper.weight[:, 0] = torch.tensor([1.0, -1.0])  # relu(t) + relu(-t) is |t|
            critic.lower.weight[:, 0] = torch.tensor([-2.0, 2.0])
            critic.last.weight[0] = 1.0
            critic.upper.bias.zero_()
            critic.last.bias.zero_()
        torch.testing.assert_close(critic(upper, lower), (upper[:, :1] - 2 * lower[:, 0]).abs())
        bilinear = made(critic="bilinear").critic.double()
        expected = torch.einsum("id,de,je->ij", upper, bilinear.lower.weight, lower)
        torch.testing.assert_close(bilinear(upper, lower), expected)
        torch.testing.assert_close(made(critic="inner_product").critic(upper, lower), upper @ lower.T)

    @pytest.mark.parametrize("kind", CRITICS)
    def test_is_in_float32(self, kind: str):
        """Mutation: in_float32 dropped from the critic."""
        with torch.autocast("cpu", torch.bfloat16):
            assert made(critic=kind).critic(random(3, 100).bfloat16(), random(3, 100).bfloat16()).dtype == torch.float32


class TestHalves:
    @pytest.mark.parametrize("size", [16, 17])
    def test_are_the_halves_that_the_encoder_is_fed(self, size: int):
        """Mutation: the right half for the lower one; a row lost of an odd number; the lower half for the kept encoder."""
        method = made(size)
        images = torch.randint(
            0, 256, (3, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        chains = {"base": InfoMax.chains(method.config, method.data)["base"].with_steps(())}
        views = method.views(Batch(images, torch.arange(3)), Rng.from_seed(0), chains)
        assert views["upper"].shape == (3, 1, size // 2, size)
        assert torch.equal(torch.cat([views["upper"], views["lower"]], 2), images.float() / 255)
        backbone, feed = method.encoder()
        assert torch.equal(feed(images), views["upper"]) and backbone is method.upper

    def test_noise_is_not_shared(self):
        """The noise of a half tells nothing of the other's. Mutation: the chain applied to each half with one stream."""
        method = made()
        grey = torch.full((200, 1, 16, 16), 128, dtype=torch.uint8)
        views = method.views(
            Batch(grey, torch.arange(200)), Rng.from_seed(0), InfoMax.chains(method.config, method.data)
        )
        upper, lower = ((views[name] - 128 / 255).flatten() for name in ("upper", "lower"))
        assert float(upper.std()) == pytest.approx(0.05, rel=0.05)
        assert abs(float(torch.corrcoef(torch.stack([upper, lower]))[0, 1])) < 0.02

    def test_two_encoders(self):
        """Differently initialised, both trained. Mutation: one backbone for both halves; a detached half."""
        method = made()
        assert not torch.equal(*(encoder.last.weight for encoder in (method.upper, method.lower)))
        method(seen(method), STEP).loss.backward()
        for encoder in (method.upper, method.lower):
            assert encoder.last.weight.grad is not None and encoder.last.weight.grad.abs().max() > 0


@pytest.mark.parametrize("size", [16, 17])
def test_encoders_with_a_weight_for_every_pixel(size: int):
    """Each perceptron is made for its half. Mutation: the lower one for the upper half, which differs for an odd number of rows."""
    method = made(size, "mlp")
    method(seen(method), STEP).loss.backward()
    assert method.upper.spec.seen == (size // 2, size) and method.lower.spec.seen == (size - size // 2, size)


class TestObjective:
    @pytest.mark.parametrize("name", ["infonce", "nwj", "dv", "mine", "jsd"])
    def test_loss_and_bound(self, name: str):
        """The bound is in nats and beside log N; JSD's is NWJ's at F + 1. Mutation: a sign; the bound of another estimator."""
        method = made(estimator=name)
        views = seen(method)
        output = method(views, STEP)
        embedded = method.embed(views, STEP)
        scores = method.critic(embedded["upper"], embedded["lower"]).detach()
        bounds = {"infonce": info_nce, "nwj": nwj, "dv": donsker_varadhan, "mine": donsker_varadhan}
        bound = bounds.get(name, lambda scores: nwj(scores + 1))(scores)
        torch.testing.assert_close(output.metrics["bound_nats"], bound)
        assert float(output.metrics["log_batch_nats"]) == pytest.approx(math.log(6))
        expected = {"infonce": math.log(6) - bound, "jsd": -jensen_shannon(scores)}.get(name, -bound)
        torch.testing.assert_close(output.loss.detach(), torch.as_tensor(expected))

    @pytest.mark.parametrize("name", ["infonce", "nwj", "dv", "mine", "jsd"])
    def test_loss_of_nothing(self, name: str):
        """Features that are all equal, and the best score that a critic can give them. Mutation: another estimator's value."""
        method = made(estimator=name, critic="inner_product")
        best = {"nwj": 1.0}.get(name, 0.0)
        features = torch.zeros(6, 100)
        features[:, 0] = math.sqrt(best)
        output = method.objective({"upper": features, "lower": features}, seen(method), STEP)
        assert float(output.loss) == pytest.approx(method.loss_of_nothing(6), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method.momentum": 1.0}, "momentum is 1.0, but must lie between 0 and 1"),
        ({"method.hidden_dim": 0}, "hidden_dim and out_dim must be at least 1"),
        ({"method.estimator": "smile"}, "estimator is 'smile', but"),
        ({"batch_size": 1}, "infomax needs batches of at least 2 images"),
    ],
)
def test_impossible_settings_are_a_sentence(settings: dict[str, object], sentence: str):
    """Mutation: any of the checks left out."""
    with pytest.raises(UserError, match=sentence):
        resolve("infomax", settings, DataCard(100, 1, 28), "test")
