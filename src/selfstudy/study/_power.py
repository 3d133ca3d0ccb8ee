"""How much more would decide a verdict, and how small a difference a planned study can find."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from scipy import stats

from selfstudy.study._intervals import Component, Estimate

MOST = 100  # times as much as there is: beyond it nobody would run the study


class Decide(TypedDict):
    """What would decide an undecided verdict if the difference stays what it is; None: not that alone."""

    half_width: float  # the interval must become this narrow: to leave out 0, or to lie inside the margin
    further_draws: int | None
    further_seeds: int | None  # of each row that has several
    further_test_images: int | None
    times_everything: int | None  # or this many times the draws, seeds and test images together


def what_decides(estimate: Estimate, margin: float, confidence: float, num_test_images: int) -> Decide:
    """The least of each source, varied alone, that makes the interval of `estimate` narrow enough.

    Each component of variance shrinks with 1 / its count, as do its degrees of freedom's part; the components
    themselves are estimates from few draws, so the numbers are rough.
    """
    target = max(abs(estimate.mean), margin - abs(estimate.mean))
    parts = estimate.components
    draws = _times(parts, {"draws"}, target, confidence)
    seeds = _times(parts, {"seeds of a", "seeds of b"}, target, confidence)
    test = _times(parts, {"test"}, target, confidence)
    most_seeds = max((parts[name].count for name in ("seeds of a", "seeds of b") if name in parts), default=0)
    return Decide(
        half_width=target,
        further_draws=None if draws is None else _further(parts["draws"].count, draws),
        further_seeds=None if seeds is None else _further(most_seeds, seeds),
        further_test_images=None if test is None else _further(num_test_images, test),
        times_everything=_whole_times(parts, target, confidence),
    )


def _further(count: float, times: float) -> int:
    return max(1, math.ceil(count * times) - round(count))


def _times(parts: Mapping[str, Component], names: set[str], target: float, confidence: float) -> float | None:
    """The factor by which the counts of `names` must grow; None if MOST is too few or they were not varied."""
    names = names & set(parts)
    if not names or _grown(parts, names, MOST).half_width(confidence) > target:
        return None
    low, high = 1.0, float(MOST)
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if _grown(parts, names, middle).half_width(confidence) <= target else (middle, high)
    return high


def _whole_times(parts: Mapping[str, Component], target: float, confidence: float) -> int | None:
    return next((n for n in range(2, MOST + 1) if _grown(parts, set(parts), n).half_width(confidence) <= target), None)


def _grown(parts: Mapping[str, Component], names: set[str], times: float) -> Estimate:
    """The estimate with `times` as many draws, seeds or test groups."""
    grown = {
        name: Component(part.variance / times, part.mean_square / times, part.count * times) if name in names else part
        for name, part in parts.items()
    }
    return Estimate(0.0, grown)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is assumed before anything has run. All three shrink with the square root of the labels per class.

    That is the law for the mean of independent examples. The first number was measured on 5,000 digits with one label
    per class; the share of disputed images follows there from accuracies of 0.83 and 0.73. Data of another kind may
    have twice as much of each, so what is computed from these is an order of magnitude.
    """

    draw_sd: float = 0.045  # of a score over draws of one label per class
    draw_correlation: float = 0.5  # between two rows: an atypical example misleads both
    seed_sd: float = 0.005  # of a score over pretraining seeds
    disputed: float = 0.25  # the share of test images that just one of two rows gets right


def smallest_detectable_difference(
    *,
    num_draws: int,
    num_seeds: int,
    num_test: float,
    labels_per_class: float,
    num_verdicts: int = 1,
    power: float = 0.8,
    error: float = 0.05,
    prior: Prior = Prior(),
) -> float:
    """The true difference to supervised training that the study calls better or worse with probability `power`.

    For a row with `num_seeds` seeds on each of `num_draws` draws, against one training a draw, where `num_verdicts`
    verdicts share the probability `error` of a false one (the first step of Holm, so no verdict needs more).
    `num_test` counts independent test images: the groups, see `effective_groups`. What was not varied (one seed, one
    draw) is not covered, as in the verdicts themselves.
    """
    scale = labels_per_class**-0.5
    parts = {"test": _known(prior.disputed * scale / num_test, num_test)}
    if num_draws > 1:
        # a supervised training differs by its seed too, and that varies with the draw
        between = 2 * (1 - prior.draw_correlation) * (prior.draw_sd * scale) ** 2 + prior.seed_sd**2
        parts["draws"] = _known(between / num_draws, num_draws)
    if num_seeds > 1:
        rows = ("seeds of a",) if num_draws > 1 else ("seeds of a", "seeds of b")
        parts |= {name: _known(prior.seed_sd**2 / num_seeds, num_seeds) for name in rows}
    estimate = Estimate(0.0, parts)
    freedom = estimate.degrees_of_freedom
    quantiles = stats.t.ppf(1 - error / num_verdicts / 2, freedom) + stats.t.ppf(power, freedom)
    return float(quantiles * estimate.variance**0.5)


def effective_groups(groups: np.ndarray) -> float:
    """How many independent images test images in groups, str [T], are worth: their number where each is a group.

    The variance of a mean over groups that are right or wrong as a whole is that over this many images (Kish, Survey
    Sampling, 1965, ch. 5): the worst case, since before the study nobody knows how alike the images of a group are.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return float(sizes.sum() ** 2 / np.square(sizes).sum())


def _known(variance: float, count: float) -> Component:
    return Component(variance, variance, count)
