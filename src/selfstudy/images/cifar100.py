"""cifar100: CIFAR-100, 60,000 colour photographs of 32 x 32 pixels in 100 classes, 50,000 to learn from, 10,000 to test.

Source  Krizhevsky, Learning multiple layers of features from tiny images, 2009. Read and fetched (161 MB) by torchvision.
"""

from dataclasses import dataclass

from selfstudy.images._batches import batches
from selfstudy.images._published import Place
from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Cifar100(Source):
    """`cifar100`, or `cifar100:FOLDER` with `cifar-100-python` or `cifar-100-python.tar.gz` in it. The fine classes."""

    cifar100: Place = ""

    def listing(self, labelled: bool) -> Listing:
        from torchvision.datasets import CIFAR100

        return batches(CIFAR100, "cifar100", self.cifar100, labelled)
