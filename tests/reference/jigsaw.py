"""Slow, obvious twins of the jigsaw task: permutations compared pair by pair, tiles copied pixel by pixel."""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np


def distance(first: Sequence[int], second: Sequence[int]) -> int:
    """Hamming: the number of places in which two orders differ."""
    return sum(a != b for a, b in zip(first, second, strict=True))


def far_apart(num_tiles: int, count: int, first: Sequence[int]) -> list[tuple[int, ...]]:
    """From `first` on, always the order whose nearest chosen one is farthest; among equals the largest sum, then the first."""
    chosen = [tuple(first)]
    while len(chosen) < count:
        best = max(
            permutations(range(num_tiles)),
            key=lambda order: (min(distance(order, c) for c in chosen), sum(distance(order, c) for c in chosen)),
        )
        chosen.append(best)
    return chosen


def least_distance(orders: Sequence[Sequence[int]]) -> int:
    return min(distance(a, b) for i, a in enumerate(orders) for b in orders[i + 1 :])


def tile(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """The pixels of a tile of [C, S, S], standardised channel by channel."""
    result = np.zeros((len(image), side, side))
    for c, channel in enumerate(image.astype(float)):
        pixels = [channel[top + i, left + j] for i in range(side) for j in range(side)]
        mean = sum(pixels) / len(pixels)
        deviation = math.sqrt(sum((p - mean) ** 2 for p in pixels) / len(pixels))
        for number, value in enumerate(pixels):
            result[c, number // side, number % side] = (value - mean) / max(deviation, 1 / 255)
    return result


def naming_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log softmax at the label."""
    terms = [math.log(sum(math.exp(s) for s in row)) - row[label] for row, label in zip(logits, labels, strict=True)]
    return float(np.mean(terms))
