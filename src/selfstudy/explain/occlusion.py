"""Occlusion: how much the score falls when a square of the picture is hidden. No gradient is needed.

Source  Zeiler and Fergus, ECCV 2014, arXiv:1311.2901, §4.2; Captum's Occlusion. A pixel has the mean over all squares
        that hide it; what hides is the mean colour of the training images.
Range   in units of the score: positive where hiding lowers it.
Cost    about (1 / stride)^2 passes for every picture.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from selfstudy.explain._attribution import INNER_BATCH, Attribution
from selfstudy.explain._questions import Question


@dataclass(frozen=True, kw_only=True)
class Config:
    window: Annotated[float, Field(gt=0, le=1)] = 0.22  # of the side; the paper hides 50 of 225 pixels
    stride: Annotated[float, Field(gt=0, le=1)] = 0.11  # of the side: squares overlap by half


class Occlusion(Attribution[Config]):
    Config = Config
    title = "occlusion"
    signed = True

    def attribute(self, question: Question) -> Tensor:
        from captum.attr import Occlusion as Captum

        _, channels, height, width = question.views.shape
        window = min(height, width, max(1, round(self.config.window * width)))
        stride = min(window, max(1, round(self.config.stride * width)))
        found = Captum(question.network).attribute(
            question.views, sliding_window_shapes=(channels, window, window), strides=(channels, stride, stride),
            baselines=question.baseline.expand_as(question.views), additional_forward_args=question.asked,
            perturbations_per_eval=max(1, INNER_BATCH // len(question.views)),
        )  # fmt: skip
        return found.mean(1)  # all colours are hidden together and have the same value
