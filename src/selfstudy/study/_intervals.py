"""Confidence intervals that cover pretraining seeds, label draws and test groups, whichever were varied.

Model   score = mean + draw + seed + remainder + what the test images happen to be; draws and test images are shared by
        the rows of a study, seeds are not. Seeds are crossed with the draws (self-supervised rows: every seed meets
        every draw), follow them (supervised rows: each draw is one training with a seed of its own; then the variance
        between draws holds the seeds' too) or are dealt (fine-tuned rows: some draws to each seed).
Source  ANOVA mean squares: Searle, Casella, McCulloch, Variance Components, 1992, ch. 4. Degrees of freedom:
        Satterthwaite, Biometrics Bulletin 2, 1946. Test images: cluster sampling, Cochran, 1977, §9A.
Choice  Each mean square is relieved of the test noise it holds, and clamped at 0. The remainder is left in both the
        draws' and the seeds' mean squares (counted twice: conservative), and the degrees of freedom are those of the
        mean squares before the relief (fewer: conservative). Chosen by simulated coverage of 95 % intervals for 2x5,
        1x5, 2x1, 3x3 and 2x3 seeds x draws (tests/golden/test_compare.py): 0.95 to 0.98 with 200 test images, and no
        less than 0.92 where draws or seeds are nearly all that varies. Relieving the degrees of freedom too covers
        0.89 there; relieving nothing covers 0.94 to 0.98, with intervals 5 % wider where ten labels are given.
        Cross-validation: one fold of one round is a draw, and varies by the test images too: see _overlapping_component.
        Two seeds are one degree of freedom: where nothing but seeds varies the interval is wide, and so it should be.
Shapes  S seeds, D draws, K cells, T test images, G test groups, R columns of deviations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, eq=False)
class Grid:
    """The scores of one row at one label count by one protocol: every seed on every draw, or one cell a draw (S = 1)."""

    values: np.ndarray  # float64 [S, D], in [0, 1]
    deviations: np.ndarray  # float64 [S, D, R]: the inner product of two cells' is their covariance over test groups
    draws: np.ndarray  # int64 [D], ascending
    seeds: np.ndarray  # int64 [S, D]
    overlap: float = 0.0  # in cross-validation, where a draw is a fold: test groups of a fold / training groups

    @property
    def num_seeds(self) -> int:
        return len(np.unique(self.seeds))

    @property
    def deals_seeds(self) -> bool:
        """Whether a seed has several draws, but no draw several seeds: draws 0, 2, 4 with seed 0 and 1, 3 with seed 1."""
        return len(self.values) == 1 < self.num_seeds < len(self.draws)

    def on(self, draws: np.ndarray) -> "Grid":
        """The part on these draws, all of which it must have."""
        columns = np.searchsorted(self.draws, draws)
        return Grid(self.values[:, columns], self.deviations[:, columns], draws, self.seeds[:, columns], self.overlap)


@dataclass(frozen=True)
class Component:
    """One source of variance of the estimate."""

    variance: float  # its share of the estimate's variance
    mean_square: float  # the same before it was relieved of test noise: what the degrees of freedom belong to
    count: float  # how many seeds, draws or test groups it was estimated from


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, and where its uncertainty comes from."""

    mean: float
    components: Mapping[str, Component]  # "draws", "seeds of a", "seeds of b", "test": those that were varied

    @property
    def variance(self) -> float:
        return sum(part.variance for part in self.components.values())

    @property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's, at least 1."""
        below = sum(part.mean_square**2 / (part.count - 1) for part in self.components.values())
        return max(1.0, self.variance**2 / below)

    @property
    def p_value(self) -> float:
        """Two-sided, of the hypothesis that the mean is 0."""
        return float(2 * stats.t.sf(abs(self.mean) / self.variance**0.5, self.degrees_of_freedom))

    def half_width(self, confidence: float) -> float:
        return float(stats.t.ppf((1 + confidence) / 2, self.degrees_of_freedom) * self.variance**0.5)

    def interval(self, confidence: float) -> tuple[float, float]:
        half = self.half_width(confidence)
        return self.mean - half, self.mean + half


def grid(seeds: np.ndarray, draws: np.ndarray, values: np.ndarray, deviations: np.ndarray) -> Grid:
    """The largest part of K cells that is a full grid: int64 [K] twice, float64 [K] and [K, R].

    In an unfinished study the seed or draw with most holes is left out, again and again, until there are none.
    """
    rows, columns = np.unique(seeds), np.unique(draws)
    if len(draws) == len(columns):  # one cell a draw
        places = np.argsort(draws)[None]
    else:
        cell = {pair: place for place, pair in enumerate(zip(seeds.tolist(), draws.tolist(), strict=True))}
        there = np.array([[(seed, draw) in cell for draw in columns.tolist()] for seed in rows.tolist()])
        while not there.all():
            if there.mean(1).min() <= there.mean(0).min():
                keep = np.arange(len(rows)) != there.mean(1).argmin()
                rows, there = rows[keep], there[keep]
            else:
                keep = np.arange(len(columns)) != there.mean(0).argmin()
                columns, there = columns[keep], there[:, keep]
        places = np.array([[cell[seed, draw] for draw in columns.tolist()] for seed in rows.tolist()])
    return Grid(values[places], deviations[places], columns, seeds[places])


def estimate_mean(a: Grid, num_groups: int) -> Estimate:
    """The mean score of a row over seeds, draws and test groups like those seen."""
    return _estimate(a.values.mean(0), a.deviations.mean(0), {"seeds of a": a}, num_groups)


def estimate_difference(a: Grid, b: Grid, num_groups: int) -> Estimate | None:
    """The mean of a less that of b on the draws they share and the same test groups; None if they share no draw."""
    draws = np.intersect1d(a.draws, b.draws)
    if not len(draws):
        return None
    a, b = a.on(draws), b.on(draws)
    values = a.values.mean(0) - b.values.mean(0)
    return _estimate(
        values, a.deviations.mean(0) - b.deviations.mean(0), {"seeds of a": a, "seeds of b": b}, num_groups
    )


def estimate_contrast(a: Grid, b: Grid, num_groups: int) -> Estimate:
    """The mean of a less that of b where they were trained on different label counts, on the same test groups.

    Their draws are not paired: draw 0 of 4 labels and of all labels have little in common, and what they have would
    narrow the interval.
    """
    alone = {"a": estimate_mean(a, num_groups), "b": estimate_mean(b, num_groups)}
    components = {
        f"{source.removesuffix(' of a')} of {row}": part
        for row, found in alone.items()
        for source, part in found.components.items()
        if source != "test"
    }
    if not a.overlap:
        components["test"] = _test_component(a.deviations.mean((0, 1)) - b.deviations.mean((0, 1)), num_groups)
    return Estimate(alone["a"].mean - alone["b"].mean, components)


def _estimate(values: np.ndarray, deviations: np.ndarray, rows: Mapping[str, Grid], num_groups: int) -> Estimate:
    """From the value of every draw, float64 [D], with its test deviations [D, R]."""
    overlap = max(row.overlap for row in rows.values())
    components = {}
    if overlap:
        components["folds"] = _overlapping_component(values, overlap, num_groups)
    elif len(values) > 1:
        components["draws"] = _component(values, deviations)
    dealt = []
    for name, row in rows.items():
        if len(row.values) > 1:
            components[name] = _component(row.values.mean(1), row.deviations.mean(1))
        elif row.deals_seeds and row.seeds.tolist() not in dealt:  # rows dealt alike: their difference holds both seeds
            components[name] = _dealt_component(values, row.seeds[0])
            dealt.append(row.seeds.tolist())
    if not overlap:  # folds test on different images, so what they differ by holds the test images' part
        components["test"] = _test_component(deviations.mean(0), num_groups)
    return Estimate(float(values.mean()), components)


def _test_component(deviations: np.ndarray, num_groups: int) -> Component:
    """Of the test groups, from the deviations of a mean or of a difference of means, float64 [R].

    One group more or less that is right is always in doubt, also where all were right: without this floor, which is
    Agresti and Min's (Biometrics 61, 2005) half a success to every cell, two perfect rows had no interval.
    """
    test = float(np.square(deviations).sum()) + 1 / num_groups**2
    return Component(test, test, max(2, num_groups))


def _component(levels: np.ndarray, deviations: np.ndarray) -> Component:
    """Of the mean of n levels, float64 [n], with test deviations [n, R]."""
    count = len(levels)
    noise = np.square(deviations - deviations.mean(0)).sum() / (count - 1)
    mean_square = float(levels.var(ddof=1))
    return Component(max(0.0, mean_square - float(noise)) / count, mean_square / count, count)


def _overlapping_component(values: np.ndarray, overlap: float, num_groups: int) -> Component:
    """Of the mean over the folds of repeated cross-validation, float64 [D].

    Folds share most of their training images, and rounds all of their images, so the mean over D of them varies by more
    than 1 / D of one: by 1 / D + overlap (Nadeau, Bengio, Machine Learning 52, 2003, eq. 9, for a correlation of the
    folds equal to the share of test images). The floor is that of `_test_component`.
    """
    variance = float(values.var(ddof=1)) * (1 / len(values) + overlap) + 1 / num_groups**2
    return Component(variance, variance, len(values))


def _dealt_component(values: np.ndarray, seeds: np.ndarray) -> Component:
    """Of seeds that have several draws each: float64 [D] by seed, int64 [D]. The draws' own part is taken off."""
    _, place, counts = np.unique(seeds, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=values) / counts
    within = np.square(values - means[place]).sum() / (len(values) - len(counts))
    between, share = float(means.var(ddof=1)), float(np.square(counts / len(values)).sum())
    return Component(max(0.0, between - float(within * (1 / counts).mean())) * share, between * share, len(counts))


def holm_confidences(p_values: Sequence[float], error: float = 0.05) -> list[float]:
    """The confidence at which to judge each of m verdicts so that any is false with probability `error` at most.

    Holm (Scandinavian Journal of Statistics 6, 1979): the smallest p-value is held against error / m, the next
    against error / (m - 1), until one is above its level; that level holds for all that are left. An interval at the
    confidence returned leaves out 0 exactly if Holm rejects.
    """
    confidences, left, stopped = [0.0] * len(p_values), len(p_values), False
    for place in np.argsort(p_values, kind="stable"):
        confidences[place] = 1 - error / left
        stopped = stopped or p_values[place] > error / left
        left -= 0 if stopped else 1
    return confidences
