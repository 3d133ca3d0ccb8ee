"""Autoencoder that is asked for another image than the one it was shown: what it sees does not tell what to draw."""

from selfstudy.methods import autoencoder
from selfstudy.types import Embedded, Output, Step, Views


class OthersImage(autoencoder.Autoencoder):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        return super().objective(embedded, Views(views.index, {"base": views["base"].roll(1, 0)}), step)
