"""What a summary finds beside its verdicts, against closed forms, scikit-learn, SciPy, twins and simulated coverage.

Each test names the change to the code that it must notice.
"""

import json
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from scipy import stats
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from selfstudy.evaluation import ATTRIBUTE_METRICS
from selfstudy.rng import Rng
from selfstudy.study._classes import supports
from selfstudy.study._comparison import Comparison
from selfstudy.study._deviations import accuracy_deviations, auc_deviations, jackknife_blocks, jackknife_deviations
from selfstudy.study._intervals import Component, Estimate, Grid, estimate_contrast, estimate_mean
from selfstudy.study._labels import first_crossing
from selfstudy.study._power import effective_groups
from selfstudy.study._record import StudyRecord
from selfstudy.study._shares import effective_count, half_width, share_spread, wilson
from selfstudy.study._summary import Summary
from selfstudy.study.compare import summarise
from tests.reference import statistics
from tests.synthetic_study import ACCURACY, Truth, write_study

MANY = 10**9  # test groups: the test sample is then no source of variance
SMALL = {"protocols": ("linear",), "num_test": 300, "draws": {"1": 3, "4": 2, "10": 2}}


def summary_of(folder: Path, **truth: Any) -> Summary:
    return summarise(StudyRecord.read(write_study(folder, Truth(**{**SMALL, **truth}))))


def as_fractions(folder: Path, fractions: dict[str, float], entry: str = "simclr") -> StudyRecord:
    """The study with some of its rows turned into one entry on fractions of the unlabelled images."""
    table = pd.read_csv(folder / "results.csv", dtype={"labels": str})
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    for name, fraction in fractions.items():
        table.loc[table["entry"] == name, ["entry", "method", "unlabelled"]] = [entry, entry, fraction]
        for cell in plan["cells"]:
            if cell["entry"] == name:
                cell |= {"entry": entry, "method": entry, "unlabelled": fraction}
    table.to_csv(folder / "results.csv", index=False)
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    settings = (folder / "study.yaml").read_text(encoding="utf-8")
    for name in fractions:
        settings = settings.replace(f"- {name}\n", "" if name != entry else f"- {name}\n")
    (folder / "study.yaml").write_text(settings, encoding="utf-8")
    return StudyRecord.read(folder)


def conforms(value: object, kind: Any) -> bool:
    """Whether a JSON value is of a type of the schema: no key more, none less."""
    origin, parts = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return isinstance(value, dict) and set(value) == set(hints) and all(conforms(value[k], hints[k]) for k in hints)
    if origin is list:
        return isinstance(value, list) and all(conforms(item, parts[0]) for item in value)
    if origin is Literal:
        return value in parts
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return any(conforms(value, part) for part in parts)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


# Classes


@pytest.mark.parametrize(("hits", "count"), [(0, 22), (11, 22), (22, 22), (3, 7), (97, 100)])
def test_wilson_is_scipys(hits, count):
    """Mutation: the normal interval, which is empty at 0 and at 1."""
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits / count, count, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_twenty_two_images_are_nineteen_points():
    assert round(100 * half_width(22, 0.95)) == 19
    assert round(100 * half_width(30, 0.95)) == 17


def test_class_scores_are_scikit_learns_and_their_interval_wilsons(tmp_path):
    """One seed, one draw, single images. Mutations: hits over predicted for the recall, the predicted as support."""
    folder = write_study(
        tmp_path / "one", Truth(**{**SMALL, "draws": {}}, seeds=1, labels=("4",), accuracy={"simclr": (0.8,)})
    )
    record = StudyRecord.read(folder)
    [cell] = record.scores(record.rows[0], "linear", "4")["cell"]
    truth, predictions = record.test_labels, record.predictions(cell)
    expected = precision_recall_fscore_support(truth, predictions, zero_division=0)
    found = {score["name"]: score for score in summarise(record)["class_scores"]}
    assert len(found) == 10
    for number in range(10):
        score = found[str(number)]
        numbers = [score["precision"], score["recall"], score["f1"], score["support"]]
        assert numbers == pytest.approx([column[number] for column in expected])
        hits, count = round(score["recall"] * score["support"]), score["support"]
        interval = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
        assert (score["low"], score["high"]) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize(("images_per_group", "num_draws"), [(1, 1), (5, 1), (1, 4)])
def test_intervals_of_a_recall_cover_the_truth(images_per_group, num_draws):
    """60 images of a class; groups and draws alike within. Mutations: a group of five counted as five (0.67), no draws (0.80)."""
    rng, covered, repeats = np.random.default_rng(0), 0, 400
    num_groups = 60 // images_per_group
    for _ in range(repeats):
        hard = np.repeat(rng.normal(0, 1.0, num_groups), images_per_group)
        draws = rng.normal(0, 0.6 if num_draws > 1 else 0.0, (num_draws, 1))
        right = (0.8 + hard + draws + rng.normal(0, 0.5, (num_draws, 60)) > 0).astype(float)
        spread = (1.0 + 0.25 + (0.36 if num_draws > 1 else 0)) ** 0.5
        truth = stats.norm.cdf(0.8 / spread)
        recall = right.mean(1)
        sums = (right - recall[:, None]).reshape(num_draws, num_groups, images_per_group).sum(2) / 60
        cells = Grid(recall[None], sums[None], np.arange(num_draws), np.zeros((1, num_draws), dtype=int))
        estimate = estimate_mean(cells, MANY)
        count = effective_count(estimate, 60, num_groups, 0.95)
        low, high = wilson(estimate.mean, count, 0.95)
        covered += low <= truth <= high
    assert 0.92 <= covered / repeats <= 0.995


def test_where_all_images_fare_alike_a_group_is_one_image():
    """Ten groups of ten images, all found: not more sure than of ten images. Mutation: the images counted."""
    estimate = Estimate(1.0, {"test": Component(1e-18, 1e-18, 10)})
    assert effective_count(estimate, 100, 10, 0.95) == 10
    assert wilson(1.0, 10, 0.95)[0] == pytest.approx(0.7225, abs=1e-4)


def recalls_of(rng: np.random.Generator, num_classes: int, seed_sd: float) -> tuple[np.ndarray, list[Estimate]]:
    """True recalls of classes of 50 images each, and what two seeds on two draws of labels show of them."""
    centres, sources = rng.normal(0.9, 0.3, num_classes), 0.5 + seed_sd**2
    truth = stats.norm.cdf(centres / (1 + sources) ** 0.5)
    estimates = []
    for centre in centres.tolist():
        images, seeds, draws = rng.normal(0, 1, 50), rng.normal(0, seed_sd, (2, 1, 1)), rng.normal(0, 0.5, (1, 2, 1))
        right = (centre + images + seeds + draws + rng.normal(0, 0.5, (2, 2, 50)) > 0).astype(float)
        recall = right.mean(2)
        cells = Grid(recall, (right - recall[..., None]) / 50, np.arange(2), np.broadcast_to([[0], [1]], (2, 2)))
        estimates.append(estimate_mean(cells, MANY))
    return truth, estimates


@pytest.mark.parametrize("seed_sd", [0.0, 0.3])
def test_two_seeds_give_intervals_that_neither_jump_nor_lie(seed_sd):
    """Ten classes of 50 images. Mutation: each class by its own degree of freedom, when one interval in ten is 94 points wide."""
    rng, covered, widths = np.random.default_rng(0), [], []
    for _ in range(60):
        truth, estimates = recalls_of(rng, 10, seed_sd)
        for share, estimate in zip(truth, share_spread(estimates, [50] * 10), strict=True):
            low, high = wilson(estimate.mean, effective_count(estimate, 50, 50, 0.95), 0.95)
            covered.append(low <= share <= high)
            widths.append(high - low)
    assert np.mean(covered) >= 0.93
    assert np.quantile(widths, 0.9) < 0.6


def test_what_seeds_add_is_learned_from_all_classes():
    """Shares of 0.2, 0.5 and 1, of ten images each. Mutations: the mean of the variances; degrees of freedom of one class."""
    parts = {"seeds of a": Component(0.02, 0.03, 2), "test": Component(0.001, 0.001, 10)}
    still = {"seeds of a": Component(0.0, 0.01, 2), "test": Component(0.002, 0.002, 10)}
    all_found = {"seeds of a": Component(0.0, 0.0, 2), "test": Component(0.0, 0.0, 10)}
    shares = (0.2, parts), (0.5, still), (1.0, all_found)
    found = share_spread([Estimate(share, each) for share, each in shares], [10] * 3)
    scales = [hits / 11 * (1 - hits / 11) for hits in (2.5, 5.5, 10.5)]
    for estimate, scale, (_, each) in zip(found, scales, shares, strict=True):
        seeds = estimate.components["seeds of a"]
        assert (seeds.variance, seeds.mean_square) == pytest.approx(
            (scale * 0.02 / sum(scales), scale * 0.04 / sum(scales))
        )
        assert seeds.count == 4 and estimate.components["test"] == each["test"]
    alone = Estimate(0.2, parts)
    [same] = share_spread([alone], [10])
    assert same.variance == pytest.approx(alone.variance) and same.components["seeds of a"].count == 2


def test_rare_classes_come_first_by_their_groups():
    """Mutation: counting images, of which b has most."""
    labels = np.array([0] * 40 + [1] * 60 + [2] * 35)
    groups = np.array([f"a{n}" for n in range(40)] + [f"b{n // 6}" for n in range(60)] + [f"c{n}" for n in range(35)])
    found = supports(labels, groups, ("a", "b", "c", "never tested"))
    assert [(each["name"], each["num_test_groups"], each["rare"]) for each in found] == [
        ("b", 10, True), ("c", 35, False), ("a", 40, False)
    ]  # fmt: skip


# Numbers of labels


def test_first_crossing_is_straight_over_the_logarithm():
    """Mutations: straight over the number itself (505); the last crossing in place of the first."""
    assert first_crossing([10, 1000], [1, -1]) == pytest.approx(100)
    assert first_crossing([10, 1000], [-1, 1]) == 10
    assert first_crossing([10, 1000], [2, 1]) is None
    rng = np.random.default_rng(0)
    for _ in range(30):
        numbers = np.cumprod(rng.uniform(1.5, 5, 5)) * 10
        values = np.sort(rng.normal(0.2, 1, 5))[::-1] + rng.normal(0, 0.2, 5)
        found, expected = first_crossing(numbers, values), statistics.crossing(numbers, values)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert found == pytest.approx(expected, rel=1e-3)


def test_rows_at_different_label_counts_give_the_welch_interval():
    """Mutation: pairing draws that have nothing in common."""
    a, b = np.array([[0.81, 0.79, 0.86, 0.84, 0.77]]), np.array([[0.72, 0.71, 0.80]])
    grids = [Grid(v, np.zeros((1, v.shape[1], 1)), np.arange(v.shape[1]), np.zeros(v.shape, dtype=int)) for v in (a, b)]
    found = estimate_contrast(*grids, MANY)
    expected = stats.ttest_ind(a[0], b[0], equal_var=False).confidence_interval(0.95)
    assert found.interval(0.95) == pytest.approx(tuple(expected), rel=1e-6)


def test_crossover_and_labels_saved_hold_the_truth(tmp_path):
    """Simclr 0.83 with 10 labels; supervised has 0.72 with 10, 0.945 with 40: it needs about 20. Mutation: b less a."""
    summary = summary_of(tmp_path / "study", num_test=1000)
    crossover = next(found for found in summary["crossovers"] if found["a"] == "simclr")
    ends = crossover["catches_up"]
    assert ends["low"] <= ends["estimate"] and (ends["high"] is None or ends["estimate"] <= ends["high"])
    assert 10 < ends["estimate"] < 40
    assert (crossover["fewest"], crossover["most"]) == (10, 4000)
    saved = next(found for found in summary["labels_saved"] if (found["a"], found["labels"]) == ("simclr", "1"))
    points = {(p["row"], p["labels"]): p["mean"] for p in summary["points"]}
    curve = [points["supervised", labels] for labels in ("1", "4", "10", "all")]
    expected = statistics.crossing([10, 40, 100, 4000], [saved["score"] - score for score in curve])
    assert saved["needed"]["estimate"] == pytest.approx(expected, rel=1e-3)
    assert saved["needed"]["low"] < 22 < saved["needed"]["high"]
    behind = next(f for f in summary["labels_saved"] if (f["a"], f["labels"]) == ("autoencoder", "1"))
    assert behind["needed"]["estimate"] == 10  # there or below


# Unlabelled data


@pytest.mark.parametrize(
    ("accuracies", "verdict", "flat_from"),
    [((0.60, 0.900, 0.90), "flat", 0.5), ((0.90, 0.900, 0.90), "flat", 0.1), ((0.5, 0.700, 0.90), "rising", None)],
)
def test_the_curve_is_flat_from_the_smallest_fraction_that_loses_nothing(tmp_path, accuracies, verdict, flat_from):
    """Mutations: starting at the smallest fraction; a fraction called flat that only is not sure to be worse."""
    rows = dict(zip(("tenth", "half", "simclr"), ((value,) for value in accuracies), strict=True))
    quiet = {"cell_sd": 0.0, "seed_sd": 0.0, "draw_sd": {}, "image_sd": 0.1}
    truth = Truth(
        accuracy=rows, labels=("4",), draws={"4": 5}, seeds=3, num_test=12_000, protocols=("linear",), **quiet
    )
    record = as_fractions(write_study(tmp_path / "study", truth), {"tenth": 0.1, "half": 0.5})
    [plateau] = summarise(record)["plateaus"]
    assert (plateau["verdict"], plateau["flat_from"]) == (verdict, flat_from)
    assert [step["unlabelled"] for step in plateau["steps"]] == [0.1, 0.5, 1.0]
    assert plateau["steps"][-1]["verdict"] == "itself"
    assert plateau["steps"][0]["num_images"] == 48_000


def test_few_test_images_leave_the_plateau_open(tmp_path):
    """Mutation: no difference in the means taken for no difference."""
    truth = Truth(**SMALL, accuracy={"half": (0.9,), "simclr": (0.9,)}, labels=("4",))
    record = as_fractions(write_study(tmp_path / "study", truth), {"half": 0.5})
    [plateau] = summarise(record)["plateaus"]
    assert (plateau["verdict"], plateau["flat_from"]) == ("undecided", None)


# The row to take

WORSE_LOOKING = {("simclr", "10"): 0.90, ("byol", "10"): 0.95, ("simclr", "all"): 0.9, ("byol", "all"): 0.9}


def test_the_winner_is_chosen_by_validation_and_not_by_the_test_images(tmp_path):
    """Simclr scores more on the test images, byol in validation. Mutation: the highest test mean."""
    summary = summary_of(tmp_path / "study", validation=WORSE_LOOKING)
    winners = {winner["labels"]: winner for winner in summary["winners"]}
    ten = winners["10"]
    assert (ten["row"], ten["chosen_by"], ten["chosen_at"]) == ("byol", "validation", "10")
    assert [candidate["row"] for candidate in ten["candidates"]] == ["byol", "simclr"]
    assert set(ten["unranked"]) == {"random", "supervised", "autoencoder"}
    points = {(point["row"], point["labels"]): point for point in summary["points"]}
    assert (ten["mean"], ten["low"]) == (points["byol", "10"]["mean"], points["byol", "10"]["low"])
    best = max(("simclr", "byol", "supervised", "autoencoder", "random"), key=lambda row: points[row, "10"]["mean"])
    assert (ten["best_on_test"], ten["regret"]) == (best, pytest.approx(points[best, "10"]["mean"] - ten["mean"]))
    assert [statement["b"] for statement in ten["against"]] == ["supervised", "random", "simclr"]
    assert {statement["kind"] for statement in ten["against"]} == {"winner"}
    assert winners["all"]["row"] == "simclr"  # level: the first of the study file


def test_few_labels_take_the_choice_from_more(tmp_path):
    """Mutation: the test images chosen by where the label count itself has no validation score."""
    found = {w["labels"]: w for w in summary_of(tmp_path / "study", validation=WORSE_LOOKING)["winners"]}
    for labels in ("1", "4"):
        assert (found[labels]["row"], found[labels]["chosen_by"]) == ("byol", "validation at more labels")
        assert found[labels]["chosen_at"] == "10"


def test_without_any_validation_the_choice_says_that_it_read_the_test_images(tmp_path):
    """The verdicts are then Bonferroni's over all that might have come first. Mutation: confidence as if chosen before."""
    summary = summary_of(tmp_path / "study")
    points = [point for point in summary["points"] if point["row"] != "majority"]
    for winner in summary["winners"]:
        highest = max((p for p in points if p["labels"] == winner["labels"]), key=lambda point: point["mean"])
        assert (winner["row"], winner["chosen_by"], winner["regret"]) == (highest["row"], "test", 0)
        assert all(statement["confidence"] == pytest.approx(1 - 0.05 / 4) for statement in winner["against"])


def test_a_search_is_a_validation_too(tmp_path):
    """Mutation: reading `validation_score` alone, so that supervised rows are never candidates."""
    folder = write_study(tmp_path / "study", Truth(**SMALL, validation={("simclr", "10"): 0.9}))
    for path in folder.glob("cells/*/cell.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        if (cell["entry"], cell["labels"]) == ("supervised", 10):
            scores = json.loads((path.parent / "scores.json").read_text(encoding="utf-8"))
            scores["details"] = {"search": [{"lr": 1.0, "accuracy": 0.7}, {"lr": 0.1, "accuracy": 0.93}]}
            (path.parent / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    winner = next(w for w in summarise(StudyRecord.read(folder))["winners"] if w["labels"] == "10")
    assert [(c["row"], c["mean"]) for c in winner["candidates"]] == [
        ("supervised", 0.93),
        ("simclr", pytest.approx(0.9)),
    ]


# Ranks, time and cost


def test_agreement_is_kendalls_tau_by_draw(tmp_path):
    """Against a twin that counts pairs. Mutations: tau of the means over draws; the normal instead of t."""
    rows = {f"row{n}": (0.70 + 0.02 * n,) for n in range(6)}
    truth = Truth(accuracy=rows, labels=("4",), draws={"4": 4}, seeds=1, num_test=200, cell_sd=0.1)
    comparison = Comparison(StudyRecord.read(write_study(tmp_path / "study", truth)))
    [found] = summarise(comparison.record)["agreements"]
    grids = [[comparison.grids[row, protocol, "4"].values[0] for row in rows] for protocol in ("linear", "knn")]
    taus = [statistics.kendall_tau_b(*(np.array(part)[:, draw] for part in grids)) for draw in range(4)]
    assert found["tau"] == pytest.approx(np.mean(taus))
    low, high = stats.ttest_1samp(taus, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((max(-1, low), min(1, high)))
    means = np.mean(grids, axis=2)
    for first, second in found["swapped"]:
        a, b = int(first[-1]), int(second[-1])
        assert means[0, a] > means[0, b] and means[1, a] < means[1, b]


def test_agreement_needs_three_rows_and_has_no_interval_from_one_draw(tmp_path):
    rows = {"simclr": (0.9,), "byol": (0.8,), "random": (0.4,)}
    one = {"labels": ("4",), "draws": {}, "protocols": ("linear", "knn"), "num_test": 100}
    [found] = summary_of(tmp_path / "three", accuracy=rows, **one)["agreements"]
    assert (found["low"], found["high"], found["num_draws"], found["tau"]) == (None, None, 1, pytest.approx(1.0))
    assert summary_of(tmp_path / "two", accuracy={"simclr": (0.9,), "byol": (0.8,)}, **one)["agreements"] == []


def test_trade_offs_are_those_that_nothing_beats(tmp_path):
    """Mutation: dominated by a row of another label count."""
    summary = summary_of(tmp_path / "study")
    for labels in ("1", "4", "10", "all"):
        found = [each for each in summary["trade_offs"] if each["labels"] == labels]
        expected = statistics.undominated([each["mean"] for each in found], [each["seconds"] for each in found])
        assert [each["pareto"] for each in found] == expected
        assert all(each["pareto"] == (not each["dominated_by"]) for each in found)
    assert "majority" not in {each["row"] for each in summary["trade_offs"]}


def test_time_to_a_named_accuracy_is_the_runs_own_or_none(tmp_path):
    """Mutations: the seconds of all runs summed; a level that one lucky draw reaches counted as reached."""
    folder = write_study(tmp_path / "study", Truth(**SMALL))
    record = StudyRecord.read(folder)
    values = record.scores(record.rows[4], "linear", "1")["value"]
    lucky = float((values.mean() + values.max()) / 2)
    with (folder / "study.yaml").open("a", encoding="utf-8") as file:
        file.write(f"time_to: [0.9, {lucky}, 0.999]\n")
    record = StudyRecord.read(folder)
    summary = summarise(record)
    times = summary["times_to"]
    assert {(time["level"], time["named"]) for time in times} == {(0.9, True), (lucky, True), (0.999, True)}
    assert not any(time["reached"] or time["cheapest"] for time in times if time["level"] == 0.999)
    [missed] = [t for t in times if (t["level"], t["row"], t["labels"]) == (lucky, record.rows[4].name, "1")]
    assert not missed["reached"] and 0 < missed["share_reached"] < 1
    means = {(point["row"], point["labels"]): point["mean"] for point in summary["points"]}
    cards = [record.run_card(record.runs["simclr", 1.0, seed]) for seed in (0, 1)]
    for time in times:
        assert time["reached"] == (means[time["row"], time["labels"]] >= time["level"])
        assert (time["seconds"] is None) == (time["images_seen"] is None) == (not time["reached"])
        if time["row"] == "simclr" and time["reached"]:
            assert time["seconds"] == pytest.approx(np.mean([card["seconds"] for card in cards]) + 0.4)
            assert time["images_seen"] == 600 * 128
    cheapest = [time for time in times if time["row"] == "simclr" and time["level"] == 0.9 and time["cheapest"]]
    assert cheapest and all(time["reached"] for time in cheapest)


def test_a_level_that_nobody_names_is_one_that_half_the_rows_reach(tmp_path):
    """Two of three rows reach 0.7. Mutations: the level of the best row; a level that nobody reaches."""
    rows = {"simclr": (0.97,), "byol": (0.75,), "autoencoder": (0.55,)}
    times = summary_of(tmp_path / "study", accuracy=rows, labels=("4",), num_test=1000)["times_to"]
    [(named, level)] = {(time["named"], time["level"]) for time in times}
    assert not named and level == pytest.approx(0.75, abs=0.051)
    assert {time["row"] for time in times if time["reached"]} == {"simclr", "byol"}


# Metrics of any kind


def test_the_area_under_the_curve_has_the_covariance_of_resampled_scores():
    """Against a bootstrap with scikit-learn. Mutations: no groups; unknown marks counted as not having."""
    rng, num_images = np.random.default_rng(0), 240
    truth = rng.integers(-1, 2, (num_images, 2)).astype(np.int8)
    groups = np.arange(num_images) // 4
    shared = np.repeat(rng.normal(0, 1, num_images // 4), 4)[:, None]
    answers = [truth + 1.5 * shared + rng.normal(0, noise, truth.shape) for noise in (0.3, 1.0)]

    def score(marks: np.ndarray, values: np.ndarray) -> float:
        return float(np.mean([roc_auc_score(m[m >= 0], v[m >= 0]) for m, v in zip(marks.T, values.T, strict=True)]))

    expected = statistics.bootstrap_covariance(score, answers, truth, groups, 200, rng)
    found = np.stack([auc_deviations(truth, values, groups) for values in answers])
    assert found @ found.T == pytest.approx(expected, rel=0.3)


def test_ties_count_half_in_the_area_under_the_curve():
    """Three ways to be above of four, one of them a tie. Mutations: ordinal ranks; unknown marks that lack it."""
    truth, groups = np.array([[1], [1], [0], [0]]), np.arange(4)
    found = auc_deviations(truth, np.array([[0.9], [0.5], [0.5], [0.1]]), groups)
    above, below = np.array([1.0, 0.75]), np.array([0.75, 1.0])
    expected = np.concatenate([(above - 0.875) / 2, (below - 0.875) / 2])
    assert found == pytest.approx(expected * (4 / 3) ** 0.5)
    unknown = auc_deviations(
        np.append(truth, [[-1]], axis=0), np.array([[0.9], [0.5], [0.5], [0.1], [0.7]]), np.arange(5)
    )
    assert unknown == pytest.approx(np.append(expected, 0) * (5 / 4) ** 0.5)


def test_leaving_out_blocks_gives_the_closed_form():
    """Of accuracy in blocks of one group each it is exact. Mutation: (B - 1) / B without the root."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    blocks = jackknife_blocks(40, Rng.from_seed(0))
    found = jackknife_deviations(lambda kept: float((labels == predictions)[kept].mean()), blocks)
    closed = accuracy_deviations(predictions, labels, np.arange(40))
    assert found @ found == pytest.approx(closed @ closed, rel=1e-9)


def write_attributes(folder: Path, metric: str) -> Path:
    """A study of two attributes: simclr ranks well, random hardly."""
    truth = Truth(
        metric=metric, labels=("4", "all"), draws={"4": 3}, num_test=200, num_classes=2, protocols=("linear",),
        accuracy={"random": (0.6, 0.6), "supervised": (0.7, 0.8), "simclr": (0.8, 0.9)},
    )  # fmt: skip
    write_study(folder, truth)
    rng = np.random.default_rng(0)
    marks = rng.integers(0, 2, (200, 2))
    marks[:20, 1] = -1
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "test_labels": marks.tolist()}), encoding="utf-8")
    table = pd.read_csv(folder / "results.csv", dtype={"labels": str})
    table = table[table["metric"] == "accuracy"].assign(metric=metric)
    for place, line in table.iterrows():
        noise = {"random": 5.0, "supervised": 0.8, "simclr": 0.3}[str(line["entry"])]
        values = np.where(marks < 0, 1, marks) + rng.normal(0, noise, marks.shape)  # what is unknown seems to be there
        table.loc[place, "value"] = ATTRIBUTE_METRICS[metric](marks, values)
        answers = {"predictions": (values > 0.5).astype(np.int64), "probabilities": values.astype(np.float32)}
        safetensors.numpy.save_file(answers, folder / "cells" / str(line["cell"]) / "predictions.safetensors")
    table.to_csv(folder / "results.csv", index=False)
    return folder


@pytest.mark.parametrize("metric", ["macro_auc", "macro_f1"])
def test_attributes_are_judged_by_their_own_metric(tmp_path, metric):
    """Mutation: any place that takes classes, or accuracy, for granted."""
    summary = summarise(StudyRecord.read(write_attributes(tmp_path / "attributes", metric)))
    verdicts = {statement["id"]: statement for statement in summary["statements"]}
    assert verdicts["untrained/simclr/4"]["verdict"] == "better"
    assert {statement["metric"] for statement in summary["statements"]} == {metric}
    second = next(s for s in summary["class_scores"] if (s["row"], s["name"], s["labels"]) == ("simclr", "1", "all"))
    known = next(each for each in summary["test_classes"] if each["name"] == "1")
    assert second["support"] == known["num_test_images"] < 110
    assert second["precision"] > 0.9  # what is unknown is no mistake


# The whole


STUDIES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one seed, one draw": {"seeds": 1, "draws": {}},
    "one row": {"accuracy": {"simclr": ACCURACY["simclr"]}},
    "failed and unfinished": {
        "failed": (("byol", 0), ("byol", 1)),
        "missing": [("supervised", "10"), ("simclr", "all")],
    },
    "nothing yet": {"missing": [(row, labels) for row in ACCURACY for labels in ("1", "4", "10", "all")]},
    "validated, macro F1": {"validation": WORSE_LOOKING, "metric": "macro_f1", "images_per_group": 3},
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_summary_has_the_form_of_its_schema(tmp_path, name):
    """Mutation: a NumPy number, a tuple, a key that the schema lacks."""
    summary = summary_of(tmp_path / "study", **STUDIES[name])
    assert conforms(summary, Summary)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_a_single_class_in_the_test_images_is_no_trouble(tmp_path, metric):
    """Mutation: dividing by the test images of a class that has none."""
    folder = write_study(tmp_path / "study", Truth(**SMALL, metric=metric, labels=("4",), accuracy={"simclr": (0.8,)}))
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "test_labels": [3] * 300}), encoding="utf-8")
    summary = summarise(StudyRecord.read(folder))
    assert conforms(summary, Summary)
    assert [each["name"] for each in summary["test_classes"]] == ["3"]
    assert {score["name"] for score in summary["class_scores"]} == {"3"}


def test_the_schema_check_can_fail():
    summary = {"labels": "1"}
    assert not conforms(summary, Summary)
    assert not conforms([1, None], list[int])
    assert conforms(None, float | None) and not conforms(True, float)


def test_groups_of_test_images_count_less_before_the_study():
    """Kish: 100 images in 20 groups of 5 are worth 20, one large group costs more. Mutation: the images counted."""
    assert effective_groups(np.array([f"g{n}" for n in range(100)])) == pytest.approx(100)
    assert effective_groups(np.array([f"g{n // 5}" for n in range(100)])) == pytest.approx(20)
    assert effective_groups(np.array(["a"] * 50 + [f"g{n}" for n in range(50)])) == pytest.approx(100**2 / (50**2 + 50))
