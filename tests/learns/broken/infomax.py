"""InfoMax whose pairs are no pairs: each upper half is scored with the lower half of another image, so there is nothing to know."""

from selfstudy.methods import infomax
from selfstudy.types import Embedded, Output, Step, Views


class OthersHalves(infomax.InfoMax):
    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        return super().objective({"upper": embedded["upper"], "lower": embedded["lower"].roll(1, 0)}, views, step)
