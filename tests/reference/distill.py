"""Slow, obvious twin of distillation's objective: row by row, dimension by dimension."""

import math

import numpy as np


def standardise(features: np.ndarray) -> np.ndarray:
    """Each dimension of [N, T] with zero mean and unit (biased) variance over the rows."""
    result = features.astype(float).copy()
    for t in range(features.shape[1]):
        column = features[:, t].astype(float)
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        result[:, t] = [(value - mean) / math.sqrt(variance + 1e-8) for value in column]
    return result


def cosine_distance(z: np.ndarray, target: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(z.astype(float), target.astype(float), strict=True):
        total += 1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return total / len(z)


def squared_distance(z: np.ndarray, target: np.ndarray) -> float:
    return sum((a - b) ** 2 for a, b in zip(z.flatten().tolist(), target.flatten().tolist(), strict=True)) / z.size
