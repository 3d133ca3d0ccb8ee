"""A queue of unit rows, each with the index of its image: negatives of MoCo, neighbours of NNCLR.

Source  He et al. 2020 (MoCo), arXiv:1911.05722, §3.2. FAIR's code asks that the batch divides the size and lightly's drops
        what does not fit before the end; here rows wrap around, so any batch will do, the last of an epoch too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.nn import distributed

NO_IMAGE = -1  # the index of the random rows that a new queue holds


class Queue(nn.Module):
    """The last `size` rows that were pushed. All of it is in the state dict: a resumed run goes on with the same rows."""

    rows: Tensor  # float32 [size, dim], of length 1
    index: Tensor  # int64 [size], the image of each row, NO_IMAGE for the random ones of the start
    oldest: Tensor  # int64 [], the slot that is overwritten next

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("index", torch.full((size,), NO_IMAGE))
        self.register_buffer("oldest", torch.tensor(0))

    def __len__(self) -> int:
        return len(self.index)

    @torch.no_grad()
    def push(self, rows: Tensor, index: Tensor) -> None:
        """Unit rows [N, dim] and their images' indices [N], of all processes in rank order; of more than fit the last.

        The buffers are replaced, not written into: a loss that used them can still go backward.
        """
        rows, index = distributed.gather(rows), distributed.gather(index)
        slots = (self.oldest + torch.arange(len(index), device=index.device)) % len(self)
        self.oldest = (self.oldest + len(index)) % len(self)
        kept = slice(-len(self), None)  # a slot comes once: which of two writes to it stays is not defined
        self.rows = self.rows.index_copy(0, slots[kept], rows[kept].to(self.rows.dtype))
        self.index = self.index.index_copy(0, slots[kept], index[kept])

    def holds(self, index: Tensor) -> Tensor:
        """Bool [N, size]: which rows of the queue are of image `index` [N], seen in an earlier step."""
        return index[:, None] == self.index

    def of_others(self, index: Tensor) -> Tensor:
        """Bool [N, size]: which rows are of an image other than `index` [N]; the random ones of the start are of none."""
        return ~self.holds(index) & (self.index != NO_IMAGE)
