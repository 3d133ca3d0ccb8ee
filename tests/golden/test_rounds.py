"""Repeated grouped cross-validation: the folds, and intervals that know how much of their images the folds share.

Each test names the change to the code that it must notice.
"""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from selfstudy.evaluation import Pages
from selfstudy.images import ImageSet, Split, draw_labels
from selfstudy.images._rounds import NUM_FOLDS, rounds, too_few_to_test
from selfstudy.report._conditions import conditions
from selfstudy.report._words import answer
from selfstudy.rng import Rng
from selfstudy.study._cross_validation import Rounds
from selfstudy.study._intervals import Grid, estimate_difference
from selfstudy.study._record import StudyRecord
from selfstudy.study.compare import summarise
from selfstudy.types import Scores
from tests.reference import statistics
from tests.synthetic_study import Truth, write_study


def toy(labels: list[int], groups: list[str]) -> ImageSet:
    """A set whose pictures do not matter."""
    ids = np.array([f"row {number}" for number in range(len(labels))])
    return ImageSet(
        name="toy", images=torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), image_size=2, ids=ids,
        groups=np.array(groups), paths=ids, labels=torch.tensor(labels), classes=("a", "b", "c"),
    )  # fmt: skip


def random_set(seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 60, 150)
    return toy((groups % 3).tolist(), [f"group {group}" for group in groups])


@pytest.mark.parametrize("seed", range(5))
def test_folds_keep_groups_whole_and_classes_even(seed):
    """Groups of 1 to 7 images, 20 groups a class. Mutations: dealing images; the largest groups last; one order for all rounds."""
    images = random_set(seed)
    found = rounds(images, np.arange(len(images)), 3, Rng.from_seed(0))
    assert found.shape == (3, len(images)) and set(found.ravel().tolist()) == set(range(NUM_FOLDS))
    assert images.labels is not None
    for fold in found:
        for group in set(images.groups.tolist()):
            assert len(set(fold[images.groups == group].tolist())) == 1
        for number in range(3):
            counts = np.bincount(fold[images.labels.numpy() == number], minlength=NUM_FOLDS)
            assert counts.max() - counts.min() <= 2
        assert np.ptp(np.bincount(fold, minlength=NUM_FOLDS)) <= 4
    assert not np.array_equal(found[0], found[1])


def test_folds_follow_from_names_and_more_rounds_begin_with_the_same():
    """Mutation: an order by position."""
    images = random_set(0)
    whole = rounds(images, np.arange(150), 4, Rng.from_seed(0))
    assert np.array_equal(rounds(images, np.arange(150), 2, Rng.from_seed(0)), whole[:2])
    order = np.random.default_rng(1).permutation(150)
    assert np.array_equal(rounds(images.select(order), np.arange(150), 4, Rng.from_seed(0)), whole[:, order])


@pytest.mark.parametrize(
    ("per_class", "images_per_group", "expected"),
    [
        ((150, 150), 1, False),
        ((150, 149), 1, True),
        ((400, 30), 1, False),
        ((400, 29), 1, True),
        ((800, 800), 8, True),
        ((1300, 100), 4, True),
    ],
)
def test_too_few_test_images_are_below_300_or_30_of_a_class(per_class, images_per_group, expected):
    """Mutation: counting the images of a group."""
    labels = np.repeat([0, 1], per_class)
    groups = np.array([f"{label}-{place // images_per_group}" for place, label in enumerate(labels)])
    assert too_few_to_test(labels, groups) is expected


def folds_grid(values: np.ndarray) -> Grid:
    """One value for each of R x NUM_FOLDS folds."""
    count = len(values)
    return Grid(values[None], np.zeros((1, count, 1)), np.arange(count), np.zeros((1, count), dtype=int), 1 / 4)


def test_the_variance_is_nadeau_and_bengios():
    """Mutations: 1 / J alone; the test images' share counted once more."""
    rng = np.random.default_rng(0)
    a, b = folds_grid(rng.normal(0.8, 0.05, 15)), folds_grid(rng.normal(0.75, 0.05, 15))
    found = estimate_difference(a, b, 10**9)
    assert found is not None
    differences = (a.values - b.values)[0]
    variance = statistics.corrected_variance(differences.tolist(), 20, 80)
    half = stats.t.ppf(0.975, 14) * variance**0.5
    expected = differences.mean() - half, differences.mean() + half
    assert found.interval(0.95) == pytest.approx(expected, rel=1e-6)


def test_intervals_over_folds_cover_the_truth():
    """Nearest class means on one half of the features and on the other: the truth is 0. Mutation: no overlap (0.72)."""
    rng, covered, repeats, num_rounds = np.random.default_rng(0), 0, 150, 3
    for _ in range(repeats):
        labels = np.arange(100) % 2
        features = rng.normal(0, 1, (100, 20)) + 0.35 * labels[:, None]
        scores: list[list[float]] = [[], []]
        for _ in range(num_rounds):
            fold = rng.permutation(np.arange(100) % NUM_FOLDS)
            for number in range(NUM_FOLDS):
                test = fold == number
                for row, part in enumerate((features[:, :10], features[:, 10:])):
                    means = [part[~test & (labels == label)].mean(0) for label in (0, 1)]
                    distances = [np.square(part[test] - mean).sum(1) for mean in means]
                    scores[row].append(float(((distances[0] > distances[1]) == labels[test]).mean()))
        found = estimate_difference(*(folds_grid(np.array(row)) for row in scores), 100)
        assert found is not None
        low, high = found.interval(0.95)
        covered += low <= 0 <= high
    assert 0.92 <= covered / repeats <= 1.0


def write_in_rounds(folder: Path, **changes: object) -> tuple[Path, np.ndarray]:
    """A study of 200 labelled images, each tested in each of three rounds."""
    values = {
        "protocols": ("linear",), "num_test": 200, "labels": ("4", "all"), "draws": {"4": 3, "all": 3}, "seeds": 1,
        "accuracy": {"random": (0.5, 0.6), "supervised": (0.6, 0.7), "simclr": (0.8, 0.85)},
    }  # fmt: skip
    write_study(folder, Truth(**{**values, **changes}))  # type: ignore[arg-type]
    fold = np.stack([np.random.default_rng(number).permutation(200) % NUM_FOLDS for number in range(3)])
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "rounds": fold.tolist()}), encoding="utf-8")
    return folder, fold


def test_a_study_in_rounds_is_judged_by_its_folds(tmp_path):
    """Mutations: the folds of the first round for all; the interval of the test images added to that of the folds."""
    folder, fold = write_in_rounds(tmp_path / "study")
    record = StudyRecord.read(folder)
    summary = summarise(record)
    rows = {row.name: row for row in record.rows}
    accuracies = []
    for name in ("simclr", "random"):
        scores = record.scores(rows[name], "linear", "4").sort_values("draw")
        right = [record.predictions(cell) == record.test_labels for cell in scores["cell"]]
        accuracies.append(
            [right[draw][fold[draw] == number].mean() for draw in range(3) for number in range(NUM_FOLDS)]
        )
    difference = np.subtract(*accuracies)
    statement = next(s for s in summary["statements"] if s["id"] == "untrained/simclr/4")
    assert statement["difference"] == pytest.approx(difference.mean())
    assert (statement["num_draws"], statement["verdict"]) == (3, "better")
    variance = statistics.corrected_variance(difference.tolist(), 1, 4) + 1 / 200**2
    quantile = stats.t.ppf((1 + statement["confidence"]) / 2, 14)
    assert (statement["high"] - statement["low"]) / 2 == pytest.approx(quantile * variance**0.5)
    assert summary["conditions"]["num_folds"] == NUM_FOLDS
    support = Counter(record.test_labels.tolist())
    assert {score["support"] for score in summary["class_scores"]} == set(support.values())


def test_the_page_says_that_every_image_was_tested(tmp_path):
    """Mutation: another split of the images named as not tried."""
    summary = summarise(StudyRecord.read(write_in_rounds(tmp_path / "study", seeds=2)[0]))
    words = " ".join([*answer(summary), *conditions(summary)])
    assert "each tested in its turn by 5-fold cross-validation" in words
    assert "another split" not in words


def in_rounds(images: ImageSet, num_rounds: int = 2) -> Rounds:
    rows = np.flatnonzero(images.labels.numpy() >= 0)  # type: ignore[union-attr]
    arrivals = np.where(images.labels.numpy() >= 0, 0, -1)  # type: ignore[union-attr]
    return Rounds(images, rows, arrivals, rounds(images, rows, num_rounds, Rng.from_seed(0)))


def echo(images: ImageSet, split: Split) -> Scores:
    """Scores of a protocol that names every picture's true class, but calls class 2 class 0, sure of it by its row."""
    pages = Pages.of(images, torch.from_numpy(split.test_rows))
    first = split.test_rows[pages.first.numpy()]
    called = images.labels[torch.from_numpy(first)].clone()  # type: ignore[index]
    called[called == 2] = 0
    answers = torch.nn.functional.one_hot(called, 3).float() * (1 + torch.from_numpy(first)[:, None] / 1000)
    chosen = {"C": float(first[0]), "chosen_by": "echo", "validation_score": len(first) / 100}
    return Scores({}, called, chosen, 2.0, {"images_seen": 10.0}, probabilities=answers)


@pytest.mark.parametrize("tiles", [1, 3])
def test_a_round_puts_the_answers_of_its_folds_in_order(tiles):
    """Of tiles the pages. Mutations: answers in the order of the folds; metrics as the mean over folds."""
    images = random_set(1)
    if tiles > 1:
        pages = np.array([f"{group}, page {place // tiles}" for place, group in enumerate(images.groups.tolist())])
        images = replace(images, pages=pages)
    found = in_rounds(images)
    scores = found.merge(1, [echo(images, found.part(1, fold)) for fold in range(NUM_FOLDS)])
    first = found.rows[found.tested]
    truth = images.labels[torch.from_numpy(first)]  # type: ignore[index]
    assert len(scores.predictions) == len(np.unique(images.pages)) if tiles > 1 else len(images)
    assert scores.predictions.tolist() == torch.where(truth == 2, 0, truth).tolist()
    assert scores.probabilities is not None
    assert scores.probabilities.max(1).values.tolist() == pytest.approx((1 + first / 1000).tolist())
    assert scores.metrics["accuracy"] == pytest.approx(float((truth != 2).float().mean()))
    assert (scores.seconds, scores.costs, scores.chosen["chosen_by"]) == (
        2.0 * NUM_FOLDS,
        {"images_seen": 10.0},
        "echo",
    )
    assert scores.chosen["validation_score"] == pytest.approx(len(first) / 100 / NUM_FOLDS)
    assert str(scores.chosen["C"]).count(",") >= 1


def test_attributes_that_a_fold_cannot_score_are_named():
    """The rare one is in three folds, the usual one in all. Mutations: unknown marks as "has not"; a fold of none scored."""
    whole = random_set(3)
    folds = rounds(whole, np.arange(150), 1, Rng.from_seed(0))
    rare = np.where(folds[0] < 3, np.arange(150) % 2, 0).astype(np.int8)
    usual = (np.arange(150) % 3 == 0).astype(np.int8)
    usual[(folds[0] == 4) & (usual == 0)] = -1  # in the last fold nobody is known not to have it
    marks = torch.from_numpy(np.stack([rare, usual], axis=1))
    found = Rounds(
        replace(whole, labels=marks, classes=("hat", "coat")), np.arange(150), np.zeros(150, dtype=np.int64), folds
    )
    assert found.constant[0].tolist() == [[False, False]] * 3 + [[True, False], [True, True]]
    assert found.remark.endswith("hat (2), coat (1), of 5 folds") and not found.can_be_scored
    known = marks.clone()
    known[:, 1] = (torch.arange(150) % 3 == 0).to(torch.int8)
    fine = replace(found, images=replace(found.images, labels=known))
    assert fine.can_be_scored and fine.remark.endswith("hat (2), of 5 folds")
    assert in_rounds(whole).can_be_scored and in_rounds(whole).remark == ""


def test_nobody_of_a_tested_group_is_learned_from():
    """Unlabelled pictures of a tested group neither. Mutation: the fold's rows alone left out."""
    whole = random_set(2)
    labels = torch.where(torch.arange(150) % 4 == 0, -1, whole.labels)  # type: ignore[arg-type]
    images = replace(whole, labels=labels)
    found = in_rounds(images, 3)
    for draw in range(3):
        seen: list[int] = []
        for fold in range(NUM_FOLDS):
            part = found.part(draw, fold)
            assert not set(images.groups[part.test_rows]) & set(images.groups[part.train_rows])
            assert (labels.numpy()[part.test_rows] >= 0).all()
            assert ((part.arrivals == -1) == (labels.numpy()[part.train_rows] == -1)).all()
            seen += part.test_rows.tolist()
        assert sorted(seen) == found.rows.tolist()
        assert len(draw_labels(images, found.part(draw, 0), 2, draw, Rng.from_seed(0)).rows) >= 6
