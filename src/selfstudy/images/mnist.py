"""mnist: MNIST, 70,000 handwritten digits of 28 x 28 pixels, white on black, 60,000 to learn from and 10,000 to test.

Source  LeCun et al., Proc. IEEE 1998. Read and fetched (11 MB) by torchvision. mnist5k is a sample that needs no network.
"""

from dataclasses import dataclass

from selfstudy.images._batches import idx_files
from selfstudy.images._published import Place
from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Mnist(Source):
    """`mnist`, or `mnist:FOLDER` with `MNIST/raw` in it. Classes "0" to "9", as in mnist5k; the split is official."""

    mnist: Place = ""

    def listing(self, labelled: bool) -> Listing:
        from torchvision.datasets import MNIST

        return idx_files(MNIST, "mnist", self.mnist, [str(digit) for digit in range(10)], labelled)
