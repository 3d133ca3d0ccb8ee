"""Optimisers, their rates and weight decay: built from a method's parameter groups, set anew at every step."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from selfstudy.method import ParamGroup
from selfstudy.nn.lars import LARS
from selfstudy.nn.schedules import cosine, warmup_cosine
from selfstudy.training.settings import Training


def build(groups: Sequence[ParamGroup], training: Training) -> Optimizer:
    """The optimiser, fused where torch offers it (2.7x on CPUs). Rates and weight decay come from `set_rates`."""
    options = [
        {
            "params": list(group.params),
            "weight_decay": training.weight_decay * group.weight_decay_scale,
            "weight_decay_scale": group.weight_decay_scale,
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
    """Set every group's learning rate and weight decay for this step and drop the gradients of frozen groups.

    Gives the main rate. Weight decay follows half a cosine over the whole training, the warm-up included (DINO, Caron et al.
    2021, §3.2 and reference code). A pure function of the step, so a resumed run has no scheduler to restore.
    """
    rate = training.lr * warmup_cosine(training.warmup, training.final_lr_factor)(progress)
    decay = training.weight_decay * cosine(1.0, training.final_weight_decay_factor)(progress)
    for group in optimizer.param_groups:
        group["lr"] = (training.lr if group["lr_fixed"] else rate) * group["lr_scale"]
        group["weight_decay"] = decay * group["weight_decay_scale"]
        if epoch < group["freeze_until_epoch"]:
            for parameter in group["params"]:
                parameter.grad = None  # optimisers pass over parameters without a gradient
    return rate


def parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
