"""Slow, obvious twins of NNCLR's neighbour and loss, written from the paper in NumPy: loops instead of matrices."""

import math

import numpy as np


def nearest(z: np.ndarray, queue: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """For every row the allowed row of the queue with the smallest distance, both at length 1 (Eq. 4)."""
    chosen = []
    for row, may in zip(_units(z), allowed, strict=True):
        candidates = [other for other, ok in zip(_units(queue), may, strict=True) if ok]
        distances = [float(((row - other) ** 2).sum()) for other in candidates]
        chosen.append(candidates[distances.index(min(distances))])
    return np.array(chosen)


def neighbour_contrast(neighbours: np.ndarray, p: np.ndarray, temperature: float) -> float:
    """One direction of the loss (Eq. 3 with the predictor): neighbour by neighbour among the batch's predictions."""
    rows, predictions = _units(neighbours), _units(p)
    total = 0.0
    for i, row in enumerate(rows):
        scores = [math.exp(row @ other / temperature) for other in predictions]
        total -= math.log(scores[i] / sum(scores))
    return total / len(rows)


def _units(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(float(row @ row)) for row in rows.astype(float)])
