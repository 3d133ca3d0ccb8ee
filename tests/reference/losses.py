"""Slow, obvious twins of the losses, written from the papers in NumPy: loops instead of matrices."""

import math

import numpy as np


def nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """SimCLR, Eq. 1, anchor by anchor."""
    z = [row / math.sqrt(float(row @ row)) for row in np.concatenate([first, second]).astype(float)]
    n, total = len(first), 0.0
    for i in range(2 * n):
        positive = (i + n) % (2 * n)
        denominator = sum(math.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(z[i] @ z[positive] / temperature) / denominator)
    return total / (2 * n)


def byol(p_first: np.ndarray, p_second: np.ndarray, z_first: np.ndarray, z_second: np.ndarray) -> float:
    """BYOL, Eq. 2 and its mirror image, averaged over the batch."""

    def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).sum())

    rows = zip(p_first, p_second, z_first, z_second, strict=True)
    return float(np.mean([squared_distance(p1, z2) + squared_distance(p2, z1) for p1, p2, z1, z2 in rows]))


def root_mean_squared_error(drawn: np.ndarray, images: np.ndarray) -> float:
    """Image by image."""
    return float(np.mean([math.sqrt(float(((a - b) ** 2).mean())) for a, b in zip(drawn, images, strict=True)]))


def lars(
    weights: list[np.ndarray], gradients: list[list[np.ndarray]], lr: float, momentum: float, weight_decay: float
) -> list[np.ndarray]:
    """LARS of FAIR's code, step by step; `gradients[t][i]` is of weight i at step t."""
    weights = [w.astype(float).copy() for w in weights]
    buffers = [np.zeros_like(w) for w in weights]
    for step in gradients:
        for i, gradient in enumerate(step):
            update = gradient.astype(float)
            if weights[i].ndim > 1:
                update = update + weight_decay * weights[i]
                w_norm, u_norm = np.linalg.norm(weights[i]), np.linalg.norm(update)
                update = update * (0.001 * w_norm / u_norm if w_norm > 0 and u_norm > 0 else 1.0)
            buffers[i] = momentum * buffers[i] + update
            weights[i] = weights[i] - lr * buffers[i]
    return weights
