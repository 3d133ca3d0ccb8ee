"""Protocols against closed forms, twins and scikit-learn, and what makes them honest. Each test names a mutation."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.evaluation import choose, features, folds, standardise
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, NUM_FOLDS
from selfstudy.evaluation._trained import LabelLoss
from selfstudy.evaluation.finetune import Classifier
from selfstudy.evaluation.knn import KNN, vote
from selfstudy.evaluation.knn import Config as KNNConfig
from selfstudy.evaluation.linear import Config as LinearConfig
from selfstudy.evaluation.linear import Linear
from selfstudy.evaluation.majority import Config as MajorityConfig
from selfstudy.evaluation.majority import Majority
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from selfstudy.types import Step, Views
from tests.digits_task import NUM_POOL, draw, make_task, pixels, relabelled
from tests.reference import evaluation as twins

RNG = Rng.from_seed(0)

PROBES = pytest.mark.parametrize("probe", [KNN(KNNConfig()), Linear(LinearConfig())], ids=["knn", "linear"])


@pytest.fixture(autouse=True, scope="module")
def _one_blas_thread():
    with threadpool_limits(1, user_api="blas"):  # the twins' products are small: a second thread only waits
        yield


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True)


class TestKNN:
    @pytest.mark.parametrize(("temperature", "winner"), [(0.1, 0), (1.0, 1)])
    def test_vote_of_three(self, temperature: float, winner: int):
        """exp(9) > exp(8) + exp(7), but exp(0.9) < exp(0.8) + exp(0.7). Mutation: weight all votes alike."""
        similarity = torch.tensor([[0.7, 0.9, 0.8]])
        shares = vote(similarity, torch.tensor([1, 0, 1]), [3], temperature, 2)
        assert shares.argmax(2).tolist() == [[winner]] and float(shares.sum()) == pytest.approx(1)

    def test_a_cold_vote_does_not_overflow(self):
        """exp(0.9 / 0.001) is infinite in float32. Mutation: do not take the largest similarity out."""
        similarity = torch.tensor([[0.7, 0.9, 0.899]])
        assert vote(similarity, torch.tensor([0, 1, 0]), [1, 3], 0.001, 2).argmax(2).tolist() == [[1], [1]]

    @pytest.mark.parametrize("k", [1, 4, 30])
    def test_equals_the_twin(self, k: int):
        """Mutation: multiply by the temperature, or take the smallest similarities."""
        bank, queries = torch.randn(30, 5, generator=torch.Generator().manual_seed(1)).split([20, 10])
        labels = torch.arange(20) % 3
        unit = [torch.nn.functional.normalize(part, dim=1) for part in (bank, queries)]
        found = vote(unit[1] @ unit[0].T, labels, [min(k, 20)], 0.5, 3)[0].argmax(1)
        assert found.tolist() == [twins.knn(bank.numpy(), labels.numpy(), query.numpy(), k, 0.5) for query in queries]

    def test_choice_equals_the_twin(self, digits: ImageSet):
        """Mutation: let an image vote for itself, or choose the worst k."""
        task = make_task(digits, draw(digits, 6))
        scores = KNN(KNNConfig()).run(task, RNG)
        bank, labels = pixels(digits)[task.train_rows].numpy(), task.train_labels.numpy()
        fold = folds(labels, task.train_groups, RNG.fork("folds"))
        assert fold is not None
        smallest_bank = min(int((fold != number).sum()) for number in range(NUM_FOLDS))
        candidates = sorted({min(k, smallest_bank) for k in KNNConfig().num_neighbours}, reverse=True)
        right = [twins.knn_right_in_cross_validation(bank, labels, fold, k, 0.1) for k in candidates]
        assert scores.chosen == {
            "num_neighbours": candidates[int(np.argmax(right))], "chosen_by": CROSS_VALIDATED,
            "validation_score": pytest.approx(max(right) / len(labels)),
        }  # fmt: skip

    def test_equally_good_numbers_leave_the_largest(self, digits: ImageSet):
        """Every k is right about labels that features spell out; 80 of 100 lie in the other folds. Mutation: the smallest."""
        assert digits.labels is not None
        telling = torch.nn.functional.one_hot(digits.labels, 10).float()
        task = make_task(digits, draw(digits, 10), features=telling)
        assert KNN(KNNConfig()).run(task, RNG).chosen["num_neighbours"] == 80

    def test_only_the_direction_of_a_feature_counts(self, digits: ImageSet):
        """Mutation: leave out the normalisation of the bank."""
        task = make_task(digits, draw(digits, 10))
        lengths = 1 + 9 * torch.rand(len(digits), 1, generator=torch.Generator().manual_seed(0))
        assert task.features is not None
        stretched = KNN(KNNConfig()).run(replace(task, features=task.features * lengths), RNG).predictions
        assert (stretched == KNN(KNNConfig()).run(task, RNG).predictions).float().mean() > 0.99  # but for rounding

    def test_parts_are_whole(self, digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
        """Noise on the pixels makes more than one vote worth having. Mutation: give every part the folds of the first."""
        noise = torch.randn(pixels(digits).shape, generator=torch.Generator().manual_seed(0))
        task = make_task(digits, draw(digits, 20), features=pixels(digits) + 0.4 * noise)
        whole = KNN(KNNConfig()).run(task, RNG)
        assert int(whole.chosen["num_neighbours"]) > 1
        monkeypatch.setattr("selfstudy.evaluation.knn._SIMILARITIES_AT_ONCE", 7 * 200)
        parts = KNN(KNNConfig()).run(task, RNG)
        assert parts.chosen == whole.chosen
        assert (parts.predictions == whole.predictions).float().mean() > 0.99


class TestLinear:
    @pytest.mark.parametrize("per_class", [2, 20])
    def test_equals_a_cold_fit_of_scikit_learn(self, digits: ImageSet, per_class: int):
        """Mutation: predict by the warm model of one fold; standardise by the labelled rows."""
        task = make_task(digits, draw(digits, per_class))
        scores = Linear(LinearConfig()).run(task, RNG)
        values = twins.standardise(pixels(digits).numpy(), task.pool_rows.numpy())
        cold = LogisticRegression(C=float(scores.chosen["C"]), tol=1e-8, max_iter=20_000)
        cold.fit(values[task.train_rows], task.train_labels)
        assert (cold.predict(values[task.test_rows]) == scores.predictions.numpy()).mean() >= 0.997

    def test_warm_starts_and_the_early_end_choose_as_well_as_cold_fits(self, digits: ImageSet):
        """Mutation: end the path at its first value, or choose the worst."""
        task = make_task(digits, draw(digits, 20))
        scores = Linear(LinearConfig()).run(task, RNG)
        values = twins.standardise(pixels(digits).numpy(), task.pool_rows.numpy())[task.train_rows]
        labels = task.train_labels.numpy()
        fold = folds(labels, task.train_groups, RNG.fork("folds"))
        assert fold is not None
        right = {C: twins.linear_right_in_cross_validation(values, labels, fold, C) for C in LinearConfig().C}
        assert right[float(scores.chosen["C"])] >= max(right.values()) - 1
        assert max(right.values()) - min(right.values()) >= 5  # else any choice would do

    def test_equally_good_values_leave_the_smallest(self, digits: ImageSet):
        """Labels that features tell apart at any strength. Mutation: prefer the larger C."""
        task = make_task(digits, draw(digits, 10))
        assert digits.labels is not None
        telling = torch.nn.functional.one_hot(digits.labels, 10).float()
        chosen = Linear(LinearConfig(C=(100.0, 1.0, 10.0))).run(replace(task, features=telling), RNG).chosen
        assert chosen["C"] == 1.0

    def test_a_fit_that_did_not_converge_says_so(self, digits: ImageSet):
        """Mutation: ignore the solver's warning."""
        task = make_task(digits, draw(digits, 10))
        assert Linear(LinearConfig()).run(task, RNG).chosen["converged"] == "yes"
        stopped = Linear(LinearConfig(max_iterations=2)).run(task, RNG).chosen["converged"]
        assert str(stopped).startswith("no: ")

    def test_digits_are_linearly_separable_enough(self, digits: ImageSet):
        """Logistic regression on these pixels reaches about 0.93 to 0.97. Mutation: shuffle the rows of the test part."""
        assert Linear(LinearConfig()).run(make_task(digits, draw(digits, 50)), RNG).metrics["accuracy"] > 0.88


class TestMajority:
    def test_names_the_largest_class_and_the_first_of_equal_ones(self, digits: ImageSet):
        """Mutation: the smallest class, or the last of equal ones."""
        assert digits.labels is not None
        by_class = [torch.nonzero(digits.labels[:NUM_POOL] == label)[:, 0] for label in range(3)]
        for sizes, winner in (((2, 5, 3), 1), ((2, 4, 4), 1), ((3, 3, 3), 0)):
            rows = torch.cat([rows[:size] for rows, size in zip(by_class, sizes, strict=True)])
            task = make_task(digits, rows)
            scores = Majority(MajorityConfig()).run(task, RNG)
            assert scores.predictions.unique().tolist() == [winner]
            share = float((digits.labels[task.test_rows] == winner).float().mean())
            assert scores.metrics["accuracy"] == pytest.approx(share)
            assert scores.metrics["balanced_accuracy"] == pytest.approx(0.1)


class TestHonesty:
    @PROBES
    @pytest.mark.parametrize("per_class", [2, 20])
    def test_test_labels_decide_nothing(self, digits: ImageSet, probe: KNN | Linear, per_class: int):
        """Mutation: choose by the score on the test part."""
        task = make_task(digits, draw(digits, per_class))
        assert digits.labels is not None
        other = relabelled(task, task.test_rows, (digits.labels[task.test_rows] + 1) % 10)
        first, second = probe.run(task, RNG), probe.run(other, RNG)
        assert first.chosen == second.chosen
        assert torch.equal(first.predictions, second.predictions)
        assert first.metrics["accuracy"] > 0.4 > second.metrics["accuracy"]

    @PROBES
    def test_unlabelled_rows_lend_no_label(self, digits: ImageSet, probe: KNN | Linear):
        """Labels outside the budget decide nothing. Mutation: fit or vote with the pool's labels."""
        task = make_task(digits, draw(digits, 10))
        others = torch.tensor(sorted(set(range(NUM_POOL)) - set(task.train_rows.tolist())))
        assert digits.labels is not None
        blind = relabelled(task, others, torch.full_like(others, -1))
        first, second = probe.run(task, RNG), probe.run(blind, RNG)
        assert first.chosen == second.chosen and torch.equal(first.predictions, second.predictions)

    @PROBES
    def test_test_features_decide_only_their_own_prediction(self, digits: ImageSet, probe: KNN | Linear):
        """Mutation: standardise over all rows; choose on the test part."""
        task = make_task(digits, draw(digits, 10))
        assert task.features is not None
        values = task.features.clone()
        values[task.test_rows[200:]] = 100 * torch.rand(
            200, values.shape[1], generator=torch.Generator().manual_seed(0)
        )
        first, second = probe.run(task, RNG), probe.run(replace(task, features=values), RNG)
        assert first.chosen == second.chosen
        assert torch.equal(first.predictions[:200], second.predictions[:200])
        assert not torch.equal(first.predictions[200:], second.predictions[200:])

    @PROBES
    def test_shuffled_labels_give_chance(self, digits: ImageSet, probe: KNN | Linear):
        """Ten classes, 400 test images: 0.1, give or take 4 standard errors of 0.015. Mutation: score the train rows."""
        shuffled = torch.randint(0, 10, (len(digits),), generator=torch.Generator().manual_seed(0))
        task = make_task(replace(digits, labels=shuffled), draw(digits, 50))
        assert 0.04 < probe.run(task, RNG).metrics["accuracy"] < 0.16

    @PROBES
    def test_the_metric_decides(self, digits: ImageSet, probe: KNN | Linear):
        """With 88 % of the labels in one class, naming it always is accurate and unbalanced. Mutation: always choose by accuracy."""
        generator = torch.Generator().manual_seed(3)
        labels = (torch.rand(len(digits), generator=generator) < 0.12).long()
        values = torch.randn(len(digits), 8, generator=generator) + 0.4 * labels[:, None]
        images = replace(digits, labels=labels, classes=("common", "rare"))
        task = make_task(images, torch.arange(100), features=values)
        found = {
            metric: type(probe)(type(probe).Config(metric=metric)).run(task, RNG).chosen
            for metric in ("accuracy", "balanced_accuracy")
        }
        assert found["accuracy"] != found["balanced_accuracy"]

    def test_few_labels_choose_nothing(self, digits: ImageSet):
        """Mutation: cross-validate whatever the number of labels."""
        for per_class in (1, 4):
            task = make_task(digits, draw(digits, per_class))
            assert KNN(KNNConfig()).run(task, RNG).chosen == {"num_neighbours": 1, "chosen_by": FIXED}
            chosen = Linear(LinearConfig()).run(task, RNG).chosen
            assert chosen == {"C": 1.0, "chosen_by": FIXED, "converged": "yes"}
        assert (
            Linear(LinearConfig()).run(make_task(digits, draw(digits, 5)), RNG).chosen["chosen_by"] == CROSS_VALIDATED
        )


class TestFolds:
    def test_are_stratified_and_keep_groups_whole(self):
        """Mutation: give every row a fold of its own instead of its group's."""
        labels = np.repeat([0, 1, 2], [60, 40, 20])
        groups = np.array([f"page {row // 2}" for row in range(120)])
        fold = folds(labels, groups, RNG)
        assert fold is not None
        assert all(len(set(fold[groups == group])) == 1 for group in groups)
        for number in range(NUM_FOLDS):
            assert np.bincount(labels[fold == number]).tolist() == [12, 8, 4]

    def test_a_group_counts_as_one_label(self):
        """Hundred labels of eight pages are eight labels. Mutation: count rows."""
        labels = np.repeat([0, 1], 50)
        assert folds(labels, np.array([f"page {row // 13}" for row in range(100)]), RNG) is None
        assert folds(labels, np.array([f"page {row // 10}" for row in range(100)]), RNG) is not None

    def test_follow_the_stream_alone(self):
        """Mutation: seed the folds by a constant."""
        labels, groups = np.arange(100) % 2, np.arange(100).astype(str)
        first, again, other = (folds(labels, groups, Rng.from_seed(seed)) for seed in (1, 1, 2))
        assert first is not None and again is not None and other is not None
        assert (first == again).all() and (first != other).any()

    def test_equal_scores_leave_the_first(self):
        """Mutation: take the last. A difference of rounding is none."""
        assert choose([3, 1, 2], {1: 0.5, 2: 0.7 + 1e-15, 3: 0.7}.__getitem__) == 3


class TestFeatures:
    def test_standardise_equals_the_twin(self, digits: ImageSet):
        """Mutation: divide by the deviation of n - 1, or forget the mean. Some pixels are constant."""
        values, pool, rows = pixels(digits)[:300], torch.arange(0, 300, 2), torch.arange(0, 300, 3)
        expected = twins.standardise(values.numpy(), pool.numpy())[rows.numpy()]
        assert np.abs(standardise(values, pool, rows).numpy() - expected).max() < 1e-4

    def test_rounding_is_no_information(self):
        """A column of 1000 with deviations of a float32 rounding stays small. Mutation: ask for std > 0 alone."""
        values = torch.full((50, 2), 1000.0)
        values[::2, 0] = torch.nextafter(torch.tensor(1000.0), torch.tensor(2000.0))
        values[:, 1] = 0.0
        standard = standardise(values, torch.arange(50), torch.arange(50))
        assert standard.abs().max() < 1e-3

    def test_the_encoder_stays_as_it_was(self, digits: ImageSet):
        """Batch norms change their buffers in training mode. Mutation: leave the encoder in it."""
        encoder = untrained_encoder(digits)
        encoder.backbone.train()
        before = digest(encoder)
        first = features(encoder, digits, "cpu", 100)
        assert digest(encoder) == before
        assert first.shape == (len(digits), encoder.dim) and first.dtype == torch.float32
        assert torch.allclose(first, features(encoder, digits, "cpu", 37), atol=1e-5)


def untrained_encoder(images: ImageSet) -> Encoder:
    size = images.image_size
    spec = BackboneSpec(name="conv4", channels=images.channels, image_size=size, mean=(0.3,), std=(0.4,))
    with RNG.seeding_torch():
        return Encoder(build_backbone(spec), Feed(size=size, channels=images.channels), {})


def digest(encoder: Encoder) -> str:
    state = encoder.backbone.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


@pytest.mark.parametrize(
    ("backbone", "channels", "feed"),
    [
        ("conv4", 3, {"region": "top"}),
        ("conv4", 1, {"colour": "lightness"}),
        ("conv4", 3, {}),
        ("test_vit", 3, {"pooling": "mean_of_tokens"}),
    ],
)
def test_fine_tuning_sees_what_the_frozen_encoder_sees(backbone: str, channels: int, feed: dict[str, str]):
    """Mutation: the backbone called with raw views, so that a half, a lightness or a pooling is forgotten."""
    images = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    spec = BackboneSpec(name=backbone, channels=channels, image_size=28, mean=(0.5,) * channels, std=(0.2,) * channels)
    encoder = Encoder(build_backbone(spec), Feed(size=28, channels=channels, **feed), {})  # type: ignore[arg-type]
    classifier = Classifier(encoder, 2, LabelLoss(multi_label=False), Rng.from_seed(0)).eval()
    views = Views(torch.arange(4), {"base": images.float() / 255})
    step = Step(number=0, epoch=0, starts_epoch=True, progress=0.0, rng=Rng.from_seed(0))
    torch.testing.assert_close(classifier.embed(views, step)["h"], encoder(images))
