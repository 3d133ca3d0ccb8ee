"""A slow, obvious twin of the Barlow Twins loss, written from the paper in NumPy: entry by entry."""

import math

import numpy as np


def barlow_twins(first: np.ndarray, second: np.ndarray, redundancy_weight: float, floor: float = 1e-5) -> float:
    """Eq. 1, whose C is Eq. 2 for columns that were brought to mean 0 and (but for `floor`) variance 1."""
    n, d = first.shape

    def standardised(z: np.ndarray) -> list[list[float]]:
        columns = []
        for j in range(d):
            mean = sum(float(z[i, j]) for i in range(n)) / n
            variance = sum((float(z[i, j]) - mean) ** 2 for i in range(n)) / n
            columns.append([(float(z[i, j]) - mean) / math.sqrt(variance + floor) for i in range(n)])
        return columns

    a, b = standardised(first), standardised(second)
    loss = 0.0
    for i in range(d):
        for j in range(d):
            c = sum(a[i][row] * b[j][row] for row in range(n)) / n
            loss += (1 - c) ** 2 if i == j else redundancy_weight * c**2
    return loss
