"""Saliency: how much the score would change with each pixel: the size of its gradient.

Source  Simonyan, Vedaldi, Zisserman 2014, arXiv:1312.6034, §3 (the largest of the colours); Captum's Saliency.
Range   0 and more, in units of the score per unit of the pixel's value (black 0, white 1). It has no sign.
Limits  A pixel that is bright enough to have done its work has no gradient left: see integrated_gradients.
"""

from dataclasses import dataclass

from torch import Tensor

from selfstudy.explain._attribution import Attribution
from selfstudy.explain._questions import Question


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings."""


class Saliency(Attribution[Config]):
    Config = Config
    title = "saliency"
    signed = False

    def attribute(self, question: Question) -> Tensor:
        from captum.attr import Saliency as Captum

        views = question.views.clone().requires_grad_()
        return Captum(question.network).attribute(views, additional_forward_args=question.asked).amax(1)
