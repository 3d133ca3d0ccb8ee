"""Context whose patches are shuffled: no patch lies where it is said to lie."""

from collections.abc import Mapping

import torch

from selfstudy.methods import context
from selfstudy.rng import Rng
from selfstudy.types import Batch, Views
from selfstudy.views import Chain


class Shuffled(context.Context):
    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        patches = super().views(batch, rng, chains)["patches"]
        order = rng.fork("shuffled").per_image(batch.index).permutation(patches.shape[1])
        return Views(batch.index, {"patches": patches[torch.arange(len(patches))[:, None], order]})
