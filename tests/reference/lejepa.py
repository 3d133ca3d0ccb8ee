"""A slow, obvious twin of LeJEPA's loss, written from the paper in NumPy: direction by direction, point by point.

It integrates from -3 to 3, where the library uses that the integrand is even.
"""

import cmath
import itertools
import math

import numpy as np


def epps_pulley(x: np.ndarray) -> float:
    """N times the weighted squared distance of the empirical characteristic function to the standard Gaussian's."""
    points = [-3 + 6 * k / 32 for k in range(33)]
    values = []
    for t in points:
        empirical = sum(cmath.exp(1j * t * float(value)) for value in x) / len(x)
        values.append(abs(empirical - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2))
    trapezoids = sum((left + right) / 2 * (6 / 32) for left, right in itertools.pairwise(values))
    return len(x) * trapezoids


def lejepa(z: np.ndarray, directions: np.ndarray, weight: float, num_views: int) -> float:
    """Projections [V, N, D], whole-size views first; directions [D, M]."""
    views, images, width = z.shape
    distance = 0.0
    for n in range(images):
        mean = sum(z[v, n].astype(float) for v in range(num_views)) / num_views
        for v in range(views):
            distance += sum((float(z[v, n, j]) - float(mean[j])) ** 2 for j in range(width)) / (views * images * width)
    statistics = [epps_pulley(z[v] @ directions[:, m]) for v in range(views) for m in range(directions.shape[1])]
    return (1 - weight) * distance + weight * sum(statistics) / len(statistics)
