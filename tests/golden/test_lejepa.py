"""LeJEPA against closed forms, a slow twin and lightly; its directions and views; two processes. Each test names a mutation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.images import ImageSet
from selfstudy.methods.lejepa import LeJEPA, Settings, random_directions, sigreg, to_the_mean
from selfstudy.rng import Rng
from selfstudy.types import DataCard, Step, Views
from selfstudy.views import papers
from tests import two_processes
from tests.reference import lejepa as twins

CARD = DataCard(num_images=64, channels=1, image_size=16)
COLLAPSED = 0.402048  # the statistic over N where all rows are 0: the sum of the weights times (1 - exp(-t^2 / 2))^2


def made(**settings: object) -> LeJEPA:
    def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
        return build_backbone(BackboneSpec(name="conv4", channels=1, image_size=16, mean=(0.3,), std=(0.4,)))

    torch.manual_seed(0)
    narrow = {"hidden_dim": 32, "out_dim": 6, "num_directions": 20, "num_local": 2, "local_fraction": 0.5}
    return LeJEPA(make_backbone, CARD, Settings(**{**narrow, **settings})).train()


def step_of(number: int = 0) -> Step:
    return Step(number, 0, False, 0.0, Rng.from_seed(0).fork("step", number))


def some_views(rows: int = 5) -> Views:
    generator = torch.Generator().manual_seed(0)
    sizes = {"global0": 16, "global1": 16, "local0": 8, "local1": 8}
    tensors = {name: torch.rand(rows, 1, size, size, generator=generator) for name, size in sizes.items()}
    return Views(torch.arange(rows), tensors)


@pytest.fixture
def cloud() -> tuple[Tensor, Tensor]:
    """Projections of four views [4, 7, 5] and directions [5, 6]."""
    return (
        torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)) * 1.5,
        random_directions(Rng.from_seed(0), 5, 6, torch.device("cpu")),
    )


class TestSigreg:
    @pytest.mark.parametrize("rows", [1, 8])
    def test_collapse(self, rows: int):
        """0.402 N. Mutation: no factor N; points up to 5; the window forgotten; both ends with full weight."""
        value = sigreg(torch.zeros(rows, 3), torch.eye(3))
        assert float(value) == pytest.approx(COLLAPSED * rows, rel=1e-5)
        assert made(sigreg_weight=0.1).loss_of_nothing(rows) == pytest.approx(0.1 * COLLAPSED * rows, rel=1e-5)

    @pytest.mark.parametrize("rows", [16, 256])
    def test_gaussian(self, rows: int):
        """1.052 on average, whatever N. Mutation: the sine left out; means over images that are not squared moduli."""
        z = torch.randn(rows, 3000, generator=torch.Generator().manual_seed(0))
        assert float(sigreg(z, torch.eye(3000))) == pytest.approx(1.052464, abs=0.04)

    @pytest.mark.parametrize("spoil", [lambda z: 2 * z, lambda z: z / 2, lambda z: z + 1, torch.sign, torch.abs])
    def test_anything_else_is_more(self, spoil: Callable[[Tensor], Tensor]):
        """Wrong scale, place or shape. Mutation: no sine, which does not see where the cloud lies."""
        z = torch.randn(256, 50, generator=torch.Generator().manual_seed(0))
        assert float(sigreg(spoil(z), torch.eye(50))) > 4.0

    def test_grows_with_n(self):
        """The same distribution from twice as many rows counts twice. Mutation: no factor N."""
        z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(sigreg(torch.cat([z, z]), torch.eye(4)), 2 * sigreg(z, torch.eye(4)))

    def test_equals_the_twin(self, cloud: tuple[Tensor, Tensor]):
        """Which integrates over both signs. Mutation: another number of points; weights that are not doubled."""
        (z, *_), directions = cloud
        projected = (z @ directions).numpy()
        expected = sum(twins.epps_pulley(projected[:, m]) for m in range(6)) / 6
        assert float(sigreg(z, directions)) == pytest.approx(expected, rel=1e-5)

    def test_invariances(self, cloud: tuple[Tensor, Tensor]):
        """Order of images and directions, sign of a direction, a common rotation. Mutation: a direction along the rows."""
        (z, *_), directions = cloud
        rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1))).Q
        for rows, columns in (
            (z.flip(0), directions), (z, directions.flip(1)), (z, -directions), (z @ rotation, rotation.T @ directions),
        ):  # fmt: skip
            torch.testing.assert_close(sigreg(rows, columns), sigreg(z, directions))

    def test_gradient(self, cloud: tuple[Tensor, Tensor]):
        """Exact in float64, and not zero for a collapsed cloud that lies off the origin. Mutation: a detached z."""
        (z, *_), directions = cloud
        z = z[:4, :3].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: sigreg(rows, directions[:3].double()), z)
        collapsed = torch.ones(4, 3, requires_grad=True)
        sigreg(collapsed, torch.eye(3)).backward()
        assert collapsed.grad is not None and collapsed.grad.abs().min() > 0

    def test_half_precision_is_widened(self, cloud: tuple[Tensor, Tensor]):
        """Mutation: dropping in_float32 of either."""
        z, directions = cloud[0].bfloat16(), cloud[1]
        with torch.autocast("cpu", torch.bfloat16):
            values = sigreg(z[0], directions), to_the_mean(z, 2)
        assert {value.dtype for value in values} == {torch.float32}
        torch.testing.assert_close(values[0], sigreg(z[0].float(), directions))


class TestDirections:
    def test_have_length_one_and_no_preference(self):
        """Mutation: rows normalised instead of columns; uniform numbers instead of normal ones."""
        found = random_directions(Rng.from_seed(0), 8, 5000, torch.device("cpu"))
        torch.testing.assert_close(found.norm(dim=0), torch.ones(5000))
        torch.testing.assert_close(found @ found.T / 5000, torch.eye(8) / 8, atol=0.01, rtol=0)
        assert found.mean(1).abs().max() < 0.02
        assert float((found[0] ** 4).mean()) == pytest.approx(
            3 / (8 * 10), rel=0.05
        )  # E u^4 on the sphere: 3 / (D (D + 2))

    def test_are_new_at_every_step(self):
        """And equal for equal steps, whatever the images. Mutation: one draw for all steps."""
        method, views = made(), some_views()
        losses = [float(method(views, step_of(number)).metrics["sigreg"]) for number in (0, 0, 1)]
        assert losses[0] == losses[1] != losses[2]


class TestDistance:
    def test_closed_forms(self):
        """Equal views 0; two views at +1 and -1: 1; a small crop 3 off the mean of two: 9 / 3. Mutation: the mean over all views."""
        z = torch.ones(1, 4, 2)
        assert float(to_the_mean(torch.cat([z, z]), 2)) == 0.0
        assert float(to_the_mean(torch.cat([z, -z]), 2)) == 1.0
        assert float(to_the_mean(torch.cat([z, z, -2 * z]), 2)) == 3.0

    def test_gradient(self, cloud: tuple[Tensor, Tensor]):
        """Exact, and through the mean as well: nothing is detached. Mutation: the mean detached."""
        z = cloud[0][:3, :2, :2].double().requires_grad_()
        assert torch.autograd.gradcheck(lambda views: to_the_mean(views, 2), z)
        (gradient,) = torch.autograd.grad(to_the_mean(z, 2), z)
        torch.testing.assert_close(gradient.sum(0), torch.zeros(2, 2, dtype=torch.float64))


class TestMethod:
    def test_equals_the_twin_and_lightly(self, cloud: tuple[Tensor, Tensor]):
        """Mutation: lambda added instead of shared; views pooled into one cloud; small crops left out of SIGReg."""
        import lightly.loss.lejepa_loss as theirs  # here, as the second process below need not wait for it

        z, directions = cloud
        statistic = torch.stack([sigreg(view, directions) for view in z]).mean()
        ours = float(0.9 * to_the_mean(z, 2) + 0.1 * statistic)
        assert ours == pytest.approx(twins.lejepa(z.numpy(), directions.numpy(), 0.1, 2), rel=1e-5)

        class SameDirections(theirs.SIGReg):
            def _generate_unit_vectors(self, device: torch.device, dtype: torch.dtype, num_features: int) -> Tensor:
                return directions

        loss = theirs.LeJEPALoss(lambda_param=0.1)
        loss.sigreg = SameDirections()
        assert ours == pytest.approx(float(loss(local_proj=z[2:], global_proj=z[:2])), rel=1e-5)

    @pytest.mark.parametrize(("num_views", "num_local"), [(2, 2), (2, 0), (1, 2)])
    def test_the_loss_is_the_papers(self, num_views: int, num_local: int):
        """Of the projections of all views, each a cloud of its own. Mutation: of h; pooled; lambda added; other directions."""
        method, views = made(num_views=num_views, num_local=num_local), some_views()
        names = [f"global{n}" for n in range(num_views)] + [f"local{n}" for n in range(num_local)]
        with torch.no_grad():
            embedded = method.embed(views, step_of())
            z = method.project(torch.cat([embedded[name] for name in names])).view(len(names), 5, 6)
            output = method.objective(embedded, views, step_of())
        directions = random_directions(step_of().rng.fork("directions"), 6, 20, torch.device("cpu"))
        expected = twins.lejepa(z.numpy(), directions.numpy(), 0.05, num_views)
        assert float(output.loss) == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(0.95 * output.metrics["distance"] + 0.05 * output.metrics["sigreg"], output.loss)
        assert output.watched_views == num_views and len(output.watch["z"]) == 5 * num_views

    def test_projector(self):
        """Three layers, BatchNorm and ReLU between them, none at the end: z is not normalised. Mutation: BatchNorm at the end."""
        layers = list(made().project)
        assert [type(m) for m in layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
        assert all(m.bias is not None for m in layers if isinstance(m, nn.Linear))

    def test_chains(self):
        """README with small crops, MINIMAL.md without. Mutation: the other's crops; small crops at the images' size."""
        card = DataCard(num_images=64, channels=3, image_size=224)
        chains = LeJEPA.chains(Settings(), card)
        assert {name: (chain.size, chain.crop.scale) for name, chain in chains.items()} == {
            "global": (224, (0.3, 1.0)), "local": (98, (0.05, 0.3)),
        }  # fmt: skip
        alone = LeJEPA.chains(Settings(num_views=4, num_local=0), card)
        assert {name: (chain.size, chain.crop.scale) for name, chain in alone.items()} == {"global": (224, (0.08, 1.0))}
        for chain in (*chains.values(), *alone.values()):
            assert {step.name: step.p for step in chain.steps} == {
                "flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.5, "solarise": 0.2,
            }  # fmt: skip

    @pytest.mark.parametrize(("side", "size"), [(224, 98), (64, 28), (40, 18), (32, 14), (16, 8), (8, 8)])
    def test_local_size(self, side: int, size: int):
        """Mutation: rounding down; no floor."""
        assert papers.local_size(side, 98 / 224) == size

    def test_views_differ(self, digits: ImageSet):
        """Mutation: one stream for all views of a slot."""
        method = made(num_local=2)
        views = method.views(digits.at(torch.arange(4)), Rng.from_seed(0), LeJEPA.chains(method.config, CARD))
        assert list(views.tensors) == ["global0", "global1", "local0", "local1"]
        for slot in ("global", "local"):
            assert not torch.equal(views[f"{slot}0"], views[f"{slot}1"])

    @pytest.mark.parametrize(
        ("setting", "sentence"),
        [
            ({"sigreg_weight": 1.5}, "sigreg_weight is 1.5, but must lie between 0 and 1"),
            ({"num_views": 1, "num_local": 0}, "at least one whole-size view and two views in all"),
            ({"num_views": 0}, "at least one whole-size view"),
            ({"local_fraction": 0.0}, "local_fraction is 0.0"),
            ({"num_directions": 0}, "num_directions is 0, but must be at least 1"),
        ],
    )
    def test_impossible_settings_are_refused(self, setting: dict[str, float], sentence: str):
        with pytest.raises(ValueError, match=sentence):
            Settings(**setting)


@pytest.mark.parametrize(("sigreg_weight", "collapses"), [(0.05, False), (0.0, True)])
def test_without_sigreg_it_collapses(sigreg_weight: float, collapses: bool, digits: ImageSet):
    """Nothing else holds the cloud open. Mutation: SIGReg with the wrong sign, or that does not reach z."""
    method = made(num_local=0, sigreg_weight=sigreg_weight)
    updates = torch.optim.AdamW(method.parameters(), lr=3e-3)
    chains, rows = LeJEPA.chains(method.config, CARD), 48
    for number in range(40):
        views = method.views(digits.at(torch.arange(rows) + rows * (number % 20)), Rng.from_seed(number), chains)
        output = method(views, step_of(number))
        output.loss.backward()
        updates.step()
        updates.zero_grad()
    assert (float(output.metrics["sigreg"]) > 0.8 * COLLAPSED * rows) == collapses


def objective(method: LeJEPA, rows: slice) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    names = ("global0", "global1", "local0", "local1")
    embedded = {name: torch.randn(6, 128, generator=generator)[rows] for name in names}
    return method.eval().objective(embedded, Views(torch.arange(6)[rows], {}), step_of()).loss  # eval: BatchNorm apart


def test_two_processes_equal_one(tmp_path: Path):
    """One cloud of all images, and N counts them all. Mutation: a statistic of each process's own rows."""
    two_processes.assert_equal_one(made, objective, tmp_path)
