"""Colorization whose colours are those of another image: the grey image does not tell them."""

from collections.abc import Mapping

from selfstudy.methods import colorization
from selfstudy.rng import Rng
from selfstudy.types import Batch, Views
from selfstudy.views import Chain


class OthersColours(colorization.Colorization):
    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        seen = super().views(batch, rng, chains)
        return Views(batch.index, {"lightness": seen["lightness"], "colours": seen["colours"].roll(1, 0)})
