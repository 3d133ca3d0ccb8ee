"""Losses in float32: similarities near 1 cannot be ranked in 16 bits."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_float32(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function of tensors outside autocast, with 16-bit tensor arguments widened to float32 (float64 stays)."""

    @functools.wraps(function)
    def wrapped(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        widened = [widen(a) if isinstance(a, Tensor) else a for a in arguments]
        device = next((a.device.type for a in arguments if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(*widened, **named)  # type: ignore[arg-type]

    return wrapped


def widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
