"""fashionmnist: Fashion-MNIST, 70,000 grey product photographs of 28 x 28 pixels in 10 classes, 10,000 of them to test.

Source  Xiao, Rasul, Vollgraf, arXiv:1708.07747. Read and fetched (31 MB) by torchvision.
"""

from dataclasses import dataclass

from selfstudy.images._batches import idx_files
from selfstudy.images._published import Place
from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Fashionmnist(Source):
    """`fashionmnist`, or `fashionmnist:FOLDER` with `FashionMNIST/raw` in it. The split is official."""

    fashionmnist: Place = ""

    def listing(self, labelled: bool) -> Listing:
        from torchvision.datasets import FashionMNIST

        return idx_files(FashionMNIST, "fashionmnist", self.fashionmnist, FashionMNIST.classes, labelled)
