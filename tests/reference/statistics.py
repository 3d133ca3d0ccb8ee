"""Slow, obvious twins of the intervals: sums in plain Python, resampling one group at a time."""

from collections.abc import Callable, Sequence

import numpy as np


def two_way_mean_squares(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """(between rows, between columns) of a table with one value per cell, as textbooks define them."""
    num_rows, num_columns = len(values), len(values[0])
    grand = sum(sum(row) for row in values) / (num_rows * num_columns)
    between_rows = 0.0
    for row in values:
        between_rows += num_columns * (sum(row) / num_columns - grand) ** 2
    between_columns = 0.0
    for column in range(num_columns):
        mean = sum(row[column] for row in values) / num_rows
        between_columns += num_rows * (mean - grand) ** 2
    return between_rows / (num_rows - 1), between_columns / (num_columns - 1)


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent mean squares: (value, its degrees of freedom) each."""
    total = sum(value for value, _ in parts)
    return total**2 / sum(value**2 / freedom for value, freedom in parts)


def bootstrap_covariance(
    score: Callable[[np.ndarray, np.ndarray], float],
    predictions: Sequence[np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    num_resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Covariance, [K, K], of K scores over test sets made of groups drawn with replacement."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    scores = []
    for _ in range(num_resamples):
        chosen = np.concatenate([members[place] for place in rng.integers(0, len(members), len(members))])
        scores.append([score(labels[chosen], predicted[chosen]) for predicted in predictions])
    return np.cov(np.array(scores), rowvar=False)


def holm_rejects(p_values: Sequence[float], error: float) -> list[bool]:
    """Whether Holm's step-down rejects each hypothesis."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    rejected = [False] * len(p_values)
    for step, place in enumerate(order):
        if p_values[place] > error / (len(p_values) - step):
            break
        rejected[place] = True
    return rejected


def kendall_tau_b(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the reverse, over the geometric mean of those not tied."""
    same = untied_a = untied_b = 0
    for i in range(len(a)):
        for j in range(i):
            first, second = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
            same += first * second
            untied_a += abs(first)
            untied_b += abs(second)
    return float(same / (untied_a * untied_b) ** 0.5)


def corrected_variance(values: Sequence[float], num_test: float, num_train: float) -> float:
    """Nadeau and Bengio's variance of the mean of J scores of resampled training and test sets (2003, eq. 9)."""
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return (1 / len(values) + num_test / num_train) * spread


def crossing(numbers: Sequence[float], values: Sequence[float]) -> float | None:
    """Where a line through the points comes down to 0, found by walking in small steps of the logarithm."""
    if values[0] <= 0:
        return numbers[0]
    steps = np.geomspace(numbers[0], numbers[-1], 100_001)
    below = np.flatnonzero(np.interp(np.log(steps), np.log(numbers), values) <= 0)
    return float(steps[below[0]]) if len(below) else None


def undominated(scores: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Which points no other beats: as good and as cheap, and better in one."""
    return [
        not any(
            other_score >= score and other_cost <= cost and (other_score, other_cost) != (score, cost)
            for other_score, other_cost in zip(scores, costs, strict=True)
        )
        for score, cost in zip(scores, costs, strict=True)
    ]
