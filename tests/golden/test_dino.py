"""DINO against closed forms, a slow twin and lightly; teacher, centre, frozen prototypes, both ways to collapse.

Each test names a mutation that fails it.
"""

import copy
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.images import ImageSet
from selfstudy.methods.dino import DINO, Settings, cross_view, entropy, rising, scores, targets
from selfstudy.rng import Rng
from selfstudy.training.optimizer import build, set_rates
from selfstudy.training.settings import Training, resolve
from selfstudy.types import DataCard, Step, Views
from selfstudy.views import papers
from tests.reference.dino import dino as twin

CARD = DataCard(num_images=64, channels=1, image_size=16)
GLOBAL = ("first", "second")


def made(backbone: str = "conv4", **settings: object) -> DINO:
    def make_backbone(*, channels: int | None = None, image_size: int | None = None) -> Backbone:
        return build_backbone(BackboneSpec(name=backbone, channels=1, image_size=16, mean=(0.3,), std=(0.4,)))

    torch.manual_seed(0)
    narrow = {"hidden_dim": 32, "bottleneck_dim": 8, "num_prototypes": 12, "num_local": 3, "local_fraction": 0.5}
    return DINO(make_backbone, CARD, Settings(**{**narrow, **settings})).train()


def step_of(method: DINO, progress: float = 0.5) -> Step:
    scheduled = {name: torch.tensor(schedule(progress)) for name, schedule in method.schedules().items()}
    return Step(0, 1, False, progress, Rng.from_seed(0), scheduled)


def some_views(rows: int = 5) -> Views:
    generator = torch.Generator().manual_seed(0)
    sizes = dict.fromkeys(GLOBAL, 16) | {f"local{number}": 8 for number in range(3)}
    made_views = {name: torch.rand(rows, 1, size, size, generator=generator) for name, size in sizes.items()}
    return Views(torch.arange(rows), made_views)


@pytest.fixture
def views_of_scores() -> tuple[Tensor, Tensor, Tensor]:
    """Students [4, 3, 6], teachers [2, 3, 6], centre [6]."""
    generator = torch.Generator().manual_seed(0)
    students, teachers = (torch.rand(v, 3, 6, generator=generator) * 2 - 1 for v in (4, 2))
    return students, teachers, torch.rand(6, generator=generator) / 5


def loss_of(students: Tensor, teachers: Tensor, centre: Tensor) -> Tensor:
    return cross_view(students, targets(teachers, centre, 0.04), 0.1)


class TestLoss:
    def test_uniform_student_is_log_k(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Whatever the targets: nothing is sorted. Mutation: a mean over all pairs, a view's own included; a sum over terms."""
        _, teachers, centre = views_of_scores
        assert float(loss_of(torch.ones(4, 3, 6), teachers, centre)) == pytest.approx(math.log(6), abs=1e-6)
        assert made().loss_of_nothing(5) == pytest.approx(math.log(12))

    def test_one_prototype_for_all_is_zero(self):
        """The other collapse is an optimum of the loss. Mutation: a plus sign."""
        one = torch.zeros(2, 3, 6).index_fill(2, torch.tensor([4]), 1.0)
        assert float(loss_of(5 * one, one, torch.zeros(6))) == pytest.approx(0.0, abs=1e-6)

    def test_worked_by_hand(self):
        """Targets (1/2, 1/2), student's logits (1, 0): (log(1 + 1/e) + log(1 + e)) / 2. Mutation: no student temperature."""
        students = torch.tensor([0.1, 0.0]).expand(2, 1, 2)
        expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2
        assert float(loss_of(students, torch.zeros(2, 1, 2), torch.zeros(2))) == pytest.approx(expected, abs=1e-6)

    def test_equals_the_twin_and_lightly(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Mutation: softmax over images; temperatures exchanged; the centre added; the centre inside the student."""
        import lightly.loss  # here, as the second process below need not wait for it

        students, teachers, centre = views_of_scores
        ours = float(loss_of(students, teachers, centre))
        assert ours == pytest.approx(twin(students.numpy(), teachers.numpy(), centre.numpy(), 0.1, 0.04), rel=1e-5)
        theirs = lightly.loss.DINOLoss(output_dim=6, teacher_temp=0.04, student_temp=0.1)
        theirs.center = centre.clone()[None, None]
        assert ours == pytest.approx(float(theirs(list(teachers), list(students))), rel=1e-5)

    def test_invariances(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Swap of the large views, order of the small ones, of images, of prototypes; a shift of teacher and centre alike.

        Mutation: only the first large view as target; no centre.
        """
        students, teachers, centre = views_of_scores
        value = loss_of(students, teachers, centre)
        rows, columns = torch.tensor([2, 0, 1]), torch.tensor([3, 5, 0, 1, 4, 2])
        for changed in (
            (students[[1, 0, 2, 3]], teachers.flip(0), centre),
            (students[[0, 1, 3, 2]], teachers, centre),
            (students[:, rows], teachers[:, rows], centre),
            (students[..., columns], teachers[..., columns], centre[columns]),
            (students + 0.3, teachers + centre, 2 * centre),
        ):
            torch.testing.assert_close(loss_of(*changed), value)

    def test_no_view_is_its_own_target(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Two views: the first target meets the second student alone. Mutation: the diagonal kept."""
        students, teachers, centre = views_of_scores
        goal = targets(teachers, centre, 0.04).requires_grad_()
        (gradient,) = torch.autograd.grad(cross_view(students[:2], goal, 0.1), goal)
        expected = -(students[:2].flip(0) / 0.1).log_softmax(2) / (2 * 3)
        torch.testing.assert_close(gradient, expected)

    def test_gradient_is_exact_and_stops_at_the_teacher(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Mutation: targets without the detach; students detached."""
        students, teachers, centre = (values.double() for values in views_of_scores)
        students, teachers = students[..., :3].requires_grad_(), teachers[..., :3].requires_grad_()
        assert torch.autograd.gradcheck(lambda s: loss_of(s, teachers.detach(), centre[:3]), students)
        loss_of(students, teachers, centre[:3]).backward()
        assert teachers.grad is None and students.grad is not None and students.grad.abs().sum() > 0

    def test_sharpening_and_centring(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """A lower temperature sharpens; the centre takes away what all images prefer. Mutation: the centre left out."""
        _, teachers, _ = views_of_scores
        entropies = [float(entropy(targets(teachers, torch.zeros(6), t))) for t in (0.04, 0.1, 1.0)]
        assert 0 < entropies[0] < entropies[1] < entropies[2] < math.log(6)
        preferred = teachers / 10 + torch.tensor([1.0, 0, 0, 0, 0, 0])
        taken = targets(preferred, torch.zeros(6), 0.04).mean((0, 1))
        shared = targets(preferred, preferred.mean((0, 1)), 0.04).mean((0, 1))
        assert float(taken[0]) > 0.99 and float(shared.max()) < 0.5

    def test_entropy(self):
        """Mutation: 0 log 0 as NaN; the sum over rows."""
        assert float(entropy(torch.eye(4).expand(2, 4, 4))) == 0.0
        assert float(entropy(torch.full((2, 3, 8), 1 / 8))) == pytest.approx(math.log(8))

    def test_half_precision_is_widened(self, views_of_scores: tuple[Tensor, Tensor, Tensor]):
        """Mutation: dropping in_float32 of any of the three."""
        students, teachers, centre = (values.bfloat16() for values in views_of_scores)
        with torch.autocast("cpu", torch.bfloat16):
            goal = targets(teachers, centre, 0.04)
            value = cross_view(students, goal, 0.1)
            cosines = scores(students[0], teachers[0])
        assert {goal.dtype, value.dtype, cosines.dtype} == {torch.float32}
        torch.testing.assert_close(value, loss_of(students.float(), teachers.float(), centre.float()))


class TestScores:
    def test_are_weight_normalisation_with_gain_one(self):
        """Mutation: prototypes that are not normalised; normalised along the columns; z that is not."""
        torch.manual_seed(0)
        layer, z = nn.Linear(5, 7, bias=False), torch.randn(4, 5)
        weight = layer.weight.detach().clone()
        normed = weight_norm(layer)
        normed.parametrizations.weight.original0.data.fill_(1.0)
        torch.testing.assert_close(scores(z, weight), normed(z / z.norm(dim=1, keepdim=True)).detach())
        assert scores(z, weight).abs().max() <= 1

    def test_scale_of_either_side_does_not_matter(self):
        torch.manual_seed(0)
        z, prototypes = torch.randn(4, 5), torch.randn(7, 5, requires_grad=True)
        torch.testing.assert_close(scores(3 * z, prototypes * torch.rand(7, 1)), scores(z, prototypes))
        (gradient,) = torch.autograd.grad(scores(z, prototypes).exp().sum(), prototypes)
        torch.testing.assert_close((gradient * prototypes).sum(1), torch.zeros(7), atol=1e-5, rtol=0)


class TestPlan:
    @pytest.mark.parametrize(
        ("side", "size"), [(224, 96), (96, 42), (64, 28), (32, 14), (28, 12), (16, 8), (8, 8), (4, 4)]
    )
    def test_local_size(self, side: int, size: int):
        """96 of 224, even, at least 8 and never more than the image. Mutation: rounding down; no floor."""
        assert papers.local_size(side, 96 / 224) == size

    def test_weight_decay_rises_in_the_papers_recipe_alone(self):
        """§3.2: a cosine from 0.04 to 0.4; biases and norms have none. Mutation: a factor that `Training` never gets."""
        run = resolve("dino", {"recipe": "paper"}, replace(CARD, image_size=224), "test")
        updates, found = build(made().param_groups(), run.training), {}
        for progress in (0.0, 0.5, 1.0):
            set_rates(updates, run.training, progress, epoch=0)
            found[progress] = [group["weight_decay"] for group in updates.param_groups]
        assert found == {0.0: [0.04, 0.0, 0.04], 0.5: pytest.approx([0.22, 0.0, 0.22]), 1.0: [0.4, 0.0, 0.4]}
        assert "from 0.04 to 0.4" in run.origins["final_weight_decay_factor"]
        assert resolve("dino", {}, CARD, "test").training.final_weight_decay_factor == 1.0

    def test_rising(self):
        """Mutation: a temperature that keeps rising, or starts at its end."""
        schedule = rising(0.04, 0.07, 0.1)
        assert [schedule(p) for p in (0.0, 0.05, 0.1, 0.6)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
        assert rising(0.04, 0.07, 0.0)(0.0) == 0.07

    def test_chains(self):
        """§3.1 and App. E. Mutation: local crops at the images' size; large crops that ignore that there are no small ones."""
        card = DataCard(num_images=64, channels=3, image_size=224)
        chains = DINO.chains(Settings(), card)
        assert {name: (chain.size, chain.crop.scale) for name, chain in chains.items()} == {
            "first": (224, (0.4, 1.0)), "second": (224, (0.4, 1.0)), "local": (96, (0.05, 0.4)),
        }  # fmt: skip
        alone = DINO.chains(Settings(num_local=0), card)
        assert {name: chain.crop.scale for name, chain in alone.items()} == dict.fromkeys(GLOBAL, (0.14, 1.0))

    def test_local_views_differ(self, digits: ImageSet):
        """Mutation: one stream for all crops of a slot."""
        method = made(num_local=2)
        views = method.views(digits.at(torch.arange(4)), Rng.from_seed(0), DINO.chains(method.config, CARD))
        assert not torch.equal(views["local0"], views["local1"])
        assert views["local0"].shape[2] == 8 and views["first"].shape[2] == 16

    @pytest.mark.parametrize(
        ("setting", "sentence"),
        [
            ({"teacher_temperature": 0.0}, "must be above 0"),
            ({"num_local": -1}, "num_local is -1"),
            ({"local_fraction": 1.5}, "local_fraction 1.5"),
            ({"num_prototypes": 1}, "num_prototypes is 1, but sorting needs at least 2"),
            ({"centre_momentum": 1.5}, "must lie between 0 and 1"),
        ],
    )
    def test_impossible_settings_are_refused(self, setting: dict[str, float], sentence: str):
        with pytest.raises(ValueError, match=sentence):
            Settings(**setting)


class TestMethod:
    @pytest.mark.parametrize("num_local", [0, 3])
    def test_the_loss_is_the_papers(self, num_local: int):
        """The student sees all crops, the teacher the large ones, and the centre is the one before this step.

        Mutation: student and teacher exchanged; targets from the small crops; the new centre.
        """
        method, views = made(num_local=num_local), some_views()
        method.centre.copy_(torch.linspace(-0.1, 0.1, 12))
        method.teacher_project[0].weight.data.mul_(torch.linspace(0.2, 2, 128))  # so that it is not the student
        names = [*GLOBAL, *(f"local{number}" for number in range(num_local))]
        with torch.no_grad():
            large = torch.cat([views[name] for name in GLOBAL])
            h = [method.backbone(large)]
            if num_local:
                h.append(method.backbone(torch.cat([views[name] for name in names[2:]])))
            students = scores(method.project(torch.cat(h)), method.prototypes.weight)
            teachers = scores(method.teacher_project(method.teacher_backbone(large)), method.teacher_prototypes.weight)
            output = method(views, step_of(method))
        expected = twin(
            students.view(len(names), 5, 12).numpy(), teachers.view(2, 5, 12).numpy(), method.centre.numpy(), 0.1, 0.07
        )
        assert float(output.loss) == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(output.carry["centre"], teachers.mean(0))
        assert 0 < float(output.metrics["target_entropy"]) < float(output.metrics["mean_target_entropy"]) < math.log(12)

    def test_teacher_and_centre_follow_after_the_step(self):
        """centre <- 0.9 centre + 0.1 mean, teacher <- m teacher + (1 - m) student, prototypes too.

        Mutation: a part of the student that is forgotten; centre and mean exchanged.
        """
        method = made()
        parts = ("backbone", "project", "prototypes")
        for part in parts:
            for parameter in getattr(method, part).parameters():
                parameter.data.add_(1.0)
        before = copy.deepcopy(method)  # which a weight_norm parametrisation would not survive
        step = step_of(method)
        method.after_step({"centre": torch.arange(12.0)}, step)
        torch.testing.assert_close(method.centre, torch.arange(12.0) / 10)
        momentum = float(step.scheduled["momentum"])
        assert momentum == pytest.approx(0.998)
        for part in parts:
            old, new = getattr(before, f"teacher_{part}").parameters(), getattr(method, f"teacher_{part}").parameters()
            for teacher, student, found in zip(old, getattr(method, part).parameters(), new, strict=True):
                torch.testing.assert_close(found, momentum * teacher + (1 - momentum) * student)

    def test_the_teacher_has_no_gradient_but_its_own_statistics(self):
        """In train mode, as the reference code has it. Mutation: teachers in eval mode; a teacher that is trained."""
        method = made()
        method(some_views(), step_of(method)).loss.backward()
        teachers = (method.teacher_backbone, method.teacher_project, method.teacher_prototypes)
        assert all(p.grad is None and not p.requires_grad for teacher in teachers for p in teacher.parameters())
        counted = [m for m in method.teacher_backbone.modules() if isinstance(m, nn.BatchNorm2d)]
        assert counted and all(int(m.num_batches_tracked) == 1 for m in counted)
        assert method.encoder()[0] is method.teacher_backbone

    @pytest.mark.parametrize(("backbone", "norms"), [("conv4", 2), ("test_vit", 0)])
    def test_head(self, backbone: str, norms: int):
        """§3.2: three layers with GELU; BatchNorm for convolutional networks only; weights of deviation 0.02.

        Mutation: BatchNorm always or never; torch's own initial weights.
        """
        method = made(backbone, hidden_dim=64)
        assert sum(isinstance(m, nn.BatchNorm1d) for m in method.project) == norms
        assert sum(isinstance(m, nn.GELU) for m in method.project) == 2
        linear = [m for m in method.project if isinstance(m, nn.Linear)]
        assert [m.out_features for m in linear] == [64, 64, 8]
        assert all(float(m.weight.detach().std()) == pytest.approx(0.02, rel=0.1) for m in linear)
        assert all(m.bias is None or not m.bias.any() for m in linear)
        assert method.prototypes.bias is None

    def test_prototypes_stand_still_in_the_first_epoch(self):
        """Mutation: a last layer in the groups of the others."""
        method = made()
        training = Training(
            optimizer="adamw", lr=0.1, weight_decay=0.1, momentum=0.9, betas=(0.9, 0.999), warmup=0.0, final_lr_factor=0.0,
            clip_norm=0.0, batch_size=5, steps=4,
        )  # fmt: skip
        updates, moved = build(method.param_groups(), training), []
        for number in range(4):  # two epochs of two steps
            before = method.prototypes.weight.detach().clone(), method.project[-1].weight.detach().clone()
            method(some_views(), step_of(method)).loss.backward()
            set_rates(updates, training, number / 4, epoch=number // 2)
            updates.step()
            updates.zero_grad()
            assert not torch.equal(method.project[-1].weight, before[1])
            moved.append(not torch.equal(method.prototypes.weight, before[0]))
        assert moved == [False, False, True, True]


@pytest.mark.parametrize(
    ("broken", "lowest", "highest"),
    [({}, 0.5, 3.0), ({"centre_momentum": 1.0}, 0.0, 0.4), ({"teacher_temperature": 0.2}, 3.3, math.log(32))],
    ids=["whole", "no centring", "no sharpening"],
)
def test_both_ways_to_collapse(broken: dict[str, float], lowest: float, highest: float, digits: ImageSet):
    """§5.3: without the centre one prototype takes all, without sharpening the targets become uniform (log 32 = 3.47).

    Mutation: a centre that is not updated, or not used, fails the first case as well; so does no teacher temperature.
    """
    whole = {"num_local": 0, "num_prototypes": 32, "momentum": 0.9, "teacher_temperature": 0.04, "blur": False}
    method = made(**{**whole, **broken})
    updates = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    chains, step = DINO.chains(method.config, CARD), step_of(method, 0.2)
    for number in range(40):
        views = method.views(digits.at(torch.arange(32) + 32 * (number % 20)), Rng.from_seed(number), chains)
        output = method(views, step)
        output.loss.backward()
        updates.step()
        method.zero_grad()
        method.after_step(output.carry, step)
    assert lowest <= float(output.metrics["target_entropy"]) <= highest
    assert lowest <= float(output.metrics["mean_target_entropy"]) <= highest + 1e-5


def worker(rank: int, folder: str) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    method = made().eval()
    output = method(some_views(6).rows(3 * rank, 3 * rank + 3), step_of(method))
    torch.save(output.carry["centre"], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_one_centre(tmp_path: Path):
    """Mutation: each process's own mean."""
    other = processes.spawn(worker, args=(str(tmp_path),), nprocs=1, join=False)  # rank 0; this process is rank 1
    worker(1, str(tmp_path))
    other.join()
    method = made().eval()
    expected = method(some_views(6), step_of(method)).carry["centre"]
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt", weights_only=True), expected)
