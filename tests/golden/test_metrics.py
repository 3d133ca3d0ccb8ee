"""Metrics of classes and attributes against scikit-learn, brute force and numbers worked by hand. Each test names a mutation."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from selfstudy.evaluation import (
    attribute_report,
    calibration_error,
    classification_report,
    confusion_matrix,
    interval,
    measure,
    measure_attributes,
    undefined,
)
from selfstudy.evaluation._bootstrap import weighted
from selfstudy.rng import Rng


def sure(predictions: list[int], num_classes: int) -> torch.Tensor:
    """Probabilities that name these classes."""
    return torch.nn.functional.one_hot(torch.tensor(predictions), num_classes).double()


def of_classes(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """80 images of classes 0 to 2; 3 is never true and often predicted, 4 is neither."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([1, 1, 1, 0.7], size=80)
    return torch.from_numpy(random.integers(0, 3, 80)), torch.from_numpy(np.pad(probabilities, ((0, 0), (0, 1))))


def of_attributes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """60 pictures of 5 attributes: the second rare, the fourth never there, the fifth unknown; ties, and 20 % unknown."""
    random = np.random.default_rng(seed)
    truth = (random.random((60, 5)) < [0.5, 0.15, 0.7, 0.0, 0.5]).astype(np.int8)
    probabilities = np.round(np.clip(0.35 * truth + 0.65 * random.random((60, 5)), 0, 1), 1)  # rounding makes ties
    truth[random.random((60, 5)) < 0.2] = -1
    truth[:, 4] = -1
    return truth, probabilities


class TestClasses:
    def test_worked_by_hand(self):
        """Truth 0 0 0 1, called 0 0 1 1: F1 is 4/5 and 2/3. Mutation: swap truth and predictions (precision 3/4)."""
        found = measure(torch.tensor([0, 0, 0, 1]), sure([0, 0, 1, 1], 2))
        expected = {
            "accuracy": 3 / 4, "macro_f1": (4 / 5 + 2 / 3) / 2, "balanced_accuracy": 5 / 6,
            "weighted_f1": (3 * 4 / 5 + 2 / 3) / 4, "calibration_error": 1 / 4,
        }  # fmt: skip
        assert found == pytest.approx(expected)

    def test_equal_scikit_learn(self):
        """Class 4 is in neither, class 3 in predictions only. Mutation: average F1 over the truth's classes only."""
        truth, probabilities = of_classes()
        predictions = probabilities.argmax(1)
        found = measure(truth, probabilities)
        assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predictions))
        assert found["macro_f1"] == pytest.approx(oracle.f1_score(truth, predictions, average="macro"))
        assert found["weighted_f1"] == pytest.approx(oracle.f1_score(truth, predictions, average="weighted"))
        with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
            assert found["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, predictions))

    def test_report_equals_scikit_learn(self):
        """Mutation: exchange precision and recall, or leave class 4 out, which no image has."""
        truth, probabilities = of_classes()
        predictions, names = probabilities.argmax(1), ("a", "b", "c", "d", "e")
        found = {line.name: line for line in classification_report(truth, predictions, names)}
        expected = oracle.classification_report(
            truth, predictions, labels=np.arange(5), target_names=names, output_dict=True, zero_division=0
        )
        for name in names:
            line = found[name]
            assert (line.precision, line.recall, line.f1, line.images) == pytest.approx(
                tuple(expected[name][key] for key in ("precision", "recall", "f1-score", "support"))
            )
        assert found["weighted"].f1 == pytest.approx(expected["weighted avg"]["f1-score"])
        assert found["macro"].f1 == pytest.approx(oracle.f1_score(truth, predictions, average="macro"))
        accuracy = float((truth == predictions).float().mean())
        assert found["micro"].f1 == found["micro"].precision == found["micro"].recall == pytest.approx(accuracy)
        assert [line.name for line in found.values()] == [*names, "macro", "micro", "weighted"]

    def test_confusion_matrix_has_every_class(self):
        """Rows are the truth. Mutation: transpose it, or leave absent classes out."""
        found = confusion_matrix(torch.tensor([0, 0, 2]), torch.tensor([0, 2, 2]), 4)
        assert found.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


class TestCalibration:
    def test_worked_by_hand(self):
        """Always sure, right 7 times of 10; and 0.75 twice, right once of them. Mutation: forget the bins' sizes."""
        assert calibration_error(np.arange(10) < 7, np.ones(10)) == pytest.approx(0.3)
        found = calibration_error(np.array([True, False, True]), np.array([0.75, 0.75, 0.1]))
        assert found == pytest.approx((2 * 0.25 + 1 * 0.9) / 3)

    def test_equals_scikit_learns_curve(self):
        """Its bins are the same. Mutation: another number of bins, or squares of the gaps."""
        random = np.random.default_rng(0)
        confidence = random.random(500)
        right = random.random(500) < 0.5 + 0.4 * np.sin(25 * confidence)  # too sure here, not sure enough there
        share, mean = calibration_curve(right, confidence, n_bins=15)
        counts = np.histogram(confidence, bins=15, range=(0, 1))[0]
        assert calibration_error(right, confidence) == pytest.approx(float((counts * np.abs(share - mean)).sum() / 500))

    def test_what_is_calibrated_has_little(self):
        """Mutation: compare with the mean of all answers."""
        random = np.random.default_rng(0)
        confidence = random.random(20_000)
        assert calibration_error(random.random(20_000) < confidence, confidence) < 0.02


class TestAttributes:
    def test_equal_scikit_learn_attribute_by_attribute(self):
        """Known marks only. Mutation: count unknown marks as not having it; take the undefined into the mean as 0."""
        truth, probabilities = of_attributes()
        found = measure_attributes(truth, probabilities)
        columns = [(truth[truth[:, a] >= 0, a], probabilities[truth[:, a] >= 0, a]) for a in range(4)]
        both = columns[:3]
        called = [(marks, answers > 0.5) for marks, answers in columns]
        expected = {
            "macro_accuracy": [oracle.accuracy_score(*pair) for pair in called],
            "balanced_accuracy": [oracle.balanced_accuracy_score(*pair) for pair in called[:3]],
            "macro_f1": [oracle.f1_score(*pair) for pair in called[:3]],
            "macro_auc": [oracle.roc_auc_score(*pair) for pair in both],
            "mean_average_precision": [oracle.average_precision_score(*pair) for pair in both],
        }
        for name, values in expected.items():
            assert found[name] == pytest.approx(np.mean(values)), name

    def test_micro_is_over_all_known_cells(self):
        """Mutation: average over attributes."""
        truth, probabilities = of_attributes()
        known = truth >= 0
        found = measure_attributes(truth, probabilities)
        assert found["micro_accuracy"] == pytest.approx(oracle.accuracy_score(truth[known], probabilities[known] > 0.5))
        assert found["micro_f1"] == pytest.approx(oracle.f1_score(truth[known], probabilities[known] > 0.5))
        assert found["micro_auc"] == pytest.approx(oracle.roc_auc_score(truth[known], probabilities[known]))
        precision = oracle.average_precision_score(truth[known], probabilities[known])
        assert found["micro_average_precision"] == pytest.approx(precision)

    def test_exact_match_is_scikit_learns_subset_accuracy_where_all_is_known(self):
        """And macro equals micro accuracy there. Mutation: any instead of all."""
        random = np.random.default_rng(1)
        truth = (random.random((50, 3)) < 0.5).astype(np.int8)
        probabilities = np.clip(0.4 * truth + 0.6 * random.random((50, 3)), 0, 1)
        found = measure_attributes(truth, probabilities)
        assert found["exact_match"] == pytest.approx(oracle.accuracy_score(truth, probabilities > 0.5))
        assert found["macro_accuracy"] == pytest.approx(found["micro_accuracy"])
        truth[0] = -1  # a picture of which nothing is known is no mistake
        assert measure_attributes(truth, probabilities)["exact_match"] >= found["exact_match"]

    def test_the_area_is_the_share_of_pairs_in_order(self):
        """Mann and Whitney, by brute force, ties a half. Mutation: ties count whole."""
        truth, probabilities = of_attributes()
        areas = []
        for attribute in range(3):
            having, missing = (probabilities[truth[:, attribute] == value, attribute] for value in (1, 0))
            pairs = [(a > b) + 0.5 * (a == b) for a in having for b in missing]
            areas.append(sum(pairs) / len(pairs))
        assert measure_attributes(truth, probabilities)["macro_auc"] == pytest.approx(np.mean(areas))

    def test_a_constant_predictor_is_chance_however_rare_the_attribute(self):
        """Accuracy 0.8 and more means little. Mutation: report accuracy as the balanced one."""
        truth = (np.arange(100)[:, None] % [5, 10] == 0).astype(np.int8)
        found = measure_attributes(truth, np.full((100, 2), 0.2))
        assert found["macro_accuracy"] == pytest.approx((0.8 + 0.9) / 2)
        assert found["balanced_accuracy"] == found["macro_auc"] == 0.5
        assert found["mean_average_precision"] == pytest.approx((0.2 + 0.1) / 2)

    def test_what_is_undefined_is_named_and_not_dropped(self):
        """Mutation: 0 or 1 instead of nan."""
        truth, probabilities = of_attributes()
        assert undefined(truth).tolist() == [False, False, False, True, True]
        lines = attribute_report(truth, probabilities, ("a", "b", "c", "never", "unknown"))
        assert [math.isnan(line.auc) for line in lines] == [False, False, False, True, True]
        assert not math.isnan(lines[3].accuracy) and math.isnan(lines[4].accuracy)
        assert [line.known for line in lines] == (truth >= 0).sum(0).tolist()
        assert lines[4].known == 0 and lines[3].having == 0 and lines[0].having == int((truth[:, 0] == 1).sum())
        mean = np.nanmean([line.auc for line in lines])
        assert measure_attributes(truth, probabilities)["macro_auc"] == pytest.approx(mean)


CLASS_METRICS = ("accuracy", "macro_f1", "balanced_accuracy")
ATTRIBUTE_METRICS = ("macro_accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "mean_average_precision")


class TestBootstrap:
    @pytest.mark.parametrize("metric", CLASS_METRICS)
    def test_a_weighted_score_is_the_score_of_pictures_repeated(self, metric: str):
        """Mutation: keep classes of weight 0 in the mean."""
        truth, probabilities = of_classes()
        weights = np.random.default_rng(0).integers(0, 3, (4, len(truth)))
        weights[0, truth == 2] = 0
        found = weighted(metric, truth.numpy(), probabilities.numpy(), weights.astype(float))  # type: ignore[arg-type]
        for row, value in zip(weights, found, strict=True):
            rows = np.repeat(np.arange(len(truth)), row)
            assert value == pytest.approx(measure(truth[rows], probabilities[rows])[metric])

    @pytest.mark.parametrize("metric", ATTRIBUTE_METRICS)
    def test_so_is_one_of_attributes(self, metric: str):
        """Ties included. Mutation: rank without regard to ties, or forget the weights of unknown marks."""
        truth, probabilities = of_attributes()
        weights = np.random.default_rng(0).integers(0, 3, (4, len(truth)))
        weights[0, truth[:, 1] == 1] = 0  # in this resample the second attribute has one value
        found = weighted(metric, truth, probabilities, weights.astype(float))  # type: ignore[arg-type]
        for row, value in zip(weights, found, strict=True):
            rows = np.repeat(np.arange(len(truth)), row)
            assert value == pytest.approx(measure_attributes(truth[rows], probabilities[rows])[metric])

    def test_the_interval_of_accuracy_is_the_binomials(self):
        """0.8 of 400 images, each a group: 1.96 standard errors of 0.02. Mutation: resample the right ones only."""
        truth = np.zeros(400, dtype=np.int64)
        probabilities = sure([0] * 320 + [1] * 80, 2).numpy()
        found = interval("accuracy", truth, probabilities, np.arange(400).astype(str), Rng.from_seed(0))
        assert found.low == pytest.approx(0.8 - 1.96 * 0.02, abs=0.006)
        assert found.high == pytest.approx(0.8 + 1.96 * 0.02, abs=0.006)

    def test_images_of_one_group_are_one_witness(self):
        """Groups of 16 alike: four times as wide. Mutation: resample images."""
        truth = np.zeros(400, dtype=np.int64)
        probabilities = sure([0] * 320 + [1] * 80, 2).numpy()
        alone, together = (
            interval("accuracy", truth, probabilities, groups.astype(str), Rng.from_seed(0))
            for groups in (np.arange(400), np.arange(400) // 16)
        )
        assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(4, rel=0.15)
