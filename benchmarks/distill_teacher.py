"""A teacher for the row `distill` of benchmarks.methods, where no published weights can be fetched.

timm's smallest ResNet, at the size and in the colours that it was made for, trained by SimCLR on the digits that all rows are
pretrained on: it knows what the row "simclr" could know, and no label.
"""

import tempfile
from functools import cache
from pathlib import Path

import safetensors.torch
import torch

from benchmarks.lightly_methods import EPOCHS
from selfstudy.backbones.timm import Timm
from selfstudy.images import load, split
from selfstudy.methods.simclr import SimCLR
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, fit, resolve
from selfstudy.weights import published_shape
from tests.learns.gates import settings_of

NAME = "test_resnet"  # tests/learns/gates.yaml names it too


@cache
def teacher() -> Path:
    """The file of its weights."""
    torch.manual_seed(0)
    made = published_shape(NAME, channels=3)
    assert isinstance(made.backbone, Timm)
    digits = load("mnist5k", image_size=made.feed.size, labelled=True)
    pool = digits.select(split(digits, test=1000, rng=Rng.from_seed(0)).train_rows).with_channels(3)
    settings = resolve("simclr", {**settings_of("simclr"), "backbone": NAME, "epochs": EPOCHS}, pool.card, "teacher")
    method = SimCLR(lambda: made.backbone, pool.card, SimCLR.Config(**settings.config))
    data = Data(pool, settings.chains(), Rng.from_seed(0))
    fit(method, data, settings.training, device=torch.device("cpu"), progress=Progress(quiet=True))
    path = Path(tempfile.mkdtemp()) / "teacher.safetensors"
    # Training lays weights out channel by channel; files hold them row by row.
    state = {name: value.contiguous() for name, value in made.backbone.model.state_dict().items()}
    safetensors.torch.save_file(state, path)
    return path
