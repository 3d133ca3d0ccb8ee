"""DCL whose denominator has the wrong sign: everything is drawn together, negatives too."""

import torch

from selfstudy.methods import dcl
from selfstudy.types import Embedded, Output, Step, Views


class WrongSign(dcl.DCL):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])
        z = self.project[:-1](h)
        unit = torch.nn.functional.normalize(z, dim=1)
        return Output(loss=-(unit @ unit.T).mean(), watch={"h": h, "z": z}, watched_views=2)
