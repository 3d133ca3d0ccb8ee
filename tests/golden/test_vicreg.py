"""VICReg against closed forms, a slow twin and lightly; its scaling; two processes. Each test names a mutation that fails it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.methods.vicreg import Settings, VICReg, covariance, invariance, variance, vicreg
from selfstudy.rng import Rng
from selfstudy.types import DataCard, Step, Views
from tests import two_processes
from tests.reference.vicreg import vicreg as twin

CARD = DataCard(num_images=64, channels=1, image_size=8)
STEP = Step(number=0, epoch=1, starts_epoch=False, progress=0.0, rng=Rng.from_seed(0))
WORKED = (  # the pair of methods.md, worked there in plain Python
    torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, -1.0]]),
    torch.tensor([[0.5, 0.0], [0.0, 2.0], [1.5, 1.0], [1.0, -1.0]]),
)


def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
    return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,)))


def made(**settings: object) -> VICReg:
    torch.manual_seed(0)
    return VICReg(make_backbone, CARD, Settings(**{"hidden_dim": 16, "out_dim": 6, **settings}))


def loss_of(first: Tensor, second: Tensor, *, halve_variance: bool = True) -> Tensor:
    return vicreg(first, second, Settings(halve_variance=halve_variance))[0]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(7, 5, generator=generator) * torch.tensor([0.2, 0.5, 1.0, 1.0, 3.0])
    return first, first + torch.randn(7, 5, generator=generator) / 2


class TestLoss:
    @pytest.mark.parametrize(("halve", "expected"), [(True, 24.75), (False, 49.5)])
    def test_collapse(self, halve: bool, expected: float):
        """25 * (1 - sqrt(1e-4)), twice if not halved. Mutation: no floor; the mean of both views' terms where their sum is meant."""
        constant = torch.tensor([[0.3, 4.0, -2.0]]).repeat(8, 1)
        assert float(loss_of(constant, constant, halve_variance=halve)) == pytest.approx(expected, abs=1e-4)
        assert made(halve_variance=halve).loss_of_nothing(8) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("scale", "halve", "expected"),
        [(1.0, True, 11.99548165), (1.0, False, 15.62290774), (0.3, True, 18.74581389), (0.3, False, 36.78400278)],
    )
    def test_worked_by_hand(self, scale: float, halve: bool, expected: float):
        """Mutation: the biased variance; Eq. 5's sum over columns; covariances of one view only; D^2 instead of D."""
        first, second = (scale * z for z in WORKED)
        assert float(loss_of(first, second, halve_variance=halve)) == pytest.approx(expected, abs=1e-5)

    def test_nothing_to_mend(self):
        """Equal views, uncorrelated columns, deviations of 1 and above: 0. Mutation: the variance pulled down to 1 as well."""
        z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        assert float(loss_of(2 * z, 2 * z)) == pytest.approx(0.0, abs=1e-6)

    def test_equals_the_twin_and_lightly(self, pair: tuple[Tensor, Tensor]):
        """Mutation: weights exchanged; variance along the rows; the diagonal left in the covariances."""
        import lightly.loss  # here, as the second process below need not wait for it

        ours = float(loss_of(*pair))
        assert ours == pytest.approx(twin(*(z.numpy() for z in pair)), rel=1e-5)
        assert ours == pytest.approx(float(lightly.loss.VICRegLoss()(*pair)), rel=1e-5)
        weights = {"invariance_weight": 3.0, "variance_weight": 0.5, "covariance_weight": 7.0}
        ours = float(vicreg(*pair, Settings(**weights, halve_variance=False))[0])
        assert ours == pytest.approx(twin(*(z.numpy() for z in pair), tuple(weights.values()), halve=False), rel=1e-5)

    def test_invariances(self, pair: tuple[Tensor, Tensor]):
        """Swap of views, order of images, order of columns, one shift of both views. Mutation: no mean taken from z."""
        first, second = pair
        generator = torch.Generator().manual_seed(1)
        rows, columns = torch.randperm(7, generator=generator), torch.randperm(5, generator=generator)
        shift = torch.randn(5, generator=generator)
        for changed in (
            (second, first), (first[rows], second[rows]), (first[:, columns], second[:, columns]), (first + shift, second + shift),
        ):  # fmt: skip
            torch.testing.assert_close(loss_of(*changed), loss_of(first, second))

    def test_shift_of_one_view(self, pair: tuple[Tensor, Tensor]):
        """Variance and covariance do not see it, invariance does: z is not normalised. Mutation: views centred before their difference."""
        first, second = pair
        torch.testing.assert_close(variance(first + 3), variance(first))
        torch.testing.assert_close(covariance(first + 3), covariance(first), rtol=1e-4, atol=1e-5)
        assert float(invariance(first, first + 3)) == pytest.approx(9.0, rel=1e-5)
        assert float(invariance(2 * first, 2 * second)) == pytest.approx(4 * float(invariance(first, second)), rel=1e-5)

    def test_gradient(self, pair: tuple[Tensor, Tensor]):
        """Exact in float64 for both views, finite once collapsed. Mutation: detaching one view; no floor under the root."""
        first, second = (z[:4, :3].double().requires_grad_() for z in pair)
        assert torch.autograd.gradcheck(loss_of, (first, second))
        for gradient in torch.autograd.grad(loss_of(first, second), (first, second)):
            assert gradient.abs().sum() > 0
        constant = torch.ones(4, 3, requires_grad=True)
        loss_of(constant, constant).backward()
        assert constant.grad is not None and torch.isfinite(constant.grad).all()

    def test_half_precision_is_widened(self):
        """Mutation: dropping in_float32."""
        first, second = torch.randn(2, 32, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            value, terms = vicreg(first, second, Settings())
        assert {value.dtype, *(term.dtype for term in terms.values())} == {torch.float32}
        torch.testing.assert_close(value, loss_of(first.float(), second.float()))


class TestMethod:
    def test_expander(self):
        """As the reference code's: biases before BatchNorm, no bias and no BatchNorm at the end. Mutation: either."""
        layers = list(made().project)
        assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
        assert [m.bias is not None for m in layers if isinstance(m, nn.Linear)] == [True, True, False]
        assert (Settings().hidden_dim, Settings().out_dim) == (8192, 8192)

    def test_the_loss_is_of_the_projections(self):
        """And the logged terms add up to it. Mutation: the loss of h; one view against itself; a logged term that is weighted."""
        method, generator = made().train(), torch.Generator().manual_seed(0)
        pair = {name: torch.rand(5, 1, 8, 8, generator=generator) for name in ("first", "second")}
        output = method(Views(torch.arange(5), pair), STEP)
        first, second = output.watch["z"].detach().numpy().reshape(2, 5, 6)
        assert float(output.loss.detach()) == pytest.approx(twin(first, second), rel=1e-4)
        weighted = [25 * output.metrics["invariance"], 25 * output.metrics["variance"], output.metrics["covariance"]]
        torch.testing.assert_close(sum(weighted), output.loss.detach())

    def test_views_of_small_images(self):
        """Mutation: the paper's views for both."""
        paper, small = (VICReg.chains(Settings(small_views=small), CARD) for small in (False, True))
        assert [step.name for step in paper["first"].steps] == ["flip", "jitter", "grey", "blur"]
        assert small["first"] == small["second"] and small["first"].crop.scale == (0.2, 1.0)
        assert [step.name for step in small["first"].steps] == ["flip", "jitter", "grey", "solarise"]

    def test_impossible_settings_are_refused(self):
        with pytest.raises(ValueError, match=r"variance and covariance are \(25.0, -1.0, 1.0\), but must be 0 or more"):
            Settings(variance_weight=-1.0)


def objective(method: VICReg, rows: slice) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    embedded = {name: torch.randn(6, 128, generator=generator)[rows] for name in ("first", "second")}
    return method.eval().objective(embedded, Views(torch.arange(6)[rows], {}), STEP).loss  # eval: BatchNorm apart


def test_two_processes_equal_one(tmp_path: Path):
    """Variances and covariances are the whole batch's. Mutation: a loss of each process's own rows, averaged."""
    two_processes.assert_equal_one(made, objective, tmp_path)
