"""MoCo v3 without negatives, teacher and predictor: only the other view is drawn near."""

import torch
import torch.nn.functional as F

from selfstudy.methods import mocov3
from selfstudy.types import Embedded, Output, Step, Views


class AttractionOnly(mocov3.MoCoV3):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])
        z = self.project[3](F.relu(self.project[0](h)))  # without the norms that hold columns apart
        first, second = z.chunk(2)
        return Output(loss=-F.cosine_similarity(first, second).mean(), watch={"h": h, "z": z}, watched_views=2)
