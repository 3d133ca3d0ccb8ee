"""A slow, obvious twin of MoCo v3's loss, written from the paper's Alg. 1 in NumPy: loops instead of matrices."""

import math

import numpy as np


def batch_contrast(q: np.ndarray, k: np.ndarray, temperature: float) -> float:
    """One direction, query by query among the batch's keys, with the factor 2 * temperature."""
    queries, keys = _units(q), _units(k)
    total = 0.0
    for i, query in enumerate(queries):
        scores = [math.exp(query @ key / temperature) for key in keys]
        total -= math.log(scores[i] / sum(scores))
    return 2 * temperature * total / len(queries)


def _units(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(float(row @ row)) for row in rows.astype(float)])
