"""SwAV without equal shares: each view's own softmax is the code of the other, and one prototype takes all."""

import torch
from torch import Tensor

from selfstudy.methods import swav
from selfstudy.types import Step


class NoEquipartition(swav.SwAV):
    def codes_of(self, view: int, scores: Tensor, step: Step) -> Tensor:
        return torch.softmax(scores / self.config.epsilon, dim=1)
