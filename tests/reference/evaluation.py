"""Slow, obvious twins of the protocols, written from the papers in plain Python, one image at a time."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    length = math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second))
    return sum(a * b for a, b in zip(first, second, strict=True)) / length


def knn(bank: np.ndarray, labels: np.ndarray, query: np.ndarray, k: int, temperature: float) -> int:
    """Wu et al. 2018, section 3.4: the class with the largest sum of exp(cosine / temperature) over the k nearest."""
    similarities = [cosine(query.tolist(), row.tolist()) for row in bank]
    nearest = sorted(range(len(bank)), key=lambda row: -similarities[row])[:k]
    votes: dict[int, float] = {}
    for row in nearest:
        votes[int(labels[row])] = votes.get(int(labels[row]), 0.0) + math.exp(similarities[row] / temperature)
    return max(votes, key=lambda label: votes[label])


def knn_right_in_cross_validation(
    bank: np.ndarray, labels: np.ndarray, fold: np.ndarray, k: int, temperature: float
) -> int:
    """How many labels are named rightly by the k nearest among the other folds."""
    return sum(
        knn(bank[fold != fold[row]], labels[fold != fold[row]], bank[row], k, temperature) == labels[row]
        for row in range(len(bank))
    )


def linear_right_in_cross_validation(features: np.ndarray, labels: np.ndarray, fold: np.ndarray, C: float) -> int:
    """How many labels are named rightly by fits on the other folds, each from zero and to the end."""
    right = 0
    for number in range(int(fold.max()) + 1):
        model = LogisticRegression(C=C, tol=1e-6, max_iter=20_000)
        model.fit(features[fold != number], labels[fold != number])
        right += int((model.predict(features[fold == number]) == labels[fold == number]).sum())
    return right


def standardise(values: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation over the pool's rows, column by column."""
    values = values.astype(np.float64)
    columns = []
    for column in values.T:
        known = [column[row] for row in pool]
        mean = sum(known) / len(known)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
        columns.append((column - mean) / (deviation if deviation > 1e-9 else 1.0))
    return np.stack(columns, axis=1)


def knn_attributes(bank: np.ndarray, marks: np.ndarray, query: np.ndarray, k: int, temperature: float) -> list[float]:
    """The share of the votes of the k nearest that say it has each attribute; unknown marks do not vote."""
    similarities = [cosine(query.tolist(), row.tolist()) for row in bank]
    nearest = sorted(range(len(bank)), key=lambda row: -similarities[row])[:k]
    shares = []
    for attribute in range(marks.shape[1]):
        column = marks[:, attribute].tolist()
        voters = [row for row in nearest if column[row] != -1]
        votes = [math.exp(similarities[row] / temperature) for row in voters]
        if voters:
            having = sum(vote for vote, row in zip(votes, voters, strict=True) if column[row] == 1)
            shares.append(having / sum(votes))
        else:
            known = [mark for mark in column if mark != -1]
            shares.append(known.count(1) / len(known))
    return shares
