"""A loss over two processes against the same loss in one: values and gradients of the last projector's weight are equal."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor

from selfstudy.method import Method

Make = Callable[[], Method]
Objective = Callable[[Method, slice], Tensor]  # the loss of some rows of the same six


def worker(rank: int, folder: str, make: Make, objective: Objective) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    method = make()
    loss = objective(method, slice(3 * rank, 3 * rank + 3))
    loss.backward()
    gradient = method.project[-1].weight.grad  # type: ignore[index]
    dist.all_reduce(gradient)  # what DistributedDataParallel does: the mean over processes
    torch.save({"loss": loss.detach(), "gradient": gradient / 2}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def assert_equal_one(make: Make, objective: Objective, folder: Path) -> None:
    """`make` and `objective` are functions of a module, since a process of its own has to find them."""
    other = processes.spawn(worker, args=(str(folder), make, objective), nprocs=1, join=False)  # rank 0; this is rank 1
    worker(1, str(folder), make, objective)
    other.join()
    method = make()
    loss = objective(method, slice(0, 6))
    loss.backward()
    for rank in (0, 1):
        found = torch.load(folder / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], loss.detach())
        torch.testing.assert_close(found["gradient"], method.project[-1].weight.grad)  # type: ignore[index]
