"""examples/minimal.py is SimCLR as the package has it: the same loss, and its training teaches the encoder something."""

import importlib.util
from pathlib import Path

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from selfstudy.methods.simclr import nt_xent

PATH = Path(__file__).parents[2] / "examples" / "minimal.py"


@pytest.fixture(scope="module")
def minimal():
    spec = importlib.util.spec_from_file_location("minimal", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loss_is_the_packages(minimal) -> None:
    z = torch.randn(10, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(minimal.nt_xent(z), nt_xent(z, minimal.TEMPERATURE))


def test_it_learns(minimal, monkeypatch: pytest.MonkeyPatch) -> None:
    """One nearest neighbour, 10 labels per class. Mutation: a learning rate of 0, or the gradient never applied."""
    monkeypatch.setattr(minimal, "EPOCHS", 3)
    images, labels = minimal.load()
    some = torch.cat([torch.nonzero(labels == digit)[:100, 0] for digit in range(10)])
    images, labels = images[some], labels[some]

    def accuracy(encoder: torch.nn.Module) -> float:
        with torch.no_grad():
            features = torch.nn.functional.normalize(encoder.eval()(images), dim=1).numpy()
        known = torch.arange(1000) % 100 < 10
        model = KNeighborsClassifier(1).fit(features[known], labels[known])
        return float(model.score(features[~known], labels[~known]))

    torch.manual_seed(0)
    assert accuracy(minimal.pretrain(images)) > accuracy(minimal.Encoder()) + 0.1
