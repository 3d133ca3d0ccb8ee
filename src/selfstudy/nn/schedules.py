"""Schedules: pure functions of progress in [0, 1], so that a resumed run has nothing to restore."""

import math
from collections.abc import Callable


def cosine(start: float, end: float) -> Callable[[float], float]:
    """Half a cosine from `start` at progress 0 to `end` at progress 1 (BYOL, Grill et al. 2020, for the momentum)."""
    return lambda progress: end - (end - start) * (math.cos(math.pi * progress) + 1) / 2


def warmup_cosine(warmup: float, final: float) -> Callable[[float], float]:
    """Factor on the peak learning rate: linear from 0 over the share `warmup`, then half a cosine down to `final`.

    Loshchilov and Hutter 2017 (cosine), Goyal et al. 2017 (warm-up). At progress 1 it is exactly `final`.
    """
    decay = cosine(1.0, final)

    def factor(progress: float) -> float:
        if progress < warmup:
            return progress / warmup
        return decay((progress - warmup) / (1.0 - warmup)) if warmup < 1.0 else 1.0

    return factor
