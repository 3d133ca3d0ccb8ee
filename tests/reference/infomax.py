"""Slow, obvious twins of the estimators of mutual information, pair by pair; scores[i][j] is of upper i with lower j."""

import math

import numpy as np


def others(scores: np.ndarray) -> list[float]:
    return [float(scores[i, j]) for i in range(len(scores)) for j in range(len(scores)) if i != j]


def pairs(scores: np.ndarray) -> list[float]:
    return [float(scores[i, i]) for i in range(len(scores))]


def info_nce(scores: np.ndarray) -> float:
    """van den Oord et al. 2018, Eq. 4, plus log N."""
    n = len(scores)
    return float(
        np.mean([math.log(n * math.exp(row[i]) / sum(math.exp(s) for s in row)) for i, row in enumerate(scores)])
    )


def nwj(scores: np.ndarray) -> float:
    """Nguyen et al. 2010, in the form of Tschannen et al. 2020, Eq. 3."""
    return float(np.mean(pairs(scores)) - np.mean([math.exp(s) for s in others(scores)]) / math.e)


def donsker_varadhan(scores: np.ndarray) -> float:
    """Belghazi et al. 2018, Eq. 5."""
    return float(np.mean(pairs(scores)) - math.log(np.mean([math.exp(s) for s in others(scores)])))


def mine_gradient(scores: np.ndarray, average: float) -> np.ndarray:
    """Belghazi et al. 2018, §3.2: of the estimate by each score, the denominator replaced by a running mean."""
    n = len(scores)
    gradient = np.zeros_like(scores, dtype=float)
    for i in range(n):
        for j in range(n):
            gradient[i, j] = 1 / n if i == j else -math.exp(scores[i, j]) / (n * (n - 1)) / average
    return gradient


def jensen_shannon(scores: np.ndarray) -> float:
    """Hjelm et al. 2019, Eq. 4."""
    first = np.mean([-math.log(1 + math.exp(-s)) for s in pairs(scores)])
    return float(first - np.mean([math.log(1 + math.exp(s)) for s in others(scores)]))
