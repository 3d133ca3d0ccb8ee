"""Slow, obvious twins of DCL's loss and weights, written from the paper in NumPy: loops instead of matrices."""

import math

import numpy as np


def decoupled_contrast(first: np.ndarray, second: np.ndarray, weight: np.ndarray, temperature: float) -> float:
    """DCL, Eq. 6, anchor by anchor: negatives are both views of every other image."""
    views = [[_unit(row) for row in view.astype(float)] for view in (first, second)]
    n, total = len(first), 0.0
    for i in range(n):
        for k in (0, 1):
            anchor, positive = views[k][i], views[1 - k][i]
            denominator = sum(math.exp(anchor @ views[v][j] / temperature) for v in (0, 1) for j in range(n) if j != i)
            total += -weight[i] * (anchor @ positive) / temperature + math.log(denominator)
    return total / (2 * n)


def mises_fisher_weight(first: np.ndarray, second: np.ndarray, sigma: float) -> np.ndarray:
    """DCLW: the negative von Mises-Fisher weighting of the end of §3."""
    densities = [math.exp(_unit(a) @ _unit(b) / sigma) for a, b in zip(first, second, strict=True)]
    mean = sum(densities) / len(densities)
    return np.array([2 - density / mean for density in densities])


def _unit(row: np.ndarray) -> np.ndarray:
    return row / math.sqrt(float(row @ row))
