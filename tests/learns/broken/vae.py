"""Beta-VAE that is asked for another image than the one it was shown: no code is worth its divergence."""

from selfstudy.methods import vae
from selfstudy.types import Embedded, Output, Step, Views


class OthersImage(vae.VAE):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        return super().objective(embedded, Views(views.index, {"base": views["base"].roll(1, 0)}), step)
