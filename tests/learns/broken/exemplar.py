"""Exemplar whose copies are not of one image: in every triplet, what is drawn near are two images like any other."""

import torch

from collections.abc import Mapping

from selfstudy.methods import exemplar
from selfstudy.rng import Rng
from selfstudy.types import Batch, Views
from selfstudy.views import Chain


class OthersCopies(exemplar.Exemplar):
    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        copies = super().views(batch, rng, chains)["copies"].unbind(1)
        return Views(batch.index, {"copies": torch.stack([copy.roll(by, 0) for by, copy in enumerate(copies)], dim=1)})
