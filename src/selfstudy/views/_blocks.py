"""How a CPU works through a batch: block by block, each in cache, the blocks shared out among the threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

_BLOCK_VALUES = 3 * 2**17  # of float32, 1.5 MB: the second-level cache of current cores; less pays for more calls


def in_blocks(
    function: Callable[..., Tensor],
    images: Tensor,
    tables: Sequence[Tensor],
    size: Sequence[int],
    *,
    sort_by: Sequence[Tensor] = (),
) -> Tensor:
    """`function(images, *tables)`: float32 [N, C, *size] from images [N, C, H, W].

    Row i of every table belongs to image i, and `function` treats images one by one, so neither blocks nor their order
    changes a result. Images with equal numbers in `sort_by` (int64 [N] each, the last matters most) come together.
    `function` gets images that it may overwrite; `images` are left as they were.

    A block runs on one thread, so the bits do not depend on their number. To split each operation in it instead, as torch
    does, gains little on such small tensors, and costs fifty times the time (measured on two cores, 28 px) while another
    program holds a core for which all others then wait, operation by operation.
    """
    if images.device.type != "cpu":
        return function(images.clone(), *tables)
    rows = torch.arange(len(images))
    for key in sort_by:
        rows = rows[key[rows].argsort(stable=True)]
    result = torch.empty(*images.shape[:2], *size)

    def work(block: Tensor) -> None:
        with (
            torch.inference_mode()
        ):  # nothing here has a gradient, and keeping account of that takes a twelfth of the time
            part = function(*(table.index_select(0, block) for table in (images, *tables)))
            result.index_copy_(0, block, part)

    threads = min(torch.get_num_threads(), max(1, len(images)))
    blocks = rows.tensor_split(max(threads, -(-images.numel() // _BLOCK_VALUES)))
    if threads == 1:
        for block in blocks:
            work(block)
    else:
        list(_workers(threads, os.getpid()).map(work, blocks))
        torch.set_num_threads(torch.get_num_threads())  # the workers' number, 1, had become that of threads to come
    return result


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it no operation of this thread is split: for many small ones, which would wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads whose operations are not split any further. A forked process has none of its parent's: it makes its own."""
    return ThreadPoolExecutor(threads, "views", initializer=torch.set_num_threads, initargs=(1,))
