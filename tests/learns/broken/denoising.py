"""Denoising autoencoder that is asked for another image than the one it was shown spoiled."""

from selfstudy.methods import denoising
from selfstudy.types import Embedded, Output, Step, Views


class OthersImage(denoising.Denoising):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        return super().objective(embedded, Views(views.index, {"clean": views["clean"].roll(1, 0)}), step)
