"""Probes of attributes, prototypes and class weights against scikit-learn and slow twins. Each test names a mutation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from selfstudy.evaluation import Task
from selfstudy.evaluation.knn import KNN, vote_on_attributes
from selfstudy.evaluation.knn import Config as KNNConfig
from selfstudy.evaluation.linear import Config as LinearConfig
from selfstudy.evaluation.linear import Linear
from selfstudy.evaluation.majority import Config as MajorityConfig
from selfstudy.evaluation.majority import Majority
from selfstudy.evaluation.prototype import Config as PrototypeConfig
from selfstudy.evaluation.prototype import Prototype
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from tests.digits_task import NUM_POOL, draw, make_task, pixels, relabelled, with_attributes
from tests.reference import evaluation as twins

RNG = Rng.from_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _one_blas_thread():
    with threadpool_limits(1, user_api="blas"):  # the twins' products are small: a second thread only waits
        yield


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True)


@pytest.fixture(scope="module")
def task(digits: ImageSet) -> Task:
    return make_task(with_attributes(digits), draw(digits, 12))


@pytest.fixture(scope="module")
def unequal(digits: ImageSet) -> Task:
    """Twelve of a hundred labels are of the rare class; noise enough for the weights to matter."""
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(len(digits), generator=generator) < 0.12).long()
    values = torch.randn(len(digits), 8, generator=generator) + 0.5 * labels[:, None]
    images = replace(digits, labels=labels, classes=("common", "rare"))
    return make_task(images, torch.arange(200), features=values)


class TestAttributes:
    def test_linear_is_one_regression_each_on_the_known_marks(self, digits: ImageSet, task: Task):
        """At one C. Mutation: fit unknown marks as not having it; one regression for all."""
        scores = Linear(LinearConfig()).run(task, RNG)
        values = twins.standardise(pixels(digits).numpy(), task.pool_rows.numpy())
        marks = task.train_labels.numpy()
        for attribute in range(4):
            known = marks[:, attribute] >= 0
            cold = LogisticRegression(C=float(scores.chosen["C"]), tol=1e-8, max_iter=20_000)
            cold.fit(values[task.train_rows][known], marks[known, attribute])
            expected = cold.predict_proba(values[task.test_rows])[:, 1]
            assert scores.probabilities is not None
            assert np.abs(scores.probabilities[:, attribute].numpy() - expected).max() < 0.01

    def test_linear_chooses_c_by_the_metric_over_all_attributes(self, digits: ImageSet, task: Task):
        """Against cold fits over the same folds. Mutation: choose by the first attribute, or the worst C."""
        from selfstudy.evaluation import ATTRIBUTE_METRICS, folds

        values = twins.standardise(pixels(digits).numpy(), task.pool_rows.numpy())[task.train_rows]
        marks = task.train_labels.numpy()
        fold = folds(marks, task.train_groups, RNG.fork("folds"))
        assert fold is not None
        for metric in ("macro_auc", "macro_accuracy"):
            found = {}
            for C in (0.001, 0.1, 100.0):
                answers = np.zeros(marks.shape)
                for number in range(5):
                    for attribute in range(4):
                        known = (fold != number) & (marks[:, attribute] >= 0)
                        cold = LogisticRegression(C=C, tol=1e-5, max_iter=20_000)
                        cold.fit(values[known], marks[known, attribute])
                        answers[fold == number, attribute] = cold.predict_proba(values[fold == number])[:, 1]
                found[C] = ATTRIBUTE_METRICS[metric](marks, answers)
            chosen = Linear(LinearConfig(metric=metric, C=tuple(found))).run(task, RNG).chosen["C"]
            assert found[chosen] >= max(found.values()) - 0.003 > min(found.values())

    @pytest.mark.parametrize("k", [1, 4, 12])
    def test_knn_votes_by_similarity_among_known_marks(self, k: int):
        """The twin votes on each attribute alone. Mutation: count unknown marks as votes against."""
        random = np.random.default_rng(k)
        bank, query = random.normal(size=(12, 5)), random.normal(size=(6, 5))
        marks = random.integers(-1, 2, (12, 3)).astype(np.int8)
        unit = [torch.from_numpy(part / np.linalg.norm(part, axis=1, keepdims=True)) for part in (query, bank)]
        found = vote_on_attributes(unit[0] @ unit[1].T, torch.from_numpy(marks), [k], 0.5)[0].numpy()
        for number, row in enumerate(query):
            expected = twins.knn_attributes(bank, marks, row, k, 0.5)
            assert found[number] == pytest.approx(expected, abs=1e-6)

    def test_knn_chooses_k_inside_the_budget(self, task: Task):
        """Mutation: the first k of the list."""
        scores = KNN(KNNConfig(num_neighbours=(1, 5, 20))).run(task, RNG)
        assert int(scores.chosen["num_neighbours"]) in (5, 20) and "cross-validation" in str(scores.chosen["chosen_by"])

    def test_knn_in_parts_is_knn_as_a_whole(self, task: Task, monkeypatch: pytest.MonkeyPatch):
        """Mutation: give every part the folds of the first."""
        whole = KNN(KNNConfig()).run(task, RNG)
        monkeypatch.setattr("selfstudy.evaluation.knn._SIMILARITIES_AT_ONCE", 50 * 4 * 120)
        parts = KNN(KNNConfig()).run(task, RNG)
        assert whole.chosen == parts.chosen and whole.probabilities is not None and parts.probabilities is not None
        torch.testing.assert_close(whole.probabilities, parts.probabilities, atol=1e-4, rtol=0)

    def test_majority_takes_each_attributes_commoner_value(self, task: Task):
        """Shares of the known marks. Mutation: shares of all marks."""
        scores = Majority(MajorityConfig()).run(task, RNG)
        marks = task.train_labels
        shares = [(marks[:, a] == 1).sum() / (marks[:, a] >= 0).sum() for a in range(4)]
        assert scores.probabilities is not None
        torch.testing.assert_close(scores.probabilities[0], torch.stack(shares).float())
        assert scores.predictions[0].tolist() == [int(share > 0.5) for share in shares]

    @pytest.mark.parametrize("protocol", [KNN(KNNConfig()), Linear(LinearConfig()), Prototype(PrototypeConfig())])
    def test_shuffled_marks_give_chance(self, digits: ImageSet, protocol):
        """Mutation: score the training rows."""
        images = with_attributes(digits)
        assert images.labels is not None
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        task = make_task(replace(images, labels=images.labels[order]), draw(digits, 30))
        assert 0.42 < protocol.run(task, RNG).metrics["macro_auc"] < 0.58  # 4 standard errors of 0.02


class TestPrototype:
    def test_names_the_nearest_centroid(self, digits: ImageSet):
        """scikit-learn's, on centred features of unit length. Mutation: leave out centring, or take the farthest."""
        noisy = pixels(digits) + 0.05 * torch.randn(len(digits), 64, generator=torch.Generator().manual_seed(0))
        task = make_task(digits, draw(digits, 5), features=noisy)  # as scikit-learn warns of constant pixels
        values = noisy.double().numpy()
        values = values - values[task.pool_rows].mean(0)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        oracle = NearestCentroid().fit(values[task.train_rows], task.train_labels)
        found = Prototype(PrototypeConfig()).run(task, RNG)
        assert (oracle.predict(values[task.test_rows]) == found.predictions.numpy()).mean() > 0.995
        plain = NearestCentroid().fit(noisy[task.train_rows], task.train_labels)
        assert (plain.predict(noisy[task.test_rows]) != found.predictions.numpy()).any()

    def test_probabilities_are_snells_softmax(self, digits: ImageSet):
        """Worked for one image. Mutation: the distance instead of its square."""
        task = make_task(digits, draw(digits, 1))
        values = pixels(digits).double() - pixels(digits)[task.pool_rows].double().mean(0)
        values = values / values.norm(dim=1, keepdim=True)
        order = task.train_labels.argsort()
        squares = ((values[task.test_rows[0]] - values[task.train_rows[order]]) ** 2).sum(1)
        found = Prototype(PrototypeConfig()).run(task, RNG).probabilities
        assert found is not None
        torch.testing.assert_close(found[0], (-squares).softmax(0).float(), atol=1e-4, rtol=0)

    def test_one_label_a_class_is_enough_for_better_than_chance(self, digits: ImageSet):
        """Mutation: predict by the pool's mean."""
        assert Prototype(PrototypeConfig()).run(make_task(digits, draw(digits, 1)), RNG).metrics["accuracy"] > 0.4

    def test_shuffled_labels_give_chance(self, digits: ImageSet):
        shuffled = torch.randint(0, 10, (len(digits),), generator=torch.Generator().manual_seed(0))
        task = make_task(replace(digits, labels=shuffled), draw(digits, 50))
        assert 0.04 < Prototype(PrototypeConfig()).run(task, RNG).metrics["accuracy"] < 0.16


class TestClassWeights:
    def test_balanced_is_scikit_learns(self, unequal: Task):
        """Mutation: weights the other way round."""
        scores = Linear(LinearConfig(class_weight="balanced")).run(unequal, RNG)
        assert unequal.features is not None
        values = twins.standardise(unequal.features.numpy(), unequal.pool_rows.numpy())
        cold = LogisticRegression(C=float(scores.chosen["C"]), class_weight="balanced", tol=1e-8, max_iter=20_000)
        cold.fit(values[unequal.train_rows], unequal.train_labels)
        assert (cold.predict(values[unequal.test_rows]) == scores.predictions.numpy()).mean() > 0.99
        assert scores.chosen["class_weight"] == "balanced"

    def test_the_metric_chooses_between_them(self, unequal: Task):
        """Accuracy wants the common class, balanced accuracy both. Mutation: always the first."""
        chosen = {
            metric: Linear(LinearConfig(class_weight="choose", metric=metric)).run(unequal, RNG).chosen["class_weight"]
            for metric in ("accuracy", "balanced_accuracy")
        }
        assert chosen == {"accuracy": "none", "balanced_accuracy": "balanced"}

    def test_by_default_there_are_none(self, unequal: Task):
        assert "class_weight" not in Linear(LinearConfig()).run(unequal, RNG).chosen


def test_two_tiles_outvote_a_surer_third(digits: ImageSet):
    """Probabilities are averaged, then the class is named. Mutation: the first tile answers, or the surest."""
    pages = np.array([f"page-{row // 3}" for row in range(len(digits))])
    task = make_task(digits, draw(digits, 2))
    task = replace(task, images=replace(digits, pages=pages), test_rows=torch.arange(NUM_POOL, NUM_POOL + 6))
    votes = torch.zeros(6, 10)
    votes[:, :2] = torch.tensor([[0.55, 0.45], [0.55, 0.45], [0.30, 0.70], [0.0, 1.0], [0.4, 0.6], [0.9, 0.1]])
    scores = task.scores(votes, {"chosen_by": "a test"}, 0.1)
    assert scores.probabilities is not None
    torch.testing.assert_close(scores.probabilities[:, 0], torch.tensor([1.4 / 3, 1.3 / 3]))
    assert scores.predictions.tolist() == [1, 1]
    alone = replace(task, images=digits).scores(votes, {"chosen_by": "a test"}, 0.1)
    assert alone.predictions.tolist() == [0, 0, 1, 1, 1, 0]


def test_pages_keep_the_order_of_the_rows_and_their_own_label(digits: ImageSet):
    """Whatever their names. Mutation: order them by name, or take the label of the first rows."""
    names = ["z", "a", "z", "m", "a", "z"]
    pages = np.array([f"other-{row}" for row in range(len(digits))], dtype="U16")
    rows = torch.arange(NUM_POOL, NUM_POOL + 6)
    pages[rows.numpy()] = names
    task = replace(make_task(digits, draw(digits, 2)), images=replace(digits, pages=pages), test_rows=rows)
    task = relabelled(task, rows, torch.tensor([7, 3, 7, 5, 3, 7]))
    assert task.truth.tolist() == [7, 3, 5] and task.pages.page.tolist() == [0, 1, 0, 2, 1, 0]
    scores = task.scores(
        torch.nn.functional.one_hot(torch.tensor([7, 3, 7, 5, 3, 7]), 10).double(), {"chosen_by": ""}, 0.1
    )
    assert scores.metrics["accuracy"] == 1.0 and scores.predictions.tolist() == [7, 3, 5]
