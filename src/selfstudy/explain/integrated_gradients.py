"""Integrated gradients: each pixel's share of the score, gathered on the way from a picture of the mean colour.

Source  Sundararajan, Taly, Yan, ICML 2017, arXiv:1703.01365, Eq. 1-2; Captum's IntegratedGradients (Gauss-Legendre).
Range   in units of the score, with a sign. All pixels add up to the score less that of the mean colour (completeness);
        the table shows how closely: raise `steps` where `total` and that difference disagree.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from selfstudy.explain._attribution import INNER_BATCH, Attribution
from selfstudy.explain._questions import Question


@dataclass(frozen=True, kw_only=True)
class Config:
    steps: Annotated[int, Field(ge=2)] = 32  # of the integral; the paper: 20 to 300 come within 5 %


class IntegratedGradients(Attribution[Config]):
    Config = Config
    title = "integrated gradients"
    signed = True

    def attribute(self, question: Question) -> Tensor:
        from captum.attr import IntegratedGradients as Captum

        views = question.views.clone().requires_grad_()
        return Captum(question.network).attribute(
            views, baselines=question.baseline.expand_as(views), additional_forward_args=question.asked,
            n_steps=self.config.steps, internal_batch_size=max(INNER_BATCH, len(views)),
        ).sum(1)  # fmt: skip
