"""Teachers: copies of a network that follow it slowly and get no gradient."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def teacher_of(student: Network) -> Network:
    """A copy with equal weights that no optimiser sees. It stays in train mode: BatchNorm sees its own batches."""
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: Tensor | float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, parameters only.

    BatchNorm's running statistics are not averaged but come from the teacher's own forward passes, as in the reference
    code of MoCo and BYOL.
    """
    teachers: list[Tensor] = list(teacher.parameters())
    students: list[Tensor] = list(student.parameters())
    torch._foreach_lerp_(teachers, students, 1.0 - float(momentum))
