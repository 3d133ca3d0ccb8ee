"""NNCLR without negatives: every view is drawn to the other view's neighbour, and nothing is pushed away."""

import torch
import torch.nn.functional as F

from selfstudy.methods import nnclr
from selfstudy.types import Embedded, Output, Step, Views


class AttractionOnly(nnclr.NNCLR):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])
        z = self.project[6](F.relu(self.project[3](F.relu(self.project[0](h)))))  # without norms
        first, second = F.normalize(z, dim=1).chunk(2)
        neighbours = nnclr.nearest(first, self.queue.rows, self.queue.of_others(views.index))
        return Output(
            loss=-F.cosine_similarity(second, neighbours).mean(), carry={"rows": first.detach(), "index": views.index},
            watch={"h": h, "z": z}, watched_views=2,
        )  # fmt: skip
