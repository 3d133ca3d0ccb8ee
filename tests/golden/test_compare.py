"""Intervals against textbook tests and simulated coverage; verdicts on studies whose truth is known.

Each test names the change to the code that it must notice.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from selfstudy.errors import UserError
from selfstudy.rng import Rng
from selfstudy.study._comparison import Comparison, judge
from selfstudy.study._deviations import accuracy_deviations, bootstrap_deviations, resample_weights
from selfstudy.study._intervals import Grid, estimate_difference, estimate_mean, grid, holm_confidences
from selfstudy.study._power import smallest_detectable_difference, what_decides
from selfstudy.study._record import StudyRecord
from selfstudy.study.compare import best, summarise
from tests.reference import statistics
from tests.synthetic_study import Truth, write_study

MANY = 10**9  # test groups: the test sample is then no source of variance


def make_grid(values: np.ndarray, deviations: np.ndarray | None = None, *, own_seeds: bool = False) -> Grid:
    """Seeds x draws; without `deviations` no test noise."""
    num_seeds, num_draws = values.shape
    seeds = np.arange(num_draws)[None] if own_seeds else np.repeat(np.arange(num_seeds)[:, None], num_draws, axis=1)
    deviations = np.zeros((*values.shape, 1)) if deviations is None else deviations
    return Grid(values, deviations, np.arange(num_draws), seeds)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_draws_alone_give_the_one_sample_t_interval(confidence):
    """Mutation: var(ddof=0), or count instead of count - 1 degrees of freedom."""
    values = np.array([[0.81, 0.79, 0.86, 0.84, 0.77]])
    expected = stats.ttest_1samp(values[0], 0).confidence_interval(confidence)
    assert estimate_mean(make_grid(values), MANY).interval(confidence) == pytest.approx(tuple(expected), rel=1e-6)


def test_shared_draws_give_the_paired_t_interval():
    """Mutation: adding the two rows' variances instead of taking the differences by draw."""
    a, b = np.array([[0.81, 0.79, 0.86, 0.84, 0.77]]), np.array([[0.72, 0.71, 0.80, 0.74, 0.66]])
    found = estimate_difference(make_grid(a), make_grid(b, own_seeds=True), MANY)
    expected = stats.ttest_rel(a[0], b[0])
    assert found is not None
    assert found.interval(0.95) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-6)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_seeds_alone_give_the_welch_interval():
    """Mutation: pairing the seeds of different rows."""
    a, b = np.array([[0.95], [0.97], [0.96]]), np.array([[0.91], [0.94], [0.90]])
    found = estimate_difference(make_grid(a), make_grid(b), MANY)
    expected = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert found.interval(0.95) == pytest.approx(tuple(expected), rel=1e-6)


def test_crossed_design_sums_the_mean_squares_of_anova():
    """Mutations: no component of the seeds; degrees of freedom of the mean squares after their relief."""
    rng = np.random.default_rng(0)
    values = 0.8 + rng.normal(0, 0.03, (1, 5)) + rng.normal(0, 0.03, (3, 1)) + rng.normal(0, 0.01, (3, 5))
    deviations = rng.normal(0, 0.003, (3, 5, 4))
    mean_squares = statistics.two_way_mean_squares(values.tolist())
    noises = [statistics.two_way_mean_squares(deviations[:, :, column].tolist()) for column in range(4)]
    between_seeds, between_draws = (
        square - sum(noise[place] for noise in noises) for place, square in enumerate(mean_squares)
    )
    assert min(between_seeds, between_draws) > 0
    test = sum(deviations[:, :, column].mean() ** 2 for column in range(4))
    found = estimate_mean(make_grid(values, deviations), MANY)
    assert found.variance == pytest.approx((between_seeds + between_draws) / 15 + test, rel=1e-6)
    below = statistics.satterthwaite([(mean_squares[0] / 15, 2), (mean_squares[1] / 15, 4), (test, MANY - 1)])
    before = (mean_squares[0] + mean_squares[1]) / 15 + test
    assert found.degrees_of_freedom == pytest.approx(below * found.variance**2 / before**2, rel=1e-6)


def test_test_noise_is_taken_out_of_the_draws_and_counted_once():
    """Cells that differ by test noise alone leave about the variance of their mean. Mutation: no relief, which doubles it."""
    rng = np.random.default_rng(0)
    num_draws, num_images, found = 5, 400, []
    for _ in range(200):
        right = (rng.random((num_draws, num_images)) < 0.8).astype(float)
        means = right.mean(1)
        deviations = (right - means[:, None]) / num_images
        found.append(estimate_mean(make_grid(means[None], deviations[None]), num_images).variance)
    truth = 0.8 * 0.2 / num_images / num_draws
    # clamping keeps what chance leaves above 0: for a chi-square of 4 degrees 0.54 of the draws' mean square's mean
    assert 1.0 * truth < np.mean(found) < 1.5 * truth


def simulated_coverage(
    num_seeds: int, num_draws: int, own_seeds: bool, sds: tuple[float, float, float], repeats: int
) -> float:
    """How often the 95 % interval of a difference holds the truth, 0, for effects of draws, seeds and the rest of given sds.

    Row a has `num_seeds` crossed with the draws; row b too, or a seed of its own on every draw.
    """
    rng, num_images = np.random.default_rng(num_seeds * 10 + num_draws), 200
    draw_sd, seed_sd, cell_sd = sds
    seed_sd, draw_sd = seed_sd * (num_seeds > 1), draw_sd * (num_draws > 1)  # what is not varied is not covered
    covered = 0
    for _ in range(repeats):
        shared_draw, shared_image = rng.normal(0, draw_sd, num_draws), rng.normal(0, 0.3, num_images)
        rows = []
        for own in (False, own_seeds):
            seeds = 1 if own else num_seeds
            draw = 0.7 * shared_draw + 0.7 * rng.normal(0, draw_sd, num_draws)
            effects = (
                draw
                + rng.normal(0, seed_sd, (1, num_draws) if own else (seeds, 1))
                + rng.normal(0, cell_sd, (seeds, num_draws))
            )
            hardness = 0.7 * shared_image + 0.7 * rng.normal(0, 0.3, num_images)
            images = hardness + rng.normal(0, 0.3, (seeds, num_draws, num_images)) + effects[..., None]
            means = images.mean(-1)
            deviations = (images - means[..., None]) / num_images * np.sqrt(num_images / (num_images - 1))
            rows.append(make_grid(means, deviations, own_seeds=own and num_draws > 1))
        found = estimate_difference(rows[0], rows[1], num_images)
        assert found is not None
        low, high = found.interval(0.95)
        covered += low <= 0 <= high
    return covered / repeats


@pytest.mark.parametrize(
    "sds", [(0.100, 0.005, 0.010), (0.010, 0.020, 0.005), (0.0, 0.0, 0.0)], ids=["draws", "seeds", "test"]
)
@pytest.mark.parametrize(
    ("num_seeds", "num_draws", "own_seeds"),
    [(2, 5, True), (2, 5, False), (1, 5, True), (2, 1, False), (3, 3, False), (2, 3, True)],
    ids=["2x5 against one a draw", "2x5 against 2x5", "1x5 against one a draw", "2x1", "3x3", "2x3 against one a draw"],
)
def test_intervals_cover_the_truth(num_seeds, num_draws, own_seeds, sds):
    """Nominal 0.95. Mutations: the normal instead of t (0.85 for 3x3), degrees of freedom after the relief (0.89)."""
    assert 0.90 <= simulated_coverage(num_seeds, num_draws, own_seeds, sds, repeats=400) <= 0.995


def test_fine_tuned_rows_cover_their_dealt_seeds():
    """Draws 0, 2, 4 with seed 0 and 1, 3, 5 with seed 1. Mutation: `deals_seeds` false, which covers 0.75."""
    rng, covered = np.random.default_rng(0), 0
    seeds = np.array([[0, 1, 0, 1, 0, 1]])
    for _ in range(400):
        values = rng.normal(0, 0.01, (1, 6)) + rng.normal(0, 0.02, 2)[seeds]
        low, high = estimate_mean(Grid(values, np.zeros((1, 6, 1)), np.arange(6), seeds), MANY).interval(0.95)
        covered += low <= 0 <= high
    assert covered / 400 >= 0.90


@pytest.mark.parametrize("images_per_group", [1, 5])
def test_deviations_have_the_covariance_of_resampled_scores(images_per_group):
    """Against a bootstrap with scikit-learn's metrics. Mutation: ignoring the groups."""
    rng, num_images = np.random.default_rng(0), 300
    labels = rng.integers(0, 3, num_images)
    groups = np.arange(num_images) // images_per_group
    hard = np.repeat(rng.random(num_images // images_per_group) < 0.3, images_per_group)  # a whole group is hard
    predictions = [
        np.where(hard & (rng.random(num_images) < p), rng.integers(0, 3, num_images), labels) for p in (0.9, 0.6)
    ]
    weights = resample_weights(groups.max() + 1, Rng.from_seed(0))
    scores = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "macro_f1": lambda truth, predicted: f1_score(truth, predicted, average="macro"),
    }
    for metric, score in scores.items():
        expected = statistics.bootstrap_covariance(score, predictions, labels, groups, 300, rng)
        found = np.stack([
            accuracy_deviations(predicted, labels, groups) if metric == "accuracy"
            else bootstrap_deviations(metric, predicted, labels, groups, 3, weights)
            for predicted in predictions
        ])  # fmt: skip
        assert found @ found.T == pytest.approx(expected, rel=0.3), metric


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_resampled_scores_are_those_of_scikit_learn(metric):
    """The deviations of two resamples differ by the difference of their scores. Mutation: hits / predicted for F1."""
    rng = np.random.default_rng(0)
    labels, predictions, groups = rng.integers(0, 4, 60), rng.integers(0, 4, 60), np.arange(60) // 2
    score = balanced_accuracy_score if metric == "balanced_accuracy" else lambda *both: f1_score(*both, average="macro")
    weights = rng.integers(0, 3, (2, 30)).astype(np.float32)
    first, second = (
        score(*(np.repeat(array, weight[groups].astype(int)) for array in (labels, predictions))) for weight in weights
    )
    found = bootstrap_deviations(metric, predictions, labels, groups, 5, weights)  # the fifth class never occurs
    assert found[0] - found[1] == pytest.approx(first - second, abs=1e-6)


def test_two_perfect_rows_still_have_an_interval():
    """With 50 test images nobody knows to within one point. Mutation: no floor under the test component."""
    perfect = make_grid(np.ones((1, 1)), np.zeros((1, 1, 50)))
    found = estimate_difference(perfect, perfect, 50)
    assert found is not None
    assert judge(*found.interval(0.95), margin=0.01) == "undecided"
    many = estimate_difference(perfect, perfect, 5000)
    assert many is not None
    assert judge(*many.interval(0.95), margin=0.01) == "equivalent"


def test_grid_leaves_out_the_seed_or_draw_with_holes():
    """Mutation: dropping draws only, which would leave 2 x 2 here."""
    seeds, draws = np.array([0, 0, 0, 0, 1]), np.array([0, 1, 2, 3, 2])
    found = grid(seeds, draws, np.arange(5.0), np.zeros((5, 1)))
    assert found.values.tolist() == [[0, 1, 2, 3]]
    assert (found.num_seeds, found.deals_seeds) == (1, False)
    diagonal = grid(np.array([2, 0, 1]), np.array([2, 0, 1]), np.arange(3.0), np.zeros((3, 1)))
    assert diagonal.values.tolist() == [[1, 2, 0]]
    assert (diagonal.num_seeds, diagonal.deals_seeds) == (3, False)


def test_difference_uses_the_shared_draws_only():
    """Mutation: means over all draws of each row."""
    a = make_grid(np.array([[0.5, 0.6, 0.9]]))
    b = Grid(np.array([[0.4, 0.4]]), np.zeros((1, 2, 1)), np.array([0, 1]), np.array([[0, 1]]))
    found = estimate_difference(a, b, MANY)
    assert found is not None
    assert found.mean == pytest.approx(0.15)
    other = Grid(np.array([[0.4]]), np.zeros((1, 1, 1)), np.array([7]), np.array([[0]]))
    assert estimate_difference(a, other, MANY) is None


def test_holm_rejects_exactly_where_the_interval_leaves_out_zero():
    """Mutation: going on after the first p-value above its level."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = (10.0 ** rng.uniform(-4, 0, rng.integers(1, 8))).tolist()
        found = [p <= 1 - confidence for p, confidence in zip(p_values, holm_confidences(p_values, 0.05), strict=True)]
        assert found == statistics.holm_rejects(p_values, 0.05)
    assert holm_confidences([0.5, 0.001]) == pytest.approx([0.95, 0.975])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.03, "better"),
        (-0.03, -0.001, "worse"),
        (-0.01, 0.01, "equivalent"),
        (-0.011, 0.009, "undecided"),
        (0.001, 0.009, "equivalent"),
    ],
)
def test_the_four_verdicts(low, high, verdict):
    """Mutation: asking for better before equivalent."""
    assert judge(low, high, margin=0.01) == verdict


def test_what_decides_is_just_enough():
    """Mutation: leaving the degrees of freedom as they are."""
    rng = np.random.default_rng(3)
    values = rng.normal(0.02, 0.03, (1, 5))
    found = estimate_mean(make_grid(values), MANY)
    decide = what_decides(found, margin=0.01, confidence=0.95, num_test_images=1000)
    assert (
        decide["further_draws"] is not None
        and decide["further_seeds"] is None
        and decide["further_test_images"] is None
    )
    sd = values.std(ddof=1)
    half = [
        stats.t.ppf(0.975, n - 1) * sd / n**0.5 for n in (5 + decide["further_draws"], 5 + decide["further_draws"] - 1)
    ]
    assert half[0] <= decide["half_width"] < half[1]


def test_smallest_detectable_difference_has_the_power_it_claims():
    """By simulation of its own assumptions. Mutation: without the quantile of the power (0.5 of the studies find it)."""
    rng, num_draws, num_test = np.random.default_rng(0), 5, 1000
    asked = smallest_detectable_difference(num_draws=num_draws, num_seeds=1, num_test=num_test, labels_per_class=1)
    found = 0
    for _ in range(2000):
        test = rng.normal(0, (0.25 / num_test) ** 0.5)
        draws = asked + test + rng.normal(0, (0.045**2 + 0.005**2) ** 0.5, num_draws)
        variance, noise = draws.var(ddof=1) / num_draws, 0.25 / num_test
        freedom = (variance + noise) ** 2 / (variance**2 / 4 + noise**2 / 999)
        found += abs(draws.mean()) > stats.t.ppf(0.975, freedom) * (variance + noise) ** 0.5
    assert 0.74 < found / 2000 < 0.86


def test_smallest_detectable_difference_shrinks_with_more_of_anything():
    """Mutation: a count in the numerator."""
    plain = {"num_draws": 5, "num_seeds": 2, "num_test": 1000, "labels_per_class": 4}
    base = smallest_detectable_difference(**plain)
    for name in plain:
        assert smallest_detectable_difference(**{**plain, name: 2 * plain[name]}) < base
    assert smallest_detectable_difference(**plain, num_verdicts=10) > base


SMALL = {"protocols": ("linear",), "num_test": 500}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return summarise(StudyRecord.read(write_study(tmp_path_factory.mktemp("study") / "digits", Truth(**SMALL))))


def test_summary_finds_the_truth_of_the_built_in_story(summary):
    """Simclr gains 11 points with one label, the autoencoder loses everywhere. Mutation: b less a."""
    verdicts = {statement["id"]: statement["verdict"] for statement in summary["statements"]}
    assert verdicts["supervised/simclr/1"] == "better"
    assert all(verdicts[f"supervised/autoencoder/{labels}"] == "worse" for labels in ("1", "4", "10"))
    assert verdicts["untrained/simclr/1"] == "better"
    crossover = {found["a"]: found for found in summary["crossovers"]}
    assert crossover["simclr"]["pays_up_to"] == "1"
    assert crossover["autoencoder"]["pays_up_to"] is None


def test_summary_is_consistent_json(summary):
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert len({statement["id"] for statement in summary["statements"]}) == len(summary["statements"])
    for statement in summary["statements"]:
        assert statement["low"] <= statement["difference"] <= statement["high"]
        assert statement["difference"] == pytest.approx(statement["mean_a"] - statement["mean_b"])
        assert (statement["decide"] is not None) == (statement["verdict"] == "undecided")
        assert statement["confidence"] >= 0.95
    for point in summary["points"]:
        assert point["low"] <= point["mean"] <= point["high"]
    assert summary["complete"] is True
    assert [row["kind"] for row in summary["rows"]] == ["majority", "untrained", "supervised", *3 * ["learned"]]


def test_statements_name_what_was_varied_and_what_was_not(summary):
    """Mutation: calling the seeds of a row with one seed varied."""
    by_id = {statement["id"]: statement for statement in summary["statements"]}
    first = by_id["supervised/simclr/1"]
    assert first["varied"] == ["label draws", "seeds of simclr", "seeds of supervised", "test images"]
    assert (first["num_draws"], first["num_seeds"], first["num_seeds_b"], first["not_varied"]) == (5, 2, 5, [])
    assert by_id["supervised/simclr/all"]["not_varied"] == ["training images"]


def test_one_seed_and_one_draw_cover_the_test_images_alone(tmp_path):
    record = StudyRecord.read(write_study(tmp_path / "one", Truth(**SMALL, seeds=1, draws={"1": 1, "4": 1, "10": 1})))
    statement = summarise(record)["statements"][0]
    assert statement["varied"] == ["test images"]
    assert statement["not_varied"] == ["label draws", "seeds of autoencoder", "seeds of supervised"]
    predictions = {}
    for row in record.rows:
        cells = record.scores(row, record.protocol(row), "1")["cell"]
        predictions[row.name] = record.predictions(cells[0]) == record.test_labels
    difference = predictions["autoencoder"].astype(float) - predictions["supervised"]
    half = stats.t.ppf((1 + statement["confidence"]) / 2, 499) * (difference.var(ddof=1) / 500 + 1 / 500**2) ** 0.5
    assert (statement["high"] - statement["low"]) / 2 == pytest.approx(half, rel=1e-6)


def test_unfinished_and_failed_cells_are_told_apart(tmp_path):
    """Mutation: counting a failed cell as one that is still to come."""
    truth = Truth(**SMALL, missing=[("supervised", "10"), ("supervised", "all")], failed=[("byol", 0)])
    summary = summarise(StudyRecord.read(write_study(tmp_path / "part", truth)))
    gaps = {(gap["row"], gap["labels"]): (gap["planned"], gap["failed"], gap["to_come"]) for gap in summary["missing"]}
    assert summary["complete"] is False
    assert gaps["supervised", "10"] == (3, 0, 3)
    assert gaps["byol", "1"] == (10, 5, 0)
    assert {s["labels"] for s in summary["statements"] if s["kind"] == "supervised"} == {"1", "4"}
    assert {row["row"]: row["num_failed"] for row in summary["rows"]}["byol"] == 1


def test_the_best_row_is_better_than_every_other(tmp_path):
    """Mutation: comparing with the runner-up alone, though a third row varies so much that it may be the best."""
    accuracy = {"simclr": (0.9,), "byol": (0.7,), "autoencoder": (0.65,)}
    truth = Truth(**SMALL, accuracy=accuracy, labels=("4",), draws={"4": 8}, seeds=3, seed_sd=0.02, cell_sd=0.02)
    comparison = Comparison(StudyRecord.read(write_study(tmp_path / "clear", truth)))
    [found] = best(comparison, "4")
    assert (found["a"], found["b"], found["verdict"], found["tied_with"]) == ("simclr", "byol", "better", [])
    comparison.grids["autoencoder", "linear", "4"] = make_grid(
        np.array([[0.2, 1.0, 0.3, 1.0, 0.4, 1.0, 0.2, 0.9]]), np.zeros((1, 8, 500))
    )
    [found] = best(comparison, "4")
    assert (found["a"], found["b"], found["tied_with"]) == ("simclr", "byol", ["autoencoder"])


def test_group_and_macro_f1_study(tmp_path):
    """Groups of alike images count once: the interval is about sqrt(5) wider. Mutation: resampling images."""
    truth = Truth(metric="macro_f1", protocols=("linear",), accuracy={"simclr": (0.9,)}, labels=("all",), seeds=1)
    [plain] = summarise(StudyRecord.read(write_study(tmp_path / "plain", truth)))["points"]
    folder = write_study(tmp_path / "grouped", truth)
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    record = StudyRecord.read(folder)
    [cell] = record.scores(record.rows[0], "linear", "all")["cell"]
    right = record.predictions(cell) == record.test_labels
    order = np.argsort(
        np.argsort(right, kind="stable"), kind="stable"
    )  # images of one group are right or wrong together
    splits["test_groups"] = [f"group{place // 5}" for place in order]
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    [grouped] = summarise(StudyRecord.read(folder))["points"]
    assert 1.9 < grouped["standard_error"] / plain["standard_error"] < 2.6


def test_label_counts_are_sorted_by_how_many_images_they_are(tmp_path):
    """Mutation: reading 0.01 as per class."""
    truth = Truth(**SMALL, labels=("all", "0.01", "4", "total:15"), accuracy={"simclr": (0.9,) * 4}, draws={})
    assert StudyRecord.read(write_study(tmp_path / "labels", truth)).labels == ("total:15", "0.01", "4", "all")


def test_runs_and_training_curves_are_found(tmp_path):
    record = StudyRecord.read(write_study(tmp_path / "runs", Truth(**SMALL)))
    path = record.runs["simclr", 1.0, 1]
    assert record.run_card(path)["seed"] == 1
    assert {"step", "loss", "z_std", "h_rank"} <= set(record.metrics(path))
    assert all(late <= early for early, late in pairwise(record.metrics(path)["loss"]))
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 620, "lo')  # killed while it wrote
    assert record.metrics(path)["step"].max() == 580
    assert record.metrics(record.runs["random", 1.0, 0]).empty


def test_what_is_no_study_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"is not a study folder: it holds no study\.yaml"):
        StudyRecord.read(tmp_path)
    (tmp_path / "study.yaml").write_text("name: x\n", encoding="utf-8")
    with pytest.raises(UserError, match="has not begun"):
        StudyRecord.read(tmp_path)


@pytest.mark.parametrize("name", ["splits.json", "plan.json", "results.csv"])
def test_damaged_files_are_named(tmp_path, name):
    folder = write_study(tmp_path / "damaged", Truth(**SMALL, accuracy={"simclr": (0.8,) * 4}))
    (folder / name).write_text('{"cells', encoding="utf-8")
    with pytest.raises(UserError, match=name):
        StudyRecord.read(folder)


def test_missing_predictions_are_named(tmp_path):
    folder = write_study(tmp_path / "damaged", Truth(**SMALL, accuracy={"simclr": (0.8,) * 4}))
    victim: Path = next(folder.glob("cells/*/predictions.safetensors"))
    victim.write_bytes(b"not safe")
    with pytest.raises(UserError, match=f"{victim.parent.name}.*missing or damaged"):
        summarise(StudyRecord.read(folder))
