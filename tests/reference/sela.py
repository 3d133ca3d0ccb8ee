"""Slow, obvious twin of SeLa, written from the paper in NumPy: the matrix itself instead of its logarithm, loops."""

import math

import numpy as np


def transport(weights: np.ndarray, shares: np.ndarray, num_sweeps: int) -> np.ndarray:
    """Paper §3, for weights [N, K] (its P ** lambda, transposed): Q times N, so that a sample's masses sum to 1."""
    n, k = weights.shape
    alpha, beta = np.ones(k), np.ones(n) / n
    for _ in range(num_sweeps):
        for j in range(k):
            alpha[j] = shares[j] / sum(weights[i, j] * beta[i] for i in range(n))
        for i in range(n):
            beta[i] = 1 / n / sum(weights[i, j] * alpha[j] for j in range(k))
    return np.array([[n * beta[i] * weights[i, j] * alpha[j] for j in range(k)] for i in range(n)])


def cross_entropy_of_heads(logits: np.ndarray, labels: np.ndarray) -> float:
    """Of each head, and their mean; logits [N, H, K], labels [H, N]."""
    terms = []
    for head in range(len(labels)):
        for image in range(len(logits)):
            powers = [math.exp(value) for value in logits[image, head]]
            terms.append(-math.log(powers[labels[head, image]] / sum(powers)))
    return float(np.mean(terms))
