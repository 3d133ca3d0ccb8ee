"""Projectors and predictors: small perceptrons on top of a backbone's features."""

import itertools
from typing import Literal

from torch import nn

HiddenNorm = Literal["none", "batch"]
Norm = Literal["none", "batch", "batch_no_affine"]
Activation = Literal["relu", "gelu"]


def mlp(
    *widths: int,
    hidden_norm: HiddenNorm = "batch",
    last_norm: Norm = "none",
    hidden_bias: bool = False,
    last_bias: bool = True,
    activation: Activation = "relu",
) -> nn.Sequential:
    """`mlp(128, 512, 64)`: Linear, BatchNorm, ReLU for every width but the last, then Linear.

    [N, widths[0]] to [N, widths[-1]]. BatchNorm needs at least two rows. A bias before BatchNorm is cancelled by it,
    so hidden layers have none unless a paper's parameter count asks for it (without BatchNorm they always have one); a
    last BatchNorm drops the last bias too.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths[:-1]):
        layers.append(nn.Linear(width_in, width_out, bias=hidden_bias or hidden_norm == "none"))
        if hidden_norm == "batch":
            layers.append(nn.BatchNorm1d(width_out))
        layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.GELU())
    layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias and last_norm == "none"))
    if last_norm != "none":
        layers.append(nn.BatchNorm1d(widths[-1], affine=last_norm == "batch"))
    return nn.Sequential(*layers)
