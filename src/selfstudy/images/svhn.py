"""svhn: Street View House Numbers, 99,289 colour digits of 32 x 32 pixels, 73,257 to learn from and 26,032 to test.

Source  Netzer et al., NIPS workshop 2011. Read and fetched (246 MB; `extra` 1.3 GB more) by torchvision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from selfstudy.images._published import Place, Published, listing_of, obtain, root_of
from selfstudy.images._source import Listing, Source


@dataclass(frozen=True, kw_only=True)
class Svhn(Source):
    """`svhn`, or `svhn:FOLDER` with `train_32x32.mat` and the like in it. Classes "0" to "9"; the split is official."""

    svhn: Place = ""
    extra: bool = False  # 531,131 easier digits more, to pretrain on; their labels stay unread

    def listing(self, labelled: bool) -> Listing:
        train, test = self._read("train", "train"), self._read("test", "test")
        return listing_of([train, test, self._read("extra", "unlabelled")] if self.extra else [train, test], labelled)

    def _read(self, split: Literal["train", "test", "extra"], part: str) -> tuple[str, np.ndarray, Sequence[str]]:
        from torchvision.datasets import SVHN

        root = root_of(self.svhn, "svhn", "")
        url, file, checksum = SVHN.split_list[split]
        published = Published(name="svhn", folder=root, files={file: checksum}, archives={file: url}, put_into=root)
        found = obtain(published, lambda: SVHN(root, split=split, download=True))
        labels = [str(digit) if part != "unlabelled" else "" for digit in found.labels.tolist()]
        return part, found.data.transpose(0, 2, 3, 1), labels
