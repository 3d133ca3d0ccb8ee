"""Distillation: what the teacher sees, that it stays as it is, and the two distances."""

from collections.abc import Callable
from pathlib import Path

import lightly.loss
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.methods.distill import Distill, Teacher, cosine_distance, squared_distance
from selfstudy.rng import Rng
from selfstudy.training import resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Step, Views
from selfstudy.weights import published_shape
from tests.reference import distill as twin

RNG = Rng.from_seed(0)
STEP = Step(0, 0, True, 0.0, RNG)
TEACHERS = ("test_vit", "test_resnet")


def as_published(name: str) -> dict[str, Tensor]:
    """A model's weights as its repository holds them, classifier and all, but random."""
    torch.manual_seed(0)
    state = timm.create_model(name, num_classes=1000).state_dict()
    return {
        key: value + 0.05 * torch.randn(value.shape) if value.is_floating_point() else value
        for key, value in state.items()
    }


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with test_vit.safetensors and test_resnet.safetensors."""
    folder = tmp_path_factory.mktemp("shelf")
    for name in TEACHERS:
        safetensors.torch.save_file(as_published(name), folder / f"{name}.safetensors")
    return folder


def teacher_of(name: str = "test_vit") -> Teacher:
    return Teacher(published_shape(name, channels=3))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestDistances:
    @pytest.mark.parametrize(("cosine", "expected"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 2.0)])
    def test_closed_forms(self, cosine: float, expected: float):
        """Mutation: the sign; BYOL's factor of 2."""
        z, target = torch.tensor([[2.0, 0.0]]), torch.tensor([[cosine, (1 - cosine**2) ** 0.5]])
        assert float(cosine_distance(z, target)) == pytest.approx(expected, abs=1e-6)
        assert float(squared_distance(z / 2, target)) == pytest.approx(expected)  # |a - b|^2 / 2 of unit vectors

    def test_equal_the_twins_and_lightly(self):
        """Mutations: a sum over dimensions; normalising along the batch."""
        z, target = noise(6, 4), noise(6, 4, seed=1)
        for ours, theirs in ((cosine_distance, twin.cosine_distance), (squared_distance, twin.squared_distance)):
            assert float(ours(z, target)) == pytest.approx(theirs(z.numpy(), target.numpy()), rel=1e-5)
        oracle = 1 + float(lightly.loss.NegativeCosineSimilarity()(z, target))
        assert float(cosine_distance(z, target)) == pytest.approx(oracle, rel=1e-5)

    @pytest.mark.parametrize("distance", [cosine_distance, squared_distance])
    def test_gradients(self, distance: Callable[[Tensor, Tensor], Tensor]):
        """Exact for the student, none for the teacher. Mutation: a missing detach."""
        z, target = noise(4, 3).double().requires_grad_(), noise(4, 3, seed=1).double().requires_grad_()
        assert torch.autograd.gradcheck(lambda rows: distance(rows, target.detach()), z)
        distance(z, target).backward()
        assert target.grad is None
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(distance(z[order], target[order]), distance(z, target))

    @pytest.mark.parametrize("distance", [cosine_distance, squared_distance])
    def test_half_precision_is_widened(self, distance: Callable[[Tensor, Tensor], Tensor]):
        """Mutation: without in_float32 the loss has 8 bits."""
        assert distance(noise(4, 3).bfloat16(), noise(4, 3, seed=1).bfloat16()).dtype == torch.float32


class TestTeacher:
    def seen(self, teacher: Teacher, views: Tensor) -> Tensor:
        """What the teacher's own model is given."""
        given: list[Tensor] = []
        handle = teacher.backbone.model.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
        assert teacher(views).shape == (len(views), teacher.dim)
        handle.remove()
        return given[0]

    def test_its_own_size_and_normalisation(self):
        """Flat colours stay flat at 160 pixels and become (colour - mean) / std. Mutations: the backbone's statistics; values
        of 0 to 255; the view at its own size."""
        teacher = teacher_of()
        colours = torch.tensor([[0.1, 0.5, 0.9], [1.0, 0.0, 0.3]])
        seen = self.seen(teacher, colours[:, :, None, None].expand(-1, -1, 28, 28))
        card = timm.models.get_pretrained_cfg("test_vit")
        expected = (colours - torch.tensor(card.mean)) / torch.tensor(card.std)
        torch.testing.assert_close(seen, expected[:, :, None, None].expand(-1, -1, 160, 160), atol=1e-5, rtol=1e-5)

    def test_grey_is_repeated(self):
        """Mutation: grey in one channel, black in the others."""
        teacher = teacher_of("test_resnet")
        grey = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(self.seen(teacher, grey), self.seen(teacher, grey.expand(-1, 3, -1, -1)))

    def test_a_sharp_edge_stays_in_range(self):
        """Bicubic filters overshoot. Mutation: values outside of [0, 1] that the teacher has never seen."""
        teacher = teacher_of()
        edge = torch.zeros(1, 3, 8, 8)
        edge[..., 4:] = 1.0
        pixels = self.seen(teacher, edge) * teacher.backbone.normalise.std + teacher.backbone.normalise.mean
        assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5


@pytest.fixture
def made(digits: ImageSet, shelf: Path) -> Callable[..., tuple[Distill, Views]]:
    def make(**overrides: object) -> tuple[Distill, Views]:
        own = {"method.teacher": "test_vit", "method.weights": str(shelf / "test_vit.safetensors")}
        settings = resolve("distill", {"backbone": "conv4", "batch_size": 6} | own | overrides, digits.card, "test")
        method = build_method(settings, digits, RNG).train()
        return method, method.views(digits.at(torch.arange(6)), RNG, settings.chains())

    return make


class TestMethod:
    def test_the_teacher_is_no_part_of_what_is_trained(self, made):
        """Mutations: the teacher as a submodule is saved with every checkpoint, put into train mode and counted."""
        method, _ = made()
        assert {name.partition(".")[0] for name in method.state_dict()} == {"backbone", "project", "standardise"}
        grouped = {id(p) for group in method.param_groups() for p in group.params}
        (teacher,) = method.frozen
        assert grouped == {id(p) for p in method.parameters()} and not grouped & {id(p) for p in teacher.parameters()}
        assert not any(p.requires_grad for p in teacher.parameters())
        assert method.training and not any(module.training for module in teacher.modules())
        method.double()  # goes along to other types and devices
        assert {value.dtype for value in teacher.state_dict().values() if value.is_floating_point()} == {torch.float64}

    def test_the_teacher_has_the_weights_of_the_file(self, made):
        """Mutation: a teacher that keeps its random start."""
        method, views = made()
        expected = teacher_of()
        expected.backbone.model.load_state_dict(
            {k: v for k, v in as_published("test_vit").items() if not k.startswith("head.")}
        )
        torch.testing.assert_close(method.embed(views, STEP)["teacher"], expected(views["base"]))

    @pytest.mark.parametrize("loss", ["cosine", "squared"])
    def test_the_objective_is_the_distance_to_standardised_features(self, made, loss: str):
        """Mutations: raw features; features of unit length; the other distance."""
        method, views = made(**{"method.loss": loss})
        embedded = {"h": noise(6, 128), "teacher": 3 + 0.1 * noise(6, 64, seed=1)}
        output = method.objective(embedded, views, STEP)
        z = method.project(embedded["h"]).detach().numpy()
        target = twin.standardise(embedded["teacher"].numpy())
        expected = getattr(twin, f"{loss}_distance")(z, target)
        assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)
        assert float(output.metrics["cosine"]) == pytest.approx(1 - twin.cosine_distance(z, target), abs=1e-4)
        scaled = {"h": embedded["h"], "teacher": 5 * embedded["teacher"] * torch.arange(1, 65) - 100}
        torch.testing.assert_close(method.objective(scaled, views, STEP).loss, output.loss, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("loss", ["cosine", "squared"])
    def test_a_student_that_learned_nothing_pays_one(self, made, loss: str):
        """The same answer for every image. Mutation: raw features, whose mean such a student would match."""
        method, views = made(**{"method.loss": loss})
        with torch.no_grad():
            method.project.weight.zero_()
            method.project.bias.copy_(noise(64) * (loss == "cosine"))
        embedded = {"h": noise(6, 128), "teacher": 3 + 0.1 * noise(6, 64, seed=1)}
        value = float(method.objective(embedded, views, STEP).loss.detach())
        assert value == pytest.approx(method.loss_of_nothing(6), abs=0.05)

    def test_a_teacher_that_sees_no_difference_asks_for_nothing(self, made):
        """Mutation: without the floor 0 / 0."""
        method, views = made()
        output = method.objective({"h": noise(6, 128), "teacher": torch.full((6, 64), 0.7)}, views, STEP)
        assert torch.isfinite(output.loss)

    def test_a_teacher_is_asked_for(self, made):
        with pytest.raises(
            UserError, match=r"distill needs a teacher: set method\.teacher to the name of a timm model"
        ):
            made(**{"method.teacher": ""})
        with pytest.raises(UserError, match=r'timm has no model "test_vitt"'):
            made(**{"method.teacher": "test_vitt"})
