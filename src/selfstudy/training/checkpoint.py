"""Checkpoints from which a run goes on to the same bits: folders of safetensors and JSON, written whole or not at all.

Nothing random is stored, because nothing random has state. Two checkpoints are kept: a damaged one costs minutes.
"""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfstudy import files
from selfstudy.errors import RunError

KEPT = 2


@dataclass
class Position:
    """Where a run stands, beside its tensors."""

    step: int = 0
    skipped: list[int] = field(default_factory=list)  # steps left out because their loss or gradient was not finite
    seconds: float = 0.0
    low_in_a_row: int = 0  # of the collapse watch


@dataclass
class Snapshot:
    """Everything a run needs to go on from a step, copied."""

    position: Position
    tensors: dict[str, Tensor]

    @classmethod
    def take(cls, method: nn.Module, optimizer: Optimizer, position: Position) -> "Snapshot":
        tensors = {f"method.{name}": value.detach().clone() for name, value in method.state_dict().items()}
        for number, values in optimizer.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value).detach().clone()
        return cls(Position(**asdict(position)), tensors)

    def restore(self, method: nn.Module, optimizer: Optimizer) -> Position:
        """Put the run back to where the snapshot was taken; the snapshot itself stays usable."""
        method.load_state_dict(
            {k.removeprefix("method."): v for k, v in self.tensors.items() if k.startswith("method.")}
        )
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.tensors.items():
            if key.startswith("optimizer."):
                _, number, name = key.split(".", 2)
                state.setdefault(int(number), {})[name] = _laid_out_like(parameters[int(number)], value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return Position(**asdict(self.position))


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A copy with the parameter's strides: fused optimisers walk both in memory order, and a file has lost channels_last."""
    if value.shape != parameter.shape:
        return value.clone()
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def save(folder: Path, snapshot: Snapshot) -> None:
    """Write `folder`/step-NNN and remove all but the last two. A failure leaves the earlier ones as they were."""
    temporary = folder / f".writing-{uuid.uuid4().hex}"
    target = folder / f"step-{snapshot.position.step:09d}"
    if target.exists():
        return
    try:
        temporary.mkdir(parents=True)
        content = safetensors.torch.save({name: value.cpu().contiguous() for name, value in snapshot.tensors.items()})
        files.write_bytes(temporary / "state.safetensors", content)
        checksum = hashlib.sha256(content).hexdigest()
        files.write_json(temporary / "position.json", {**asdict(snapshot.position), "sha256": checksum})
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(
            f"cannot write the checkpoint {target}: {error.strerror}. Earlier checkpoints are kept"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_latest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for each damaged one that was passed over."""
    complaints: list[str] = []
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            record: dict[str, Any] = json.loads((candidate / "position.json").read_text(encoding="utf-8"))
            content = (candidate / "state.safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != record.pop("sha256"):
                raise ValueError("its checksum does not match")
            return Snapshot(Position(**record), safetensors.torch.load(content)), complaints
        except (OSError, ValueError, KeyError, TypeError) as error:
            complaints.append(f"the checkpoint {candidate.name} is damaged ({error}); going back to an earlier one")
    return None, complaints
