"""digits: 1,797 real handwritten digits, 8 x 8 grey, white on black: the set that scikit-learn carries.

Source  Alpaydin and Kaynak, UCI repository 1998 (the test part of "Optical recognition of handwritten digits").
"""

from dataclasses import dataclass

from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Digits(Source):
    """Classes "0" to "9"; no groups, no split of its own."""

    def listing(self, labelled: bool) -> Listing:
        import numpy as np
        from sklearn.datasets import load_digits

        found = load_digits()
        pictures = (
            (found.images * (255 / 16)).round().astype(np.uint8)
        )  # each value counts the inked pixels of a 4 x 4 block
        return Listing(pictures=pictures, labels=[str(digit) for digit in found.target] if labelled else ())
