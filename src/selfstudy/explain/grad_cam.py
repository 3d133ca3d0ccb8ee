"""Grad-CAM: where the last map of features that still knows places speaks for the score.

Source  Selvaraju et al., ICCV 2017, arXiv:1610.02391, Eq. 1-2: each feature weighs as its mean gradient, what is negative is
        left out, and the small map is enlarged. For vision transformers the tokens of the last layer through which
        patches still reach the score are the map, as in Gildenblat's pytorch-grad-cam.
Range   0 and more. As coarse as that map: 4 x 4 for a ResNet-18 of 32 px.
Layer   found, not named: of all modules that give a map of places, the last with a gradient. Captum's LayerGradCam on
        that layer gives the same (tested), but must be told which, and knows no tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone
from selfstudy.errors import UserError
from selfstudy.explain._attribution import Attribution
from selfstudy.explain._questions import Question


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings."""


class GradCam(Attribution[Config]):
    Config = Config
    title = "Grad-CAM"
    signed = False

    def attribute(self, question: Question) -> Tensor:
        values, gradients = last_map(question)
        weights = gradients.mean((2, 3), keepdim=True)
        cam = (weights * values).sum(1, keepdim=True).relu()
        return F.interpolate(cam, size=question.views.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def last_map(question: Question) -> tuple[Tensor, Tensor]:
    """The last map of places and its gradient, [N, c, h, w] each with h * w > 1. UserError if the backbone has none."""
    backbone, views = question.network.backbone, question.views.clone().requires_grad_()
    as_map = _reader(backbone, views)
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad and as_map(output) is not None:
            outputs.append(output)

    hooks = [module.register_forward_hook(keep) for module in backbone.modules()]
    try:
        score = question.network(views, question.asked).sum()
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(score, outputs, allow_unused=True) if outputs else ()
    for output, gradient in zip(reversed(outputs), reversed(gradients), strict=True):
        if gradient is None:
            continue
        values, slopes = as_map(output), as_map(gradient)
        if values is not None and slopes is not None and bool(slopes.any()):
            return values.detach(), slopes
    raise UserError(
        f"backbone {backbone.spec.name} has no map of places that Grad-CAM could read; use integrated_gradients or occlusion"
    )


def _reader(backbone: Backbone, views: Tensor) -> Callable[[Tensor], Tensor | None]:
    """What makes of a module's output the map [N, c, h, w] that it is, or None if it is none."""
    count, channels, height, width = views.shape
    try:
        patch = backbone.patch_size
    except UserError:  # a network of convolutions

        def grid(output: Tensor) -> Tensor | None:
            if output.ndim != 4 or len(output) != count or output.shape[1:] == (channels, height, width):
                return None  # the last is the picture itself, normalised
            rows, columns = output.shape[2:]
            # Of the picture's proportions: channels that come last, as in Swin, are no side of it.
            return output if rows * columns > 1 and abs(rows * width - columns * height) < max(height, width) else None

        return grid
    rows, columns = -(-height // patch), -(-width // patch)

    def tokens(output: Tensor) -> Tensor | None:
        if output.shape != (count, 1 + rows * columns, backbone.dim):
            return None
        return output[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))

    return tokens
