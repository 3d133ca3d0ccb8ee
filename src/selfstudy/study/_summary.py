"""The schema of summary.json. Scores and differences are shares (0.01 is one point); lists where JSON has lists."""

from typing import Literal, TypedDict

from selfstudy.study._findings import (
    ClassScore,
    ClassSupport,
    LabelRange,
    LabelsSaved,
    LearningCurve,
    OutsideBudget,
    Plateau,
    RankAgreement,
    TimeTo,
    TradeOff,
)
from selfstudy.study._power import Decide
from selfstudy.study._record import Gap, Kind

Verdict = Literal["better", "worse", "equivalent", "undecided"]
ChosenBy = Literal["validation", "validation at more labels", "test"]
StatementKind = Literal["supervised", "untrained", "best", "winner"]  # "winner": only in Winner["against"]


class Statement(TypedDict):
    """One verdict of row a against row b, and the numbers it follows from."""

    id: str  # kind/a/labels
    kind: StatementKind  # what b is: supervised training, the untrained encoder, or the runner-up of the best row a
    verdict: Verdict
    a: str
    b: str
    labels: str
    metric: str
    margin: float
    protocol: str  # of a
    protocol_b: str
    mean_a: float  # on the draws that a and b share
    mean_b: float
    difference: float
    low: float
    high: float
    confidence: float
    num_draws: int
    num_seeds: int  # of a
    num_seeds_b: int
    num_test_images: int
    varied: list[str]
    not_varied: list[str]
    tied_with: list[str]  # kind "best": the rows that a is not shown to be better than
    decide: Decide | None  # where undecided


class Crossover(TypedDict):
    """Where a learned row is better than supervised training, and from where on it no longer is."""

    a: str
    b: str
    protocol: str
    better_at: list[str]
    equivalent_at: list[str]
    worse_at: list[str]
    undecided_at: list[str]
    missing_at: list[str]
    pays_up_to: str | None  # better there and at every smaller label count of the study
    supervised_from: str | None  # supervised is better or equivalent there and at every larger label count
    catches_up: LabelRange  # where supervised has the same score as a: by means, and by the ends of the intervals
    fewest: float  # labelled images of the label counts at which both have scores
    most: float


class Point(TypedDict):
    """The mean score of a row at a label count by a protocol, with an interval of its own: no comparison."""

    row: str
    protocol: str
    decides: bool  # whether the verdicts are about this protocol
    labels: str
    mean: float
    low: float
    high: float
    standard_error: float
    confidence: float
    num_draws: int
    num_seeds: int
    num_collapsed: int  # of the scores


class RowCard(TypedDict):
    """A row that the study asks for, and how its pretraining runs ended."""

    row: str
    kind: Kind
    protocol: str | None  # that decides; None: there are no scores yet
    num_runs: int
    num_collapsed: int
    num_failed: int


class Cost(TypedDict):
    """Seconds of a row: pretraining over all its runs, and its evaluations by all protocols."""

    row: str
    pretraining_seconds: float
    num_runs: int  # that came to their end
    evaluation_seconds: float
    num_evaluations: int
    seconds: float


class Conditions(TypedDict):
    """What every statement is conditional on."""

    data: str
    unit: Literal["image", "page"]  # what has a label and is tested, and what the numbers here count
    num_train: int
    num_test_images: int
    num_test_groups: int
    classes: list[str]
    image_size: int
    backbones: list[str]
    protocols: list[str]
    labels: list[str]  # fewest first
    num_folds: int  # of repeated cross-validation, one round for each draw of the labels; 0: one test part
    transductive: bool  # whether methods were pretrained on the test images too, without their labels
    trials: int  # of every row's settings; 1: nothing was searched
    outside_budget: list[OutsideBudget]


class ValidationScore(TypedDict):
    """What a row scored in cross-validation inside the label budget: no test image was read."""

    row: str
    mean: float  # over the seeds and draws that all rows of the list have
    num_cells: int


class Winner(TypedDict):
    """The row to take at a label count. Chosen first, by validation; looked at on the test images only then."""

    labels: str
    row: str
    protocol: str
    chosen_by: ChosenBy  # "test": its score here is optimistic
    chosen_at: str  # the label count whose scores chose
    candidates: list[ValidationScore]  # best first; with "test", means on the test images
    unranked: list[str]  # rows with test scores that no validation score could put in order
    mean: float  # of the row, on the test images at `labels`
    low: float
    high: float
    confidence: float
    against: list[Statement]  # kind "winner": on the test images, against supervised, untrained and the runner-up
    best_on_test: str  # the row with the highest mean on the test images, after the fact
    regret: float  # how much higher that mean is


class Summary(TypedDict):
    """The whole file, but for `answer`: the three sentences that the report adds."""

    study: str
    question: str
    metric: str
    margin: float
    complete: bool
    missing: list[Gap]  # nothing if complete
    conditions: Conditions
    rows: list[RowCard]
    points: list[Point]
    statements: list[Statement]
    crossovers: list[Crossover]
    costs: list[Cost]
    winners: list[Winner]  # one for every label count with two rows or more
    test_classes: list[ClassSupport]  # rarest first, MOST_CLASSES at most
    class_scores: list[ClassScore]  # of those classes: every row, by the protocol that decides for it
    labels_saved: list[LabelsSaved]
    plateaus: list[Plateau]  # nothing where the study has one fraction of the unlabelled images
    learning_curves: list[LearningCurve]  # nothing where no run was judged along training
    times_to: list[TimeTo]
    agreements: list[RankAgreement]  # nothing where the study has one protocol, or fewer than three rows with two
    trade_offs: list[TradeOff]
