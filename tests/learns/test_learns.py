"""Every method learns: its linear probe beats the untrained encoder's on real digits, by a margin fixed from three seeds.

The margins are a third of the smallest gain that seeds 0, 1 and 2 showed (docs/log.md, 2026-11-21), so that a method that
stopped learning fails and one with another seed's luck does not.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfstudy import catalog, config
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.images import ImageSet, draw_labels, split
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import pretrain, resolve, untrained

CPU = torch.device("cpu")
MARGINS = {"simclr": 0.11, "byol": 0.04, "autoencoder": 0.07}  # of accuracy with ten labels per class
NUM_IMAGES, EPOCHS = 1500, 6


def accuracy(images: ImageSet, values: torch.Tensor) -> float:
    """Of a linear probe with ten labels per class, the mean of five draws."""
    rng = Rng.from_seed(5)
    parts = split(images, test=500, rng=rng)
    kind = catalog.find("evaluation", "linear", Protocol)
    found = []
    for draw in range(5):
        task = Task(
            images=images, train_rows=torch.from_numpy(draw_labels(images, parts, 10, draw, rng).rows), encoder=None, features=values,
            test_rows=torch.from_numpy(parts.test_rows), pool_rows=torch.from_numpy(parts.train_rows),
        )  # fmt: skip
        found.append(kind(config.validate(kind.Config, {"C": [0.1]}, "test")).run(task, rng).metrics["accuracy"])
    return float(np.mean(found))


def gain(method: str, images: ImageSet, folder: Path, seed: int) -> float:
    """Accuracy above the untrained encoder's. The same views for every method: those of the built-in study."""
    overrides = {
        "backbone": "conv4",
        "views": "digits",
        "epochs": EPOCHS,
        "batch_size": 64,
        "lr": 2e-3,
        "lr_scaling": "none",
        "seed": seed,
    }
    own = {"byol": {"method.momentum": 0.95, "method.hidden_dim": 256, "method.out_dim": 64}}.get(method, {})
    run = pretrain(
        resolve(method, overrides | own, images.card, "test"), images, folder, progress=Progress(quiet=True), device=CPU
    )
    assert run.card["status"] == "done" and run.card["health"]["verdict"] != "collapsed"
    before = untrained("conv4", "small", images, seed)
    return accuracy(images, features(run.encoder, images, CPU, 512)) - accuracy(
        images, features(before, images, CPU, 512)
    )


@pytest.fixture(scope="module")
def some_digits(mnist: ImageSet) -> ImageSet:
    return mnist.select(
        draw_labels(mnist, split(mnist, test=1000, rng=Rng.from_seed(0)), NUM_IMAGES // 10, 0, Rng.from_seed(0)).rows
    )


def test_every_method_has_a_margin():
    assert set(MARGINS) == set(catalog.names("methods"))


@pytest.mark.parametrize("method", catalog.names("methods"))
def test_beats_the_untrained_encoder(method: str, some_digits: ImageSet, tmp_path: Path):
    """Mutation: a learning rate of 0, or an objective whose sign is turned, gives no gain."""
    assert gain(method, some_digits, tmp_path, seed=0) > MARGINS[method]
