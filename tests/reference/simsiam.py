"""A slow, obvious twin of SimSiam's loss, written from the paper in NumPy: row by row."""

import numpy as np


def simsiam(p_first: np.ndarray, p_second: np.ndarray, z_first: np.ndarray, z_second: np.ndarray) -> float:
    """Eq. 1 and 2, averaged over the batch."""

    def distance(p: np.ndarray, z: np.ndarray) -> float:
        return -float((p / np.linalg.norm(p)) @ (z / np.linalg.norm(z)))

    total = 0.0
    for p1, p2, z1, z2 in zip(p_first, p_second, z_first, z_second, strict=True):
        total += distance(p1, z2) / 2 + distance(p2, z1) / 2
    return total / len(p_first)
