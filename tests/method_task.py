"""How any method is built small, so that a test of all of them takes seconds: narrow heads, short queues, few prototypes."""

import tempfile
from functools import cache
from pathlib import Path

import safetensors.torch
import timm
import torch

from selfstudy import catalog
from selfstudy.method import Method, Requirements
from selfstudy.types import DataCard

NARROW: dict[str, object] = {
    "hidden_dim": 32, "out_dim": 16, "decoder_width": 32, "num_prototypes": 12, "num_heads": 2, "queue_size": 20,
    "bottleneck_dim": 16, "num_permutations": 12, "num_directions": 32, "latent_dim": 8, "decoder_dim": 32, "decoder_depth": 1,
    "num_local": 2, "teacher": "test_vit",
}  # fmt: skip


def needs(method: str) -> Requirements:
    """What the method asks for with its defaults, of grey pictures of 32 px."""
    kind = catalog.find("methods", method, Method)
    return kind.requires(kind.Config(), DataCard(40, 1, 32))


def overrides(method: str) -> dict[str, object]:
    """Settings by the names that users type."""
    fields = catalog.find("methods", method, Method).Config.__dataclass_fields__
    narrow = {f"method.{key}": value for key, value in NARROW.items() if key in fields}
    if "teacher" in fields:
        narrow["method.weights"] = str(teacher_file())
    return {"backbone": "test_vit" if needs(method).needs_tokens else "conv4", **narrow}


@cache
def teacher_file() -> Path:
    """Weights of a teacher in the true form, since none can be fetched. Equal in every process."""
    torch.manual_seed(0)
    path = Path(tempfile.mkdtemp()) / "model.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), path)
    return path
