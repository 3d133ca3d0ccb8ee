"""Rotation that turns nothing: all copies are upright, whatever angle they are said to have."""

from collections.abc import Mapping

from selfstudy.methods import rotation
from selfstudy.rng import Rng
from selfstudy.types import Batch, Views
from selfstudy.views import Chain


class Upright(rotation.Rotation):
    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        copies = super().views(batch, rng, chains)["turned"]
        return Views(batch.index, {"turned": copies[:, :1].expand_as(copies).clone()})
