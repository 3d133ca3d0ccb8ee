"""Sets of permutations that lie far apart: the classes of a puzzle.

Source  greedy choice by Hamming distance: Noroozi and Favaro 2016, arXiv:1603.09246, algorithm 1. It takes the largest
        mean distance to those chosen before, which lets pairs at distance 2 in: two classes that differ by one swap.
        Here the smallest distance counts first and the mean only decides between equals. The means come out the same.
Found   of 9 tiles, with any start tried: distance 7 or more up to 64 permutations, 6 for 100, 5 for 701 and for 1,000.
"""

import math
from itertools import chain, permutations

import numpy as np
import torch
from torch import Tensor

from selfstudy.rng import Rng

MOST_TILES = 9  # 362,880 permutations, which fit into a cache; of 10 there are ten times as many


def far_apart(num_tiles: int, count: int, seed: int = 0) -> Tensor:
    """Int64 [count, num_tiles]: permutations of range(num_tiles), all different. `seed` decides which one is the first.

    The distances of all candidates to their nearest chosen one are kept, so each choice costs one pass over the
    candidates: 1.5 s for 1,000 permutations of 9 tiles.
    """
    if not 2 <= num_tiles <= MOST_TILES or not 1 <= count <= math.factorial(num_tiles):
        raise ValueError(
            f"there are no {count} permutations of {num_tiles} tiles to choose (at most {MOST_TILES} tiles)"
        )
    flat = np.fromiter(chain.from_iterable(permutations(range(num_tiles))), dtype=np.int8)
    candidates = flat.reshape(-1, num_tiles).T.copy()  # one row per place: long rows are quick to compare
    total = candidates.shape[1]
    nearest, sum_of_distances = np.full(total, num_tiles, dtype=np.int64), np.zeros(total, dtype=np.int64)
    chosen = [int(Rng.from_seed(seed).fork("first permutation").shared().integers(0, total))]
    while len(chosen) < count:
        distance = sum((place != place[chosen[-1]]).astype(np.int64) for place in candidates)
        nearest = np.minimum(nearest, distance)
        sum_of_distances += distance
        # Sums stay below num_tiles * count, so the nearest one decides; argmax takes the first among equals.
        chosen.append(int((nearest * (num_tiles * count + 1) + sum_of_distances).argmax()))
    return torch.from_numpy(candidates[:, chosen].T.astype(np.int64))


def least_distance(orders: Tensor) -> int:
    """The smallest number of places in which two rows of [P, T] differ; T for a single row.

    With r of the tiles unknown a puzzle can still be told from all others if this is above r.
    """
    if len(orders) < 2:
        return orders.shape[1]
    rows = orders.numpy().astype(np.int8)
    return min(int((rows[i + 1 :] != rows[i]).sum(1).min()) for i in range(len(rows) - 1))
