"""What happens when training goes wrong: numbers that are not finite, collapse, a full disk."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfstudy.errors import RunError
from selfstudy.images import ImageSet
from selfstudy.method import ParamGroup
from selfstudy.methods.simclr import SimCLR
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, Training, fit, pretrain, resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Embedded, Output, Step, Views

CPU = torch.device("cpu")


class Poisoned(SimCLR):
    """SimCLR whose gradient is not a number at the given steps."""

    bad_steps: tuple[int, ...] = ()

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        output = super().objective(embedded, views, step)
        factor = float("nan") if step.number in self.bad_steps else 1.0
        return replace(output, loss=output.loss * factor)


def poisoned(digits: ImageSet, bad_steps: tuple[int, ...]) -> tuple[Poisoned, Data, Training]:
    overrides = {
        "backbone": "conv4",
        "batch_size": 32,
        "images_seen": 32 * 40,
        "method.hidden_dim": 16,
        "method.out_dim": 8,
    }
    settings = resolve("simclr", overrides, digits.card, "test")
    rng = Rng.from_seed(0)
    method = build_method(settings, digits, rng)
    method.__class__ = Poisoned
    method.bad_steps = bad_steps
    return method, Data(digits, settings.chains(), rng), settings.training


def test_a_bad_batch_is_left_out_and_said(digits: ImageSet):
    """The weights are those of a run that never saw the batch. Mutation: going on with the poisoned weights."""
    method, data, training = poisoned(digits, (7,))
    outcome = fit(method, data, training, device=CPU, progress=Progress(quiet=True))
    assert outcome.status == "done" and outcome.steps == 40
    assert outcome.skipped_steps == [7]
    assert "not finite at step 7" in outcome.notes[0]
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


def test_a_run_of_bad_batches_stops_in_words(digits: ImageSet):
    method, data, training = poisoned(digits, tuple(range(5, 40)))
    with pytest.raises(RunError, match=r"at step 8, after 3 batches were already left out. Usual causes"):
        fit(method, data, training, device=CPU, progress=Progress(quiet=True))


class TestCollapse:
    """A run whose embeddings become one point is stopped, kept, and explained: the fashion study was told nothing."""

    broken = str(Path(__file__).parents[1] / "learns" / "broken" / "byol.py")
    overrides = {"backbone": "conv4", "batch_size": 128, "epochs": 12, "lr": 1e-2, "lr_scaling": "none", "warmup_epochs": 0,
                 "method.hidden_dim": 64, "method.out_dim": 32}  # fmt: skip

    def run(self, method: str, images: ImageSet, folder: Path, **changed: object) -> tuple[dict, Training]:
        settings = resolve(method, self.overrides | changed, images.card, "test")
        made = pretrain(settings, images, folder, progress=Progress(quiet=True), device=CPU)
        return dict(made.card), settings.training

    def test_stops_and_says_so(self, digits: ImageSet, tmp_path: Path):
        """Mutation: watching the features h, which the loss does not flatten, instead of the projections z."""
        card, training = self.run(self.broken, digits, tmp_path)
        assert card["status"] == "collapsed" and card["steps"] < training.steps
        assert "has collapsed: every image now has nearly the same embedding" in card["health"]["message"]
        assert (tmp_path / "encoder.safetensors").exists()

    def test_goes_on_when_told_to(self, digits: ImageSet, tmp_path: Path):
        card, training = self.run(self.broken, digits, tmp_path, on_collapse="continue")
        assert card["steps"] == training.steps and card["status"] == "collapsed"

    def test_a_healthy_run_raises_no_alarm(self, digits: ImageSet, tmp_path: Path):
        card, _ = self.run("byol", digits, tmp_path, lr=1e-3, epochs=6)
        assert card["status"] == "done" and card["health"]["verdict"] != "collapsed"


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from selfstudy.errors import RunError
from selfstudy.images import load
from selfstudy.progress import Progress
from selfstudy.training import pretrain, resolve
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
images = load("digits", image_size=8)
settings = resolve("simclr", {"backbone": "conv4", "batch_size": 64, "epochs": 4}, images.card, "test")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # what a full disk does to a file of weights
try:
    pretrain(settings, images, Path(sys.argv[1]), progress=Progress(quiet=True), device=torch.device("cpu"), checkpoint_seconds=0.0)
except RunError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file size to stand in for a full disk")
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path: Path):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "cannot write" in result.stdout and "make room" in result.stdout
    assert not list((tmp_path / "checkpoint").glob("step-*"))


def test_frozen_groups_do_not_move_before_their_epoch(digits: ImageSet):
    """Mutation: dropping the gradient before the backward pass instead of after it."""

    class Frozen(SimCLR):
        def param_groups(self):
            projector = list(self.project.parameters())
            return [
                ParamGroup(params=list(self.backbone.parameters())),
                ParamGroup(params=projector, freeze_until_epoch=1),
            ]

    method, data, training = poisoned(digits, ())
    method.__class__ = Frozen
    before = [p.clone() for p in method.project.parameters()], [p.clone() for p in method.backbone.parameters()]
    steps = data.steps_per_epoch(training.batch_size)
    fit(method, data, replace(training, steps=steps), device=CPU, progress=Progress(quiet=True))
    assert all(torch.equal(a, b) for a, b in zip(before[0], method.project.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before[1], method.backbone.parameters(), strict=True))
