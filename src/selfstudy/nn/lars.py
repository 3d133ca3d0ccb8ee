"""LARS: each weight matrix's step is scaled to its own norm, for large batches.

Source  You, Gitman, Ginsburg 2017, arXiv:1708.03888, in the variant of FAIR's code (MoCo v3, MAE, Barlow Twins, VICReg):
        weight decay is added to the gradient before its norm is taken, and 1-D parameters follow plain SGD.
Kin     lightly scales by the raw gradient's norm and only where weight decay is not 0; solo-learn clips; apex scales
        every parameter. Learning rates do not carry over between the variants.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

TRUST = 0.001  # eta in all of FAIR's code


class LARS(Optimizer):
    """buffer <- momentum * buffer + q * (gradient + weight_decay * w); w <- w - lr * buffer.

    q = TRUST * |w| / |gradient + weight_decay * w|, or 1 where either norm is 0 and for parameters of one dimension,
    which do not decay either.
    """

    def __init__(self, params: Iterable, lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closures: fit knows none
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad
                if weight.ndim > 1:
                    update = update.add(weight, alpha=group["weight_decay"])
                    update = update * trust_ratio(weight, update)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                weight.sub_(state["momentum_buffer"].mul_(group["momentum"]).add_(update), alpha=group["lr"])


def trust_ratio(weight: Tensor, update: Tensor) -> Tensor:
    """TRUST * |weight| / |update|, and 1 where a norm is 0 (a 0-d tensor, so no device is waited for)."""
    weight_norm, update_norm = weight.norm(), update.norm()
    return torch.where((weight_norm > 0) & (update_norm > 0), TRUST * weight_norm / update_norm, 1.0)
