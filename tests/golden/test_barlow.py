"""Barlow Twins against closed forms, a slow twin and lightly; its rates; two processes. Each test names a mutation that fails it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.methods.barlow import BarlowTwins, Settings, barlow_twins, correlation
from selfstudy.rng import Rng
from selfstudy.training.optimizer import build, set_rates
from selfstudy.training.settings import Training
from selfstudy.types import DataCard, Step, Views
from tests import two_processes
from tests.reference.barlow import barlow_twins as twin

NARROW = Settings(hidden_dim=16, out_dim=6)
STEP = Step(number=0, epoch=1, starts_epoch=False, progress=0.0, rng=Rng.from_seed(0))
WORKED = (  # the pair of methods.md, worked there in plain Python
    torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]]),
    torch.tensor([[0.5, 0.0], [0.0, 2.0], [1.5, 1.0], [1.0, -1.0]]),
)


def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
    return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,)))


def made(config: Settings = NARROW) -> BarlowTwins:
    torch.manual_seed(0)
    return BarlowTwins(make_backbone, DataCard(num_images=64, channels=1, image_size=8), config)


def whitened(rows: int, columns: int) -> Tensor:
    """Columns of mean 0 and variance 1 without any correlation."""
    z = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.linalg.qr(z - z.mean(0)).Q * rows**0.5


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(7, 5, generator=generator)
    return first, first + torch.randn(7, 5, generator=generator) / 2


class TestLoss:
    @pytest.mark.parametrize(("sign", "expected"), [(1.0, 0.0), (-1.0, 24.0)])
    def test_whitened(self, sign: float, expected: float):
        """Equal views 0, opposite ones 4D. Mutation: C_ii^2 instead of (1 - C_ii)^2; the diagonal left in the second sum."""
        z = whitened(50, 6)
        assert float(barlow_twins(z, sign * z, 1.0)) == pytest.approx(expected, abs=1e-3)  # the floor's share

    def test_collapse_is_d(self):
        """Mutation: a standardisation without its floor is NaN."""
        constant = torch.tensor([[0.3, 4.0, -2.0]]).repeat(8, 1)
        assert float(barlow_twins(constant, constant, 0.0051)) == pytest.approx(3.0)
        assert made().loss_of_nothing(8) == 6.0

    @pytest.mark.parametrize(("redundancy_weight", "expected"), [(0.0051, 0.1429342884), (0.005, 0.1428424728)])
    def test_worked_by_hand(self, redundancy_weight: float, expected: float):
        """Mutation: the unbiased variance; N - 1 in the correlation; another floor."""
        assert float(barlow_twins(*WORKED, redundancy_weight)) == pytest.approx(expected, abs=1e-6)

    def test_equals_the_twin_and_lightly(self, pair: tuple[Tensor, Tensor]):
        """Mutation: standardising rows; the mean over entries instead of their sum."""
        import lightly.loss  # here, as the second process below need not wait for it

        for weight in (0.0051, 0.7):
            ours = float(barlow_twins(*pair, weight))
            assert ours == pytest.approx(twin(*(z.numpy() for z in pair), weight), rel=1e-5)
            assert ours == pytest.approx(float(lightly.loss.BarlowTwinsLoss(weight)(*pair)), rel=1e-5)

    def test_independent_noise(self):
        """D + lambda D (D - 1) / N on average: why small batches drown a wide projector. Mutation: no division by N."""
        generator = torch.Generator().manual_seed(0)
        first, second = torch.randn(2, 256, 512, generator=generator)
        assert float(barlow_twins(first, second, 0.005)) == pytest.approx(512 + 0.005 * 512 * 511 / 256, rel=0.02)

    def test_invariances(self, pair: tuple[Tensor, Tensor]):
        """Swap of views, order of images, order of columns, any shift and positive scale of a column. Mutation: no mean taken."""
        first, second = (z.double() for z in pair)
        value = barlow_twins(first, second, 0.1)
        generator = torch.Generator().manual_seed(1)
        rows, columns = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
        shift, scale = torch.randn(5, generator=generator), torch.rand(5, generator=generator) + 0.5
        for changed in (
            (second, first), (first[rows], second[rows]), (first[:, columns], second[:, columns]), (first * scale + shift, second),
        ):  # fmt: skip
            torch.testing.assert_close(barlow_twins(*changed, 0.1), value, rtol=1e-4, atol=1e-4)  # the floor again

    def test_gradient(self, pair: tuple[Tensor, Tensor]):
        """Exact in float64 for both views. Mutation: detaching one of them."""
        first, second = (z[:4, :3].double().requires_grad_() for z in pair)
        assert torch.autograd.gradcheck(lambda a, b: barlow_twins(a, b, 0.1), (first, second))
        for gradient in torch.autograd.grad(barlow_twins(first, second, 0.1), (first, second)):
            assert gradient.abs().sum() > 0

    def test_half_precision_is_widened(self):
        """A sum over D^2 entries in bfloat16 loses them. Mutation: dropping in_float32."""
        first, second = torch.randn(2, 32, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value = barlow_twins(first, second, 0.005)
            assert correlation(first, second).dtype == torch.float32
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, barlow_twins(first.float(), second.float(), 0.005))


class TestMethod:
    def test_projector(self):
        """§2.2: three layers, none with a bias before BatchNorm, none after the last. Mutation: two layers; BatchNorm at the end."""
        layers = list(made().project)
        assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
        assert all(m.bias is None for m in layers if isinstance(m, nn.Linear))
        assert (Settings().hidden_dim, Settings().out_dim) == (8192, 8192)

    def test_the_loss_is_of_the_projections(self):
        """Mutation: the loss of h instead of z; one view against itself."""
        method, generator = made().train(), torch.Generator().manual_seed(0)
        pair = {name: torch.rand(5, 1, 8, 8, generator=generator) for name in ("first", "second")}
        output = method(Views(torch.arange(5), pair), STEP)
        first, second = output.watch["z"].detach().numpy().reshape(2, 5, 6)
        assert float(output.loss.detach()) == pytest.approx(twin(first, second, 0.0051), rel=1e-4)

    @pytest.mark.parametrize("progress", [0.05, 0.5, 1.0])
    def test_vectors_have_their_own_rate(self, progress: float):
        """§2.2: 0.0048 against 0.2, all through the schedule. Mutation: one rate for all; weight decay on vectors."""
        training = Training(
            optimizer="lars", lr=0.2, weight_decay=1e-6, momentum=0.9, betas=(0.9, 0.999), warmup=0.1, final_lr_factor=0.001,
            clip_norm=0.0, batch_size=256, steps=100,
        )  # fmt: skip
        updates = build(made().param_groups(), training)
        rate = set_rates(updates, training, progress, epoch=0)
        for group in updates.param_groups:
            vectors = all(p.ndim == 1 for p in group["params"])
            assert group["lr"] == pytest.approx(rate * 0.0048 / 0.2 if vectors else rate)
            assert group["weight_decay"] == (0.0 if vectors else 1e-6)
        assert sum(len(group["params"]) for group in updates.param_groups) == len(list(made().parameters()))

    def test_the_small_recipe_has_one_rate(self):
        """AdamW takes equal steps for vectors and matrices. Mutation: the paper's ratio in both recipes."""
        config = Settings(**{**BarlowTwins.recipes["small"].config, "hidden_dim": 16, "out_dim": 6})
        assert [group.lr_scale for group in made(config).param_groups()] == [1.0, 1.0]

    @pytest.mark.parametrize(
        ("setting", "sentence"),
        [
            ({"redundancy_weight": -1.0}, "redundancy_weight is -1.0, but must be 0 or more"),
            ({"vector_lr_scale": 0.0}, "vector_lr_scale is 0.0, but must be above 0"),
        ],
    )
    def test_impossible_settings_are_refused(self, setting: dict[str, float], sentence: str):
        with pytest.raises(ValueError, match=sentence):
            Settings(**setting)


def objective(method: BarlowTwins, rows: slice) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    embedded = {name: torch.randn(6, 128, generator=generator)[rows] for name in ("first", "second")}
    return method.eval().objective(embedded, Views(torch.arange(6)[rows], {}), STEP).loss  # eval: BatchNorm apart


def test_two_processes_equal_one(tmp_path: Path):
    """The correlation is over the whole batch. Mutation: a loss of each process's own rows, averaged."""
    two_processes.assert_equal_one(made, objective, tmp_path)
