"""BYOL broken on purpose: no predictor, no stop-gradient, and every projection drawn to the batch's mean direction."""

import torch.nn.functional as F

from selfstudy.methods import byol
from selfstudy.types import Embedded, Output, Step, Views


class BrokenBYOL(byol.BYOL):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        first, second = (F.normalize(self.project(embedded[name]), dim=1) for name in ("first", "second"))
        mean = F.normalize((first + second).mean(0), dim=0)
        loss = 4 - (2 * first * second).sum(1).mean() - (first @ mean).mean() - (second @ mean).mean()
        return Output(loss=loss, watch={"h": embedded["first"], "z": first})
