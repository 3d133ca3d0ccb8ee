"""Slow, obvious twin of SwAV, written from the paper in NumPy: loops instead of matrices, exponentials instead of logarithms."""

import math

import numpy as np


def codes(scores: np.ndarray, epsilon: float, num_sweeps: int) -> np.ndarray:
    """Paper §3.1: equal row sums over prototypes, then equal sums over samples, in turn; scores are [N, K]."""
    n, k = scores.shape
    q = np.array([[math.exp(scores[i, j] / epsilon) for j in range(k)] for i in range(n)])
    q /= q.sum()
    for _ in range(num_sweeps):
        for j in range(k):
            q[:, j] /= q[:, j].sum() * k
        for i in range(n):
            q[i] /= q[i].sum() * n
    return q * n


def swapped_prediction(scores: np.ndarray, codes: np.ndarray, temperature: float) -> float:
    """Eq. 1 and 2 with multi-crop (§3.2): scores [V, N, K], codes [A, N, K]."""
    terms = []
    for a in range(len(codes)):
        for v in range(len(scores)):
            if v == a:
                continue
            for i in range(scores.shape[1]):
                powers = [math.exp(s / temperature) for s in scores[v, i]]
                terms.append(-sum(q * math.log(p / sum(powers)) for q, p in zip(codes[a, i], powers, strict=True)))
    return float(np.mean(terms))
