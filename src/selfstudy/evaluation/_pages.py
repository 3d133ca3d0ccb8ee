"""Pages: where images are tiles of one picture, an evaluation is of the picture, and its tiles vote."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from selfstudy.images import ImageSet


@dataclass(frozen=True, eq=False)
class Pages:
    """The P pages of R rows, in the order of their first rows. Where images are no tiles, every row is a page."""

    page: Tensor  # int64 [R]: the page of each row, in 0 .. P - 1
    first: Tensor  # int64 [P]: the position of each page's first row among the R

    @classmethod
    def of(cls, images: ImageSet, rows: Tensor) -> Self:
        """The pages of int64 [R] rows of a set."""
        if images.pages is None:
            every = torch.arange(len(rows))
            return cls(every, every)
        _, first, page = np.unique(images.pages[rows.numpy()], return_index=True, return_inverse=True)
        order = np.argsort(first)  # NumPy gives the pages by name
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return cls(torch.from_numpy(rank[page]), torch.from_numpy(first[order]))

    def __len__(self) -> int:
        return len(self.first)

    def average(self, values: Tensor) -> Tensor:
        """Float [R, K] to float64 [P, K]: the mean over each page's rows, where every tile's vote counts alike."""
        if len(self) == len(self.page):
            return values.double()
        sums = torch.zeros(len(self), values.shape[1], dtype=torch.float64).index_add_(0, self.page, values.double())
        return sums / self.page.bincount(minlength=len(self))[:, None]
