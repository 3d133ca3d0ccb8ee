"""Slow, obvious twins of MoCo's loss and queue, written from the papers: loops and a list instead of matrices."""

import math

import numpy as np


def queue_contrast(q: np.ndarray, k: np.ndarray, queue: np.ndarray, own: np.ndarray, temperature: float) -> float:
    """MoCo, Eq. 1, query by query; own[i][j]: key j of the queue is of query i's image, and no negative."""
    total = 0.0
    for query, key, left_out in zip(_units(q), _units(k), own, strict=True):
        positive = math.exp(query @ key / temperature)
        negatives = [
            math.exp(query @ row / temperature)
            for row, out in zip(queue.astype(float), left_out, strict=True)
            if not out
        ]
        total -= math.log(positive / (positive + sum(negatives)))
    return total / len(q)


class Queue:
    """A list from which the oldest leaves when a new one comes."""

    def __init__(self, rows: list[float]) -> None:
        self.rows = list(rows)

    def push(self, rows: list[float]) -> None:
        for row in rows:
            self.rows.pop(0)
            self.rows.append(row)


def _units(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(float(row @ row)) for row in rows.astype(float)])
