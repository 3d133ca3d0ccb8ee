"""Whether the protocols of a study put its rows in the same order: Kendall's tau-b (Biometrika 33, 1945), by draw."""

from itertools import combinations

import numpy as np
from scipy import stats

from selfstudy.study._comparison import ERROR, Comparison
from selfstudy.study._findings import RankAgreement

FEWEST = 3  # rows: two are in the same order or in the reverse, and nothing in between


def agreements(comparison: Comparison) -> list[RankAgreement]:
    """One for every two protocols of frozen features and every label count at which FEWEST rows have both."""
    found = []
    for first, second in combinations(comparison.record.protocols, 2):
        for labels in comparison.labels:
            agreement = _agreement(comparison, first, second, labels)
            if agreement is not None:
                found.append(agreement)
    return found


def _agreement(comparison: Comparison, first: str, second: str, labels: str) -> RankAgreement | None:
    grids = {
        name: pair
        for name in comparison.rows
        if len(
            pair := [comparison.grids[key] for p in (first, second) if (key := (name, p, labels)) in comparison.grids]
        )
        == 2
    }
    if len(grids) < FEWEST:
        return None
    draws = set.intersection(*({*grid.draws.tolist()} for pair in grids.values() for grid in pair))
    if not draws:
        return None
    shared = np.array(sorted(draws))
    # [2, rows, draws]: the mean over seeds
    values = np.array([[pair[place].on(shared).values.mean(0) for pair in grids.values()] for place in range(2)])
    taus = np.array([stats.kendalltau(*values[:, :, draw]).statistic for draw in range(len(shared))])
    taus = taus[~np.isnan(taus)]  # all rows level by one protocol: there is no order to agree with
    if not len(taus):
        return None
    low, high = _interval(taus)
    rows, means = list(grids), values.mean(2)
    return RankAgreement(
        protocol=first,
        protocol_b=second,
        labels=labels,
        rows=rows,
        tau=float(taus.mean()),
        low=low,
        high=high,
        confidence=1 - ERROR,
        num_draws=len(taus),
        swapped=[
            [rows[a], rows[b]] if means[0, a] > means[0, b] else [rows[b], rows[a]]
            for a, b in combinations(range(len(rows)), 2)
            if (means[0, a] - means[0, b]) * (means[1, a] - means[1, b]) < 0
        ],
    )


def _interval(taus: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Student's, over draws of the labels; nothing from one."""
    if len(taus) < 2:
        return None, None
    half = float(stats.t.ppf(1 - ERROR / 2, len(taus) - 1) * taus.std(ddof=1) / len(taus) ** 0.5)
    return max(-1.0, float(taus.mean()) - half), min(1.0, float(taus.mean()) + half)
