"""cifar10: CIFAR-10, 60,000 colour photographs of 32 x 32 pixels in 10 classes, 50,000 to learn from and 10,000 to test.

Source  Krizhevsky, Learning multiple layers of features from tiny images, 2009. Read and fetched (163 MB) by torchvision.
"""

from dataclasses import dataclass

from selfstudy.images._batches import batches
from selfstudy.images._published import Place
from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Cifar10(Source):
    """`cifar10`, or `cifar10:FOLDER` with `cifar-10-batches-py` or `cifar-10-python.tar.gz` in it. The split is official."""

    cifar10: Place = ""

    def listing(self, labelled: bool) -> Listing:
        from torchvision.datasets import CIFAR10

        return batches(CIFAR10, "cifar10", self.cifar10, labelled)
