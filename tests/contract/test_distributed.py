"""Two processes give the gradient of one: the batch is split, the loss is over all of it."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from selfstudy.methods.simclr import nt_xent
from selfstudy.nn import distributed


def loss_of(weight: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    everyone = [distributed.gather(view @ weight) for view in (first, second)]
    return nt_xent(torch.cat(everyone), 0.3)


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((5, 4), (6, 5), (6, 5)))


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    weight, first, second = data()
    weight.requires_grad_()
    rows = slice(3 * rank, 3 * rank + 3)
    loss = loss_of(weight, first[rows], second[rows])
    loss.backward()
    dist.all_reduce(weight.grad)  # what DistributedDataParallel does: the mean over processes
    torch.save({"loss": loss.detach(), "gradient": weight.grad / 2}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path):
    """Mutation: torch.distributed.all_gather alone, without gradient; a gradient that is not summed over processes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    processes.spawn(worker, args=(str(tmp_path),), nprocs=2)
    weight, first, second = data()
    weight.requires_grad_()
    loss = loss_of(weight, first, second)
    loss.backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["loss"], loss.detach())
        torch.testing.assert_close(found["gradient"], weight.grad)
