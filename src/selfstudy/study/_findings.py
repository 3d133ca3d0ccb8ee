"""The schema of what summary.json says beyond verdicts: classes, labels saved, plateaus, times, ranks, costs.

As in `_summary.py`, scores and differences are shares (0.01 is one point), and a list is empty where a study asks nothing
of the kind. Numbers of labels are images, not images per class.
"""

from typing import Literal, TypedDict


class ClassSupport(TypedDict):
    """A class of the test images, and how well any recall of it can be known."""

    name: str
    num_test_images: int
    num_test_groups: int
    rare: bool  # fewer than 30 groups
    half_width: float  # of the 95 % interval (Wilson) of a recall of one half: 0.19 with 22 test images


class ClassScore(TypedDict):
    """Recall, precision and F1 of a class: means over seeds and draws. The interval is the recall's."""

    row: str
    protocol: str
    labels: str
    name: str  # of the class
    support: int  # test images of the class
    num_cells: int
    recall: float
    low: float
    high: float
    confidence: float
    precision: float
    f1: float


class LabelRange(TypedDict):
    """A number of labelled images, read off between the label counts of the study on a logarithmic scale.

    The fewest labels of the study: there or below. None: more than the study's most labels.
    """

    estimate: float | None
    low: float | None
    high: float | None


class LabelsSaved(TypedDict):
    """How many labels supervised training needs to score what row a scores with `num_labels`."""

    a: str
    b: str
    labels: str
    num_labels: float
    score: float  # of a
    needed: LabelRange
    confidence: float
    fewest: float  # labels of the study that b was trained on
    most: float


class PlateauStep(TypedDict):
    """A row on one fraction of the unlabelled images against the same row on the largest."""

    unlabelled: float
    num_images: int | None  # that were pretrained on, where a run says so
    mean: float
    difference: float  # to the largest fraction: below 0 it is behind
    low: float
    high: float
    verdict: Literal["better", "worse", "equivalent", "undecided", "itself"]


class Plateau(TypedDict):
    """From how much unlabelled data on a row gains nothing more."""

    entry: str
    labels: str
    protocol: str
    steps: list[PlateauStep]  # smallest fraction first; the last is the largest itself
    flat_from: float | None  # the smallest fraction from which on all are equivalent to the largest (or better)
    verdict: Literal["flat", "rising", "undecided"]  # rising: the fraction next to the largest is worse than it
    confidence: float


class CurvePoint(TypedDict):
    """A score that was measured."""

    images_seen: int  # up to there, in one pretraining or training
    seconds: float  # of one pretraining up to there and one evaluation
    mean: float  # over seeds and draws


class LearningCurve(TypedDict):
    """What a row scores along its pretraining."""

    row: str
    entry: str
    unlabelled: float
    labels: str
    protocol: str
    points: list[CurvePoint]  # the end last; it alone where nothing was measured on the way


class OutsideBudget(TypedDict):
    """A pretrained row that had more or less than the study's budget of pretraining."""

    row: str
    budget: Literal["seconds", "epochs", "images_seen"]
    asked: float
    had: float  # the mean over its runs


class TimeTo(TypedDict):
    """What a row took to reach a score with a number of labels, or that it never did.

    It counts as reached at the first point that was measured at or above it: nothing is interpolated or extrapolated.
    """

    level: float  # of the metric of the study
    named: bool  # whether the study file names the level (time_to), or it was chosen to be one that half the rows reach
    row: str
    entry: str
    unlabelled: float
    labels: str
    protocol: str
    mean: float  # at the end
    reached: bool  # whether the mean is at the level, at the end or before
    share_reached: float  # of the seeds and draws, at the end
    images_seen: int | None  # in one pretraining or training; None if not reached, as is `seconds`
    seconds: float | None  # of one pretraining, up to there, and one evaluation
    cheapest: bool  # the fewest seconds of the entry to reach the level at all
    measured: Literal["along training", "at its end", "without training"]  # where the row has scores to reach it with


class RankAgreement(TypedDict):
    """Whether two protocols put the rows in the same order: Kendall's tau-b, 1 the same, -1 the reverse."""

    protocol: str
    protocol_b: str
    labels: str
    rows: list[str]  # judged by both
    tau: float  # the mean over draws of the labels
    low: float | None  # over draws of the labels; None with one draw
    high: float | None
    confidence: float
    num_draws: int
    swapped: list[list[str]]  # [ahead by protocol, ahead by protocol_b] by the means over all draws


class TradeOff(TypedDict):
    """Score against seconds of a row at a label count. Means decide, not intervals."""

    row: str
    labels: str
    protocol: str
    mean: float
    low: float
    high: float
    seconds: float  # of one pretraining and one evaluation
    dominated_by: list[str]  # rows at least as good and at least as cheap, and better in one of the two
    pareto: bool  # dominated by none
