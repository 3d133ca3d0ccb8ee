"""Killed with SIGKILL at random moments, a run goes on to the bits of an uninterrupted one. For every method."""

import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selfstudy import catalog
from selfstudy.images import ImageSet, load
from selfstudy.progress import Progress
from selfstudy.training import along, pretrain, resolve
from tests.learns.gates import is_due
from tests.method_task import needs, overrides

ALWAYS = (
    "simclr",
    "byol",
    "autoencoder",
)  # of the others a fifth a day, and those that changed: five kills take a while
KILLS, STEPS = 5, 4 * (1797 * 95 // 100 // 32)
# A fork server imports torch once, so that a restart costs a tenth of a second; Windows has none and starts anew.
CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


def run(method: str, folder: Path, checkpoint_seconds: float, keep_at: Sequence[float] = ()) -> None:
    """A short run on scikit-learn's digits, the same whoever calls."""
    torch.set_num_threads(1)
    images = pictures(method)
    own = {"batch_size": 32, "epochs": 4, "seed": 3} | overrides(method)
    settings = resolve(method, own, images.card, "test")
    pretrain(
        settings,
        images,
        folder,
        progress=Progress(quiet=True),
        device=torch.device("cpu"),
        checkpoint_seconds=checkpoint_seconds,
        keep_at=keep_at,
    )


def pictures(method: str) -> ImageSet:
    """Digits at the smallest size the method takes; with colours of no meaning where it asks for colours."""
    asked = needs(method)
    images = load("digits", image_size=max(28 if asked.needs_tokens else 8, asked.smallest_image), labelled=False)
    if asked.channels and 1 not in asked.channels:
        images = replace(images, images=torch.cat([images.images.roll(shift, 3) for shift in range(3)], 1))
    return images


@pytest.fixture(scope="module", autouse=True)
def _preloaded():
    if CONTEXT.get_start_method() == "forkserver":
        CONTEXT.set_forkserver_preload(
            ["selfstudy.training", "selfstudy.methods.simclr", "sklearn.datasets", "tests.resume.test_kill"]
        )


@pytest.mark.parametrize(
    "method", [method for method in catalog.names("methods") if method in ALWAYS or is_due(method)]
)
def test_killed_run_ends_in_the_same_bits(method: str, tmp_path: Path):
    """Mutation: leaving the optimiser, the teacher or the step out of the checkpoint; a sampler that starts anew.

    The killed run keeps its encoders on the way, the whole one does not: a method whose `encoder` draws or changes anything.
    """
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(method, whole, 1e9)

    moments = random.Random(f"kill {method}")
    for target in sorted(moments.sample(range(1, STEPS - 20), KILLS)):
        process = CONTEXT.Process(target=run, args=(method, broken, 0.0, along.SHARES))
        process.start()
        while process.exitcode is None and _step_reached(broken) < target:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))  # anywhere in what follows, the writing of a checkpoint included
        assert process.exitcode is None, "the run was too short to be killed on its way"
        process.kill()
        process.join()
    run(method, broken, 0.0, along.SHARES)
    assert (broken / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    assert _logged(broken) == _logged(whole)
    assert not (broken / "checkpoint").exists()


def _step_reached(folder: Path) -> int:
    return max((int(path.name[5:]) for path in (folder / "checkpoint").glob("step-*")), default=0)


def _logged(folder: Path) -> list[dict[str, float]]:
    """The log without its clock."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_interrupt_keeps_what_was_done(tmp_path: Path):
    """Ctrl-C writes a checkpoint; the same call goes on from it."""
    import signal

    if sys.platform == "win32":
        pytest.skip("Windows has no SIGINT for one process")
    process = CONTEXT.Process(target=run, args=("simclr", tmp_path, 1e9))
    process.start()
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / "metrics.jsonl").exists() or len((tmp_path / "metrics.jsonl").read_text(encoding="utf-8")) < 500
    ):
        assert time.monotonic() < deadline and process.exitcode is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode != 0
    assert list((tmp_path / "checkpoint").glob("step-*"))
