"""SeLa without equal shares: each image gets the label that the network likes best, and all get the same."""

from torch import Tensor

from selfstudy.methods import sela


class NoEquipartition(sela.SeLa):
    def relabel(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)
