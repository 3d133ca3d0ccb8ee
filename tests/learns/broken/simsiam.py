"""SimSiam without stop-gradient and predictor (paper §4.1): both views may move, and meet in one point."""

import torch
import torch.nn.functional as F

from selfstudy.methods import simsiam
from selfstudy.types import Embedded, Output, Step, Views


class NoStopGradient(simsiam.SimSiam):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])
        z = self.predict[-1](F.relu(self.predict[0](self.project[:-1](h))))  # without the norms that hold columns apart
        first, second = z.chunk(2)
        return Output(loss=-F.cosine_similarity(first, second).mean(), watch={"h": h, "z": z}, watched_views=2)
