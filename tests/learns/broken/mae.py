"""MAE whose hidden patches are those of another image: the kept ones do not tell what to draw."""

from selfstudy.methods import mae
from selfstudy.types import Embedded, Output, Step, Views


class OthersPatches(mae.MAE):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        return super().objective(embedded, Views(views.index, {"base": views["base"].roll(1, 0)}), step)
