"""The order of an epoch over pictures in shards: at random, and yet read from few shards at a time.

Source  A shuffle buffer, as a function: the shards stand in random order, and every row is moved by a random distance of
        at most half the buffer. MosaicML's streaming, whose default order py1e places the rows of each shard at random in
        a range about it, so that shards come and go one by one, rather than by the windowful.
Resume  It follows from the stream of randomness and the rows alone: any batch can be had without those before it.
"""

import numpy as np
import torch
from torch import Tensor

from selfstudy.rng import Rng

_BUFFER_ROWS = 8192  # at least; WDS_SHUFFLE_SIZE of timm's reader of shards
_BUFFER_SHARDS = (
    16  # at least: so many are read side by side by as many workers of webdataset, of which each shuffles too
)
_SAMPLE_SHARDS = 8  # of which a sample is read


def order_of(shards: np.ndarray, rng: Rng) -> Tensor:
    """Int64 [N]: every row once. `shards` is int64 [N], the shard of each.

    With the shards in a random order, and their rows one after the other, no row is moved by more than the buffer.
    """
    reach = _buffer(shards) // 2 if len(shards) else 0
    if 2 * reach >= len(shards):
        return rng.permutation(len(shards))
    number = int(shards.max()) + 1
    rank = np.empty(number, dtype=np.uint16 if number < 2**16 else np.int64)  # 16 bits are sorted by radix
    rank[rng.fork("shards").permutation(number).numpy()] = np.arange(number)
    stream = np.argsort(rank[shards], kind="stable")
    moves = rng.fork("rows").per_image(torch.arange(len(shards))).integers(-reach, reach + 1)[:, 0].numpy()
    keys = np.abs(np.arange(len(shards)) + moves)  # beyond the ends they are thrown back
    keys = np.minimum(keys, 2 * (len(shards) - 1) - keys)
    return torch.from_numpy(stream[np.argsort(keys, kind="stable")])


def shards_at_once(shards: np.ndarray) -> int:
    """How many shards an epoch reads at a time, with one at either end of the buffer and one to be fetched ahead."""
    number = _how_many(shards)
    return min(number, -(-_buffer(shards) * number // len(shards)) + 3)


def rows_of_a_shard(shards: np.ndarray) -> int:
    """The mean, rounded up."""
    return -(-len(shards) // _how_many(shards))


def spread(shards: np.ndarray, rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the int64 positions `rows`, evenly out of a few shards, so that no more are fetched or opened."""
    found = np.flatnonzero(np.bincount(shards[rows]))
    is_chosen = np.zeros(int(shards.max()) + 1, dtype=bool)
    is_chosen[found[_evenly(len(found), _SAMPLE_SHARDS)]] = True
    near = rows[is_chosen[shards[rows]]]
    near = near[np.argsort(shards[near], kind="stable")]
    return near[_evenly(len(near), most)]


def _evenly(size: int, most: int) -> np.ndarray:
    return np.linspace(0, size - 1, min(size, most)).astype(np.int64)


def _how_many(shards: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(shards)))


def _buffer(shards: np.ndarray) -> int:
    """Rows."""
    return max(_BUFFER_ROWS, _BUFFER_SHARDS * rows_of_a_shard(shards))
