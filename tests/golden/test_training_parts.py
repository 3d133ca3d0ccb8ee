"""Optimiser, schedules, teacher, health and checkpoints against hand-worked values and slow twins."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfstudy.nn import ema, heads
from selfstudy.nn.decoder import ConvolutionalDecoder
from selfstudy.nn.lars import LARS
from selfstudy.nn.schedules import cosine, warmup_cosine
from selfstudy.training import checkpoint
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

    @pytest.mark.parametrize("size", [8, 9, 28, 32, 33, 96])
    def test_decoder_makes_any_size(self, size: int):
        drawn = ConvolutionalDecoder(16, 3, size, width=32)(torch.randn(2, 16))
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
