"""What a loss over the whole batch needs when the batch lies on several processes."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: object, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        # Every process holds the same loss over all rows. DistributedDataParallel averages the gradients of the
        # weights over processes, so the sum of the processes' gradients is the one that gives the big batch's
        # gradient after that average.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        own = gradient.shape[0] // world_size()
        return gradient[dist.get_rank() * own : (dist.get_rank() + 1) * own]


def gather(rows: Tensor) -> Tensor:
    """Rows of all processes, [world * N, ...] in rank order, with gradient; the rows themselves in a single process.

    Every process must hold the same number of rows.
    """
    return rows if world_size() == 1 else _Gather.apply(rows)
