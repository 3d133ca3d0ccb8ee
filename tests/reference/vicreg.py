"""A slow, obvious twin of VICReg's loss, written from the paper in NumPy: column by column."""

import math

import numpy as np


def _covariance(z: np.ndarray, i: int, j: int) -> float:
    n = len(z)
    mean_i, mean_j = sum(map(float, z[:, i])) / n, sum(map(float, z[:, j])) / n
    return sum((float(z[k, i]) - mean_i) * (float(z[k, j]) - mean_j) for k in range(n)) / (n - 1)


def vicreg(
    first: np.ndarray, second: np.ndarray, weights: tuple[float, float, float] = (25.0, 25.0, 1.0), halve: bool = True
) -> float:
    """Eq. 1-6 with the reference code's scaling: Eq. 5 over D and, if `halve`, half of Eq. 6's variance."""
    n, d = first.shape
    squared = [(float(first[k, j]) - float(second[k, j])) ** 2 for k in range(n) for j in range(d)]
    variance, covariance = 0.0, 0.0
    for z in (first, second):
        for i in range(d):
            variance += max(0.0, 1.0 - math.sqrt(_covariance(z, i, i) + 1e-4)) / d
            covariance += sum(_covariance(z, i, j) ** 2 for j in range(d) if j != i) / d
    return weights[0] * sum(squared) / (n * d) + weights[1] * variance / (2 if halve else 1) + weights[2] * covariance
