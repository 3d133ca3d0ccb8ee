"""Optimiser, schedules, weight decay, teacher, health and checkpoints against hand-worked values and slow twins."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.method import ParamGroup
from selfstudy.nn import ema, heads
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.lars import LARS
from selfstudy.nn.schedules import cosine, warmup_cosine
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, Training, checkpoint, fit, resolve
from selfstudy.training.checkpoint import Position, Snapshot
from selfstudy.training.health import (
    COLLAPSED_BELOW,
    Watch,
    alignment,
    diagnose,
    effective_rank,
    spread,
    uniformity,
)
from selfstudy.training.optimizer import build, set_rates
from selfstudy.training.pretrain import build_method
from tests.reference import losses as twins


class TestLars:
    def test_two_steps_equal_the_twin(self):
        """Mutation: the raw gradient's norm in the ratio (lightly's variant); decay or scaling on 1-D weights."""
        random = np.random.default_rng(0)
        start = [random.normal(size=(3, 2)), random.normal(size=4)]
        gradients = [[random.normal(size=(3, 2)), random.normal(size=4)] for _ in range(3)]
        expected = twins.lars(start, gradients, lr=2.0, momentum=0.9, weight_decay=0.1)
        weights = [nn.Parameter(torch.tensor(w)) for w in start]
        optimizer = LARS(weights, lr=2.0, momentum=0.9, weight_decay=0.1)
        for step in gradients:
            for weight, gradient in zip(weights, step, strict=True):
                weight.grad = torch.tensor(gradient)
            optimizer.step()
        for weight, value in zip(weights, expected, strict=True):
            np.testing.assert_allclose(weight.detach().numpy(), value, rtol=1e-12)

    @pytest.mark.parametrize(("weight", "gradient", "expected"), [(0.0, 1.0, -0.1), (1.0, 0.0, 1.0)])
    def test_a_norm_of_zero_gives_a_ratio_of_one(self, weight: float, gradient: float, expected: float):
        """Mutation: without the guard the first is not moved and the second is NaN."""
        parameter = nn.Parameter(torch.full((1, 1), weight))
        parameter.grad = torch.full((1, 1), gradient)
        LARS([parameter], lr=0.1).step()
        assert float(parameter.detach()) == pytest.approx(expected)


class TestSchedules:
    @pytest.mark.parametrize(
        ("progress", "value"), [(0, 0.996), (0.25, 0.99658579), (0.5, 0.998), (0.75, 0.99941421), (1, 1.0)]
    )
    def test_teacher_momentum(self, progress: float, value: float):
        """BYOL §3.3. Mutation: a linear schedule agrees only at 0, 0.5 and 1."""
        assert cosine(0.996, 1.0)(progress) == pytest.approx(value, abs=1e-8)

    def test_warmup_then_cosine(self):
        """Mutation: a cosine over the whole run instead of over what the warm-up leaves."""
        factor = warmup_cosine(0.2, 0.1)
        assert [factor(p) for p in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.55, 0.1])
        assert warmup_cosine(0.0, 0.0)(0.0) == 1.0


class TestWeightDecay:
    def training(self, optimizer: Literal["sgd", "adamw", "lars"] = "adamw", factor: float = 10.0) -> Training:
        """The rate stays where it is, so that only weight decay changes; `warmup` is there to have no part in it."""
        return Training(
            optimizer=optimizer, lr=0.1, weight_decay=0.04, momentum=0.9, betas=(0.9, 0.999), warmup=0.3, final_lr_factor=1.0,
            final_weight_decay_factor=factor, clip_norm=0.0, batch_size=8, steps=100,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("progress", "value"), [(0.0, 0.04), (0.25, 0.09272078), (0.5, 0.22), (0.75, 0.34727922), (1.0, 0.4)]
    )
    def test_closed_form(self, progress: float, value: float):
        """0.04 + 0.36 (1 - cos(pi progress)) / 2. Mutation: linear; after the warm-up only; a group's scale forgotten."""
        scales = (1.0, 0.5, 0.0)
        groups = [ParamGroup(params=[nn.Parameter(torch.ones(2, 2))], weight_decay_scale=scale) for scale in scales]
        updates = build(groups, self.training())
        for earlier in (0.9, progress):  # what was set before has no part in it
            set_rates(updates, self.training(), earlier, epoch=0)
        found = [group["weight_decay"] for group in updates.param_groups]
        assert found == pytest.approx([value, value / 2, 0.0], abs=1e-8) and found[2] == 0.0

    @pytest.mark.parametrize("progress", [0.0, 0.1, 1 / 3, 0.7, 1.0])
    def test_a_factor_of_one_leaves_it_to_the_bit(self, progress: float):
        """It is the default. Mutation: w (1 + cos) / 2 + w (1 - cos) / 2, equal on paper only; a default of 0."""
        training = replace(self.training(factor=Training.final_weight_decay_factor), weight_decay=0.1)
        updates = build([ParamGroup(params=[nn.Parameter(torch.ones(1))], weight_decay_scale=0.3)], training)
        set_rates(updates, training, progress, epoch=0)
        assert updates.param_groups[0]["weight_decay"] == 0.1 * 0.3

    @pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
    def test_every_step_of_every_optimiser_uses_it(self, name: Literal["sgd", "adamw", "lars"]):
        """Each step is that of an optimiser of equal state that always had this decay. Mutation: the value of the start."""
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.randn(3, 4, generator=generator))
        updates = build([ParamGroup(params=[weight])], self.training(name))
        for progress, decay in ((0.4, 0.16437694), (0.5, 0.22), (1.0, 0.4)):
            other = nn.Parameter(weight.detach().clone())
            always = replace(self.training(name, factor=1.0), weight_decay=decay)
            twin = build([ParamGroup(params=[other])], always)
            Snapshot.take(nn.Module(), updates, Position()).restore(nn.Module(), twin)
            weight.grad = torch.randn(3, 4, generator=generator)
            other.grad = weight.grad.clone()
            set_rates(updates, self.training(name), progress, epoch=0)
            set_rates(twin, always, progress, epoch=0)
            updates.step()
            twin.step()
            torch.testing.assert_close(weight, other, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
    def test_an_interrupted_run_ends_in_the_bits_of_a_whole_one(self, name: str, digits: ImageSet, tmp_path: Path):
        """Mutation: a decay that grows from the last step's, which no checkpoint holds; one that no optimiser hears of."""
        images = digits.select(np.arange(64))
        settings = {
            "backbone": "mlp", "batch_size": 8, "epochs": 2, "held_out": 0.0, "optimizer": name, "weight_decay": 0.04,
        }  # fmt: skip

        def train(progress: Progress, factor: float = 10.0, folder: Path | None = None) -> dict[str, torch.Tensor]:
            run = resolve("simclr", {**settings, "final_weight_decay_factor": factor}, images.card, "test")
            method = build_method(run, images, Rng.from_seed(0))
            data = Data(images, run.chains(), Rng.from_seed(0))
            fit(method, data, run.training, device=torch.device("cpu"), progress=progress, folder=folder)
            return method.state_dict()

        quiet = Progress(quiet=True)
        whole, constant = train(quiet), train(quiet, factor=1.0)
        with pytest.raises(KeyboardInterrupt):
            train(Interrupting(quiet=True), folder=tmp_path)
        assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["step-000000008"]
        resumed = train(quiet, folder=tmp_path)
        assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
        assert not all(torch.equal(value, constant[key]) for key, value in whole.items())

    @pytest.mark.parametrize(
        "name", ["lr", "weight_decay", "final_lr_factor", "final_weight_decay_factor", "clip_norm"]
    )
    @pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
    def test_impossible_values_are_refused(self, name: str, value: float, digits: ImageSet):
        """Mutation: `value < 0` as the test, which lets NaN through; no check of what is too large to be a number."""
        with pytest.raises(UserError, match=rf"^study\.yaml: {name} is {value}, but must be"):
            resolve("simclr", {name: value}, digits.card, "study.yaml")

    def test_words_are_refused(self, digits: ImageSet):
        """Mutation: a field that takes anything."""
        with pytest.raises(UserError, match=r"^study\.yaml: final_weight_decay_factor is 'ten', but it should be"):
            resolve("simclr", {"final_weight_decay_factor": "ten"}, digits.card, "study.yaml")


class Interrupting(Progress):
    """Ctrl-C in the middle of 16 steps."""

    def update(self, done: int, note: str = "") -> None:
        if done > 64:
            raise KeyboardInterrupt


class TestTeacher:
    def test_one_step_is_exact_and_leaves_statistics_alone(self):
        """Mutation: student and teacher swapped; running statistics averaged too."""
        student = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        teacher = ema.teacher_of(student)
        with torch.no_grad():
            student[0].weight.add_(1.0)
            student[1].running_mean.add_(5.0)
        before = teacher[0].weight.clone()
        ema.follow(teacher, student, 0.9)
        torch.testing.assert_close(teacher[0].weight, 0.9 * before + 0.1 * student[0].weight)
        assert float(teacher[1].running_mean.sum()) == 0.0
        assert not any(parameter.requires_grad for parameter in teacher.parameters())


class TestHeads:
    def test_norms_and_biases(self):
        """Mutation: a last BatchNorm with a bias before it."""
        plain = heads.mlp(4, 8, 3)
        assert [type(layer) for layer in plain] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert plain[0].bias is None and plain[3].bias is not None
        normed = heads.mlp(4, 8, 8, 3, last_norm="batch_no_affine")
        assert normed[-2].bias is None and not normed[-1].affine and len(normed) == 8

    @pytest.mark.parametrize("width", [1, 12, 16, 32])
    @pytest.mark.parametrize("size", [8, 9, 28, 32, 33, 96])
    def test_decoder_makes_any_size(self, size: int, width: int):
        """Mutation: no stage narrower than 16, not even after a grid that is."""
        drawn = ConvolutionalDecoder(16, 3, size, width)(torch.randn(2, 16))
        assert drawn.shape == (2, 3, size, size)
        assert drawn.min() >= 0 and drawn.max() <= 1


class TestHealth:
    def test_spread_of_even_and_collapsed_embeddings(self):
        """Mutation: no normalisation of rows; a missing sqrt(D)."""
        even = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0)) * 7
        assert spread(even) == pytest.approx(1.0, abs=0.01)
        assert spread(torch.ones(10, 64) * torch.arange(1, 11)[:, None]) == pytest.approx(0.0, abs=1e-6)

    def test_effective_rank_uses_singular_values(self):
        """diag(3, 2, 1): 2.7495; their squares would give 2.2944 (the mutation)."""
        assert effective_rank(torch.diag(torch.tensor([3.0, 2.0, 1.0]))) == pytest.approx(2.7495, abs=1e-3)
        assert effective_rank(torch.ones(5, 4)) == pytest.approx(1.0, abs=1e-4)

    def test_collapse_takes_two_low_readings_of_the_projections(self):
        """Mutation: deciding by the features h, or after one reading."""
        watch, point, even = Watch(), torch.ones(32, 8), torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        watch.look({"z": point, "h": even})
        assert not watch.collapsed
        watch.look({"z": point, "h": even})
        assert watch.collapsed and watch.deciding_spread < COLLAPSED_BELOW
        message = str(diagnose("BYOL", "a teacher that sleeps", watch, 0.0, None)["message"])
        assert message.startswith("BYOL has collapsed") and message.endswith("to change: a teacher that sleeps.")
        watch.look({"z": even, "h": point})
        assert not watch.collapsed and diagnose("BYOL", "", watch, 1.0, None)["verdict"] == "healthy"

    def test_a_loss_that_stays_where_it_was_is_stuck(self):
        """Mutation: comparing with the wrong constant, or absolutely."""
        watch, even = Watch(), torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        watch.look({"z": even})
        stuck, moving = (diagnose("SwAV", "", watch, loss, math.log(3000)) for loss in (8.0, 7.8))
        assert "has not begun to learn: its loss is 8.000, and 8.006" in str(stuck["message"])
        assert (stuck["verdict"], moving["verdict"]) == ("warning", "healthy")

    def test_few_dimensions_are_warned_of(self):
        """Mutation: the rank of the features instead of the projections'."""
        watch, generator = Watch(), torch.Generator().manual_seed(0)
        flat = torch.randn(64, 2, generator=generator) @ torch.randn(2, 64, generator=generator)
        watch.look({"z": flat, "h": torch.randn(64, 64, generator=generator)})
        assert "few of their dimensions" in str(diagnose("SimCLR", "", watch, 1.0, None)["message"])

    def test_a_point_that_batch_norm_pulls_apart_is_warned_of(self):
        """SimSiam's last BatchNorm: spread 0.2, rank 1 to 2. It does not count as collapsed, since DINO passes through such a
        spell on its way. Mutation: a verdict from the limit of a point alone."""
        watch = Watch()
        rows = torch.nn.BatchNorm1d(64, affine=False)(torch.cat([torch.ones(126, 64), torch.full((2, 64), 5.0)]))
        for _ in range(2):
            watch.look({"z": rows + 0.01 * torch.randn(128, 64, generator=torch.Generator().manual_seed(0))})
        assert not watch.collapsed and diagnose("SimSiam", "", watch, -1.0, None)["verdict"] == "warning"

    def test_features_have_limits_of_their_own(self):
        """After a ReLU nothing is even: a spread of 0.25 is healthy there. Mutation: z's limits for both."""
        watch, generator = Watch(), torch.Generator().manual_seed(0)
        watch.look({"h": torch.randn(64, 32, generator=generator) * 0.25 + 1})
        assert 0.1 < watch.deciding_spread < 0.5 and diagnose("MAE", "", watch, 1.0, None)["verdict"] == "healthy"
        for _ in range(2):
            watch.look({"h": torch.ones(64, 32)})
        assert watch.collapsed

    def test_alignment_and_uniformity(self):
        """Four points of a square: -4.396349 (log((4 e^-4 + 2 e^-8) / 6), as t = 2). Mutation: distances instead of their squares."""
        square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        assert uniformity(square) == pytest.approx(-4.396349, abs=1e-5)
        assert uniformity(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-6)
        for second, expected in ((square, 0.0), (square.roll(1, 0), 2.0), (-square, 4.0)):
            assert alignment(torch.cat([3 * square, second]), 2) == pytest.approx(expected, abs=1e-6)
        assert set(Watch().look({"z": torch.cat([square, square])}, 2)) == {
            "z_std", "z_rank", "z_rank_share", "z_uniformity", "z_alignment",
        }  # fmt: skip


class TestCheckpoint:
    def snapshot(self, step: int) -> tuple[nn.Module, torch.optim.Optimizer, Snapshot]:
        torch.manual_seed(step)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return model, optimizer, Snapshot.take(model, optimizer, Position(step=step, skipped=[4], seconds=1.5))

    def test_save_and_load_restores_everything(self, tmp_path: Path):
        """Mutation: leaving out the optimiser's state."""
        model, optimizer, snapshot = self.snapshot(7)
        checkpoint.save(tmp_path, snapshot)
        loaded, complaints = checkpoint.load_latest(tmp_path)
        assert loaded is not None and complaints == []
        other, other_optimizer, _ = self.snapshot(8)
        assert loaded.restore(other, other_optimizer) == Position(step=7, skipped=[4], seconds=1.5)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.equal(mine, theirs)
            assert torch.equal(optimizer.state[mine]["exp_avg"], other_optimizer.state[theirs]["exp_avg"])
            assert torch.equal(optimizer.state[mine]["step"], other_optimizer.state[theirs]["step"])

    def test_a_damaged_checkpoint_costs_one_step_back(self, tmp_path: Path):
        for step in (5, 6, 7):
            checkpoint.save(tmp_path, self.snapshot(step)[2])
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000006", "step-000000007"]
        newest = tmp_path / "step-000000007" / "state.safetensors"
        newest.write_bytes(newest.read_bytes()[:-1] + b"\x00")
        loaded, complaints = checkpoint.load_latest(tmp_path)
        assert loaded is not None and loaded.position.step == 6
        assert len(complaints) == 1 and "step-000000007 is damaged" in complaints[0]

    def test_half_written_checkpoints_are_not_seen(self, tmp_path: Path):
        (tmp_path / ".writing-1").mkdir()
        (tmp_path / "step-000000003").mkdir()
        loaded, complaints = checkpoint.load_latest(tmp_path)
        assert loaded is None and len(complaints) == 1
