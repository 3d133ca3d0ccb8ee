"""Exemplar whose labels are dealt out anew at every step: no copy can be known by its class."""

from selfstudy.methods import exemplar
from selfstudy.types import Embedded, Output, Step, Views


class DealtLabels(exemplar.Exemplar):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        dealt = step.rng.fork("dealt").per_image(views.index).integers(0, self.data.num_images)[:, 0]
        return super().objective(embedded, Views(dealt, views.tensors), step)
