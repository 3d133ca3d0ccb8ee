"""Protocols that train on labels: losses against torch's and slow twins, starts, layer decay, search, heads and layers.

Each test names a mutation.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import Budget, LinearMap, Protocol, Task, encode, folds
from selfstudy.evaluation._choice import FIXED
from selfstudy.evaluation._search import RECIPE, Trial, search, trials
from selfstudy.evaluation._trained import LabelLoss, TrainingSettings
from selfstudy.evaluation.finetune import Classifier, Finetune
from selfstudy.evaluation.finetune import Config as FinetuneConfig
from selfstudy.evaluation.head import Config as HeadConfig
from selfstudy.evaluation.head import Head, Network
from selfstudy.evaluation.layers import Config as LayersConfig
from selfstudy.evaluation.layers import Layers
from selfstudy.evaluation.linear import Config as LinearConfig
from selfstudy.evaluation.linear import Linear
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from selfstudy.types import Step, Views
from tests.digits_task import NUM_POOL, draw, make_task, with_attributes
from tests.reference import evaluation as twins

RNG = Rng.from_seed(0)
PLAIN: Sequence[object] = ()  # no augmentation: closed forms


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True)


def make_encoder(name: str = "conv4", method: str = "random", size: int = 8) -> Encoder:
    spec = BackboneSpec(name=name, channels=1, image_size=size, mean=(0.3,), std=(0.4,))
    with RNG.seeding_torch():
        return Encoder(build_backbone(spec), Feed(size=size, channels=1), {"method": method})


def few_images(digits: ImageSet) -> Task:
    """For encoders that are slow: 40 labels, 100 images in the pool, 50 to test."""
    task = make_task(digits, draw(digits, 4))
    return replace(task, pool_rows=torch.arange(100), test_rows=task.test_rows[:50])


def with_encoder(task: Task, encoder: Encoder) -> Task:
    return replace(task, encoder=encoder, features=None)


class TestLoss:
    def test_of_classes_is_torchs(self):
        """Mutation: forget the label smoothing."""
        logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
        loss = LabelLoss(multi_label=False, label_smoothing=0.1)(logits, labels)
        assert loss == F.cross_entropy(logits, labels, label_smoothing=0.1)

    def test_of_attributes_is_the_mean_over_known_marks(self):
        """log 2 for a logit of 0, log(1 + e^-2) for one of 2 that is right. Mutation: the mean over all marks."""
        logits = torch.tensor([[0.0, 2.0], [5.0, -2.0]])
        marks = torch.tensor([[1, 1], [-1, 0]], dtype=torch.int8)
        loss = LabelLoss(multi_label=True)(logits, marks)
        assert float(loss) == pytest.approx((np.log(2) + 2 * np.log(1 + np.exp(-2))) / 3)
        assert float(LabelLoss(multi_label=True)(logits, torch.full((2, 2), -1, dtype=torch.int8))) == 0.0

    def test_unknown_marks_have_no_gradient(self):
        """Mutation: mask the targets instead of the losses."""
        logits = torch.zeros(2, 2, requires_grad=True)
        LabelLoss(multi_label=True)(logits, torch.tensor([[1, -1], [0, -1]], dtype=torch.int8)).backward()
        assert logits.grad is not None and (logits.grad[:, 1] == 0).all() and (logits.grad[:, 0] != 0).all()

    def test_balanced_weights_are_scikit_learns(self, digits: ImageSet):
        """n / (K n_class) over the classes that have labels. Mutation: over all classes."""
        from sklearn.utils.class_weight import compute_class_weight

        assert digits.labels is not None
        rows = torch.nonzero(digits.labels[:NUM_POOL] < 4)[:70, 0]
        task = make_task(digits, rows)
        weights = LabelLoss.of(task, 0.0, "balanced").weights
        labels = task.train_labels.numpy()
        expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
        assert weights is not None
        assert weights[:4].numpy() == pytest.approx(expected) and (weights[4:] == 0).all()

    def test_balanced_attributes_weigh_both_values_alike(self, digits: ImageSet):
        """Having it counts n_not / n_having times. Mutation: the other way round."""
        task = make_task(with_attributes(digits), torch.arange(200))
        weights = LabelLoss.of(task, 0.0, "balanced").weights
        marks = task.train_labels
        assert weights is not None
        for attribute in range(4):
            having, not_having = ((marks[:, attribute] == value).sum() for value in (1, 0))
            assert float(weights[attribute] * having) == pytest.approx(float(not_having))


class TestStart:
    def test_a_trained_encoder_starts_as_its_probe(self, digits: ImageSet):
        """No step taken, so it answers as the linear protocol does. Mutation: a random start, or features not standardised."""
        encoder = make_encoder(method="simclr")
        task = make_task(digits, draw(digits, 10), features=encode(encoder, digits, torch.arange(len(digits)), "cpu"))
        probe = Linear(LinearConfig()).run(replace(task, encoder=None), RNG)
        still = FinetuneConfig(images_seen=64, lr=0.0, weight_decay=0.0, views=PLAIN, optimizer="sgd")
        # BatchNorm moves in the one step even at a rate of 0, so the classifier is asked as it starts.
        found = started(with_encoder(task, encoder), still)
        values = encode(encoder, digits, task.test_rows, "cpu")
        assert (found.classify(values).argmax(1) == probe.predictions).float().mean() > 0.97

    def test_which_start_follows_from_the_encoder(self, digits: ImageSet):
        """Mutation: the probe for untrained encoders, which changes the supervised baseline."""
        for method, start, expected in (
            ("random", "by_encoder", "random"), ("simclr", "by_encoder", "probe"),
            ("random", "probe", "probe"), ("simclr", "random", "random"),
        ):  # fmt: skip
            task = with_encoder(make_task(digits, draw(digits, 2)), make_encoder(method=method))
            config = FinetuneConfig(images_seen=64, start=start, views=PLAIN)  # type: ignore[arg-type]
            assert Finetune(config).run(task, RNG).chosen["start"] == expected

    def test_a_class_without_labels_stays_unlikely(self, digits: ImageSet):
        """Its bias is finite, so that training can go on. Mutation: -inf, or 0."""
        rows = draw(digits, 6)
        assert digits.labels is not None
        encoder = make_encoder(method="simclr")
        with torch.no_grad():  # a trained encoder's norms have seen images
            for _ in range(30):
                encoder.pool(encoder.feed(digits.images[:NUM_POOL]))
        task = with_encoder(make_task(digits, rows[digits.labels[rows] != 4]), encoder)
        bias = started(task, FinetuneConfig(images_seen=64, views=PLAIN)).classify.bias.detach()
        others = torch.cat([bias[:4], bias[5:]])
        assert torch.isfinite(bias).all() and float(bias[4]) == pytest.approx(float(others.mean()) - 10, abs=1e-4)
        scores = Finetune(FinetuneConfig(images_seen=640, views=PLAIN)).run(task, RNG)
        assert 4 not in scores.predictions and scores.metrics["accuracy"] > 0.5

    def test_of_attributes(self, digits: ImageSet):
        """One that is never there starts far off and finite. Mutation: leave infinity in it."""
        images = with_attributes(digits)
        assert images.labels is not None
        marks = images.labels.clone()
        marks[:NUM_POOL, 2] = 0
        task = with_encoder(make_task(replace(images, labels=marks), draw(digits, 6)), make_encoder(method="simclr"))
        classifier = started(task, FinetuneConfig(images_seen=64, views=PLAIN))
        assert torch.isfinite(classifier.classify.bias).all()
        assert float(classifier.classify.bias[2].detach()) == -10 and (classifier.classify.weight[2] == 0).all()


def started(task: Task, config: FinetuneConfig) -> Classifier:
    """The classifier before its first step."""
    from selfstudy.evaluation.finetune import _probe

    assert task.encoder is not None
    classifier = Classifier(task.encoder, task.num_classes, LabelLoss(task.multi_label), RNG)
    classifier.start_from(_probe(config, task, RNG))
    return classifier


class TestLayerDecay:
    def test_rates_fall_towards_the_image(self):
        """conv4 has four layers, the classifier lies behind them. Mutation: rates rise, or the classifier decays too."""
        classifier = Classifier(make_encoder(), 10, LabelLoss(multi_label=False), RNG, layer_decay=0.5)
        scale = {id(p): group.lr_scale for group in classifier.param_groups() for p in group.params}
        assert scale[id(classifier.classify.weight)] == scale[id(classifier.classify.bias)] == 1.0
        convolutions = [m for m in classifier.backbone.modules() if isinstance(m, torch.nn.Conv2d)]
        assert [scale[id(module.weight)] for module in convolutions] == [0.5**4, 0.5**3, 0.5**2, 0.5]
        assert set(scale) == {id(p) for p in classifier.parameters()}

    def test_norms_do_not_decay_with_it_or_without(self):
        """Mutation: one group per layer."""
        for decay in (1.0, 0.5):
            classifier = Classifier(make_encoder(), 10, LabelLoss(multi_label=False), RNG, layer_decay=decay)
            groups = classifier.param_groups()
            assert all(p.ndim <= 1 for group in groups if group.weight_decay_scale == 0 for p in group.params)
            assert all(p.ndim > 1 for group in groups if group.weight_decay_scale == 1 for p in group.params)

    def test_it_reaches_the_optimiser(self, digits: ImageSet):
        """At a decay of nearly 0 the first layer stays where it was. Mutation: param_groups not handed on."""
        task = with_encoder(make_task(digits, draw(digits, 4)), make_encoder())
        moved = {}
        for decay in (1.0, 1e-4):
            config = FinetuneConfig(
                images_seen=320, views=PLAIN, layer_decay=decay, optimizer="sgd", lr=0.01, weight_decay=0.0
            )
            encoder, _ = Finetune(config).hand_over(task, RNG)
            assert task.encoder is not None
            first = [next(iter(one.backbone.parameters())).detach() for one in (task.encoder, encoder)]
            moved[decay] = float((first[0] - first[1]).abs().max())
        assert moved[1.0] > 1e-4 and moved[1e-4] < 1e-6


class TestSearch:
    def test_trials_are_the_recipe_and_then_the_same_ones_for_everybody(self):
        """More trials begin with the fewer. Mutation: draw from the row's own stream."""
        few, more = trials(FinetuneConfig(search=4)), trials(HeadConfig(search=8))
        assert few[0] == Trial(lr=1e-3, weight_decay=0.05, class_weight="none") and more[:4] == few
        assert len(set(more)) == 8
        assert all(1e-4 <= trial.lr <= 1e-2 and 1e-4 <= trial.weight_decay <= 1e-1 for trial in more)
        weights = {trial.class_weight for trial in trials(FinetuneConfig(search=12, class_weight="choose"))}
        assert weights == {"none", "balanced"}

    def test_chooses_by_cross_validation_and_reads_no_other_label(self, digits: ImageSet):
        """A learner that is right only at the third trial's rate. Mutation: the recipe, or the worst trial."""
        settings = TrainingSettings(search=5)
        right = trials(settings)[2]
        task = make_task(digits, draw(digits, 6))
        asked: list[tuple[int, int]] = []

        def learn(budget: Budget, trial: Trial, rng: Rng, rows: Tensor) -> Tensor:
            assert digits.labels is not None and not hasattr(budget, "test_rows")
            assert not set(rows.tolist()) & set(budget.train_rows.tolist())
            assert set(rows.tolist()) | set(budget.train_rows.tolist()) == set(task.train_rows.tolist())
            asked.append((len(rows), len(budget.train_rows)))
            return F.one_hot((digits.labels[rows] + (trial != right)) % 10, 10)

        trial, how, record = search(settings, task, RNG, learn)
        assert trial == right and "5 trials" in how
        assert [line["accuracy"] for line in record] == [0, 0, 1, 0, 0]
        assert len(asked) == 5 * 5 and {sum(sizes) for sizes in asked} == {60}

    def test_equally_good_trials_leave_the_recipe(self, digits: ImageSet):
        """Mutation: the last of equal ones."""
        settings = TrainingSettings(search=3)
        task = make_task(digits, draw(digits, 6))
        trial, _, _ = search(settings, task, RNG, lambda budget, trial, rng, rows: torch.ones(len(rows), 10))
        assert trial == trials(settings)[0]

    def test_too_few_labels_and_no_search_leave_the_recipe(self, digits: ImageSet):
        """Mutation: search whatever the number of labels."""

        def learn(*arguments: object) -> Tensor:
            raise AssertionError("nothing is to be learned")

        few = make_task(digits, draw(digits, 4))
        assert search(TrainingSettings(search=3), few, RNG, learn) == (trials(TrainingSettings())[0], FIXED, [])
        assert search(TrainingSettings(), make_task(digits, draw(digits, 10)), RNG, learn)[1] == RECIPE

    def test_goes_on_where_it_was_interrupted(self, digits: ImageSet, tmp_path: Path):
        """Mutation: forget what is done, or repeat a trial."""
        task = replace(make_task(digits, draw(digits, 6)), folder=tmp_path)
        settings, seen = TrainingSettings(search=4), []

        def learn(budget: Budget, trial: Trial, rng: Rng, rows: Tensor) -> Tensor:
            if len(seen) == 7:  # in the second trial
                seen.append(trial)
                raise KeyboardInterrupt
            seen.append(trial)
            assert digits.labels is not None
            return F.one_hot((digits.labels[rows] + (trial != trials(settings)[3])) % 10, 10)

        with pytest.raises(KeyboardInterrupt):
            search(settings, task, RNG, learn)
        seen[:] = [None] * 8
        trial, _, record = search(settings, task, RNG, learn)
        assert trial == trials(settings)[3] and len(record) == 4
        assert seen[8:] == [one for one in trials(settings)[1:] for _ in range(5)]

    @pytest.mark.parametrize("kind", [Finetune, Head])
    def test_is_part_of_the_protocol(self, digits: ImageSet, kind: type[Protocol]):
        """What was chosen is recorded and used. Mutation: train by the recipe whatever was chosen."""
        task = with_encoder(make_task(digits, draw(digits, 5)), make_encoder())
        extra = {"views": PLAIN} if kind is Finetune else {}
        searched = kind(kind.Config(images_seen=192, search=2, lr=1e-5, **extra)).run(task, RNG)
        record = searched.details["search"]
        assert isinstance(record, list)
        best = max(record, key=lambda line: line["accuracy"])
        assert searched.chosen["lr"] == best["lr"] and searched.chosen["weight_decay"] == best["weight_decay"]
        by_hand = kind(kind.Config(images_seen=192, lr=best["lr"], weight_decay=best["weight_decay"], **extra)).run(
            task, RNG
        )
        assert by_hand.probabilities is not None and searched.probabilities is not None
        assert torch.equal(by_hand.probabilities, searched.probabilities)


class TestHead:
    def test_the_encoder_is_none_of_its_parameters(self, digits: ImageSet):
        """Mutation: train the encoder too."""
        task = with_encoder(make_task(digits, draw(digits, 4)), make_encoder())
        network = Network(task, HeadConfig(), LabelLoss(multi_label=False), RNG)
        assert not any("backbone" in name for name, _ in network.named_parameters())
        assert set(network.state_dict()) == {
            name for name in network.state_dict() if name.startswith(("body", "classify"))
        }

    @pytest.mark.parametrize(
        ("backbone", "size", "places", "body"),
        [
            ("conv4", 8, "128x2x2", "Conv2d"),
            ("resnet18", 8, "512x1x1", "Linear"),  # 8 pixels leave one place
            ("mlp", 8, "100x1x1", "Linear"),
            ("test_vit", 8, "64x8x8", "Conv2d"),
        ],
    )
    def test_convolutions_where_there_is_a_map(self, digits: ImageSet, backbone, size, places, body):
        """Mutation: the features always."""
        task = with_encoder(few_images(digits), make_encoder(backbone, size=size))
        scores = Head(HeadConfig(images_seen=64, width=8)).run(task, RNG)
        network = Network(task, HeadConfig(width=8), LabelLoss(multi_label=False), RNG)
        assert any(type(module).__name__ == body for module in network.body)
        assert scores.chosen["map"] == places

    def test_maps_are_standardised_over_the_pool(self, digits: ImageSet):
        """Mutation: over the labelled images."""
        task = with_encoder(make_task(digits, torch.arange(NUM_POOL)), make_encoder())
        maps = Network(task, HeadConfig(), LabelLoss(multi_label=False), RNG).maps
        assert float(maps.mean((0, 2, 3)).abs().max()) < 1e-4
        deviation = maps.std((0, 2, 3), correction=0)
        assert float((deviation[deviation > 0] - 1).abs().max()) < 1e-3

    def test_maps_that_do_not_fit_have_fewer_places(self, digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
        """Mutation: keep them all."""
        task = with_encoder(few_images(digits), make_encoder("test_vit"))
        full = Network(task, HeadConfig(), LabelLoss(multi_label=False), RNG).maps
        monkeypatch.setattr("selfstudy.evaluation.head.MOST_BYTES", full.numel() * 4 // 3)
        less = Network(task, HeadConfig(), LabelLoss(multi_label=False), RNG).maps
        assert full.shape[2] > less.shape[2] > 1 and less.numel() * 4 <= full.numel() * 4 // 3

    def test_dropout_is_in_training_only_and_a_function_of_the_stream(self, digits: ImageSet):
        """Half of the units are zero, the others twice as large. Mutation: torch's own generator, or no scaling."""
        task = with_encoder(make_task(digits, draw(digits, 4)), make_encoder())
        network = Network(task, HeadConfig(), LabelLoss(multi_label=False), RNG)
        views = Views(torch.arange(40), {"map": network.maps, "label": task.train_labels})
        seen: list[Tensor] = []
        network.classify.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        for number in (0, 0, 1):
            network(views, Step(number, 0, False, 0.0, RNG.fork("step", number)))
        whole = network.embed(views, Step(0, 0, False, 0.0, RNG))["h"].detach()
        assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
        kept = seen[0] != 0
        torch.testing.assert_close(seen[0][kept], 2 * whole[kept])
        assert float(kept.sum() / (whole != 0).sum()) == pytest.approx(0.5, abs=0.03)
        seen.clear()
        network.logits(task, task.train_rows)
        assert torch.equal(seen[0], network.body(network.maps).flatten(1).detach())

    def test_learns_what_a_linear_map_cannot(self, digits: ImageSet):
        """Random features of digits, 20 labels each. Mutation: the head is not trained."""
        encoder = make_encoder()
        task = with_encoder(make_task(digits, draw(digits, 20)), encoder)
        head = Head(HeadConfig(images_seen=6400, width=32)).run(task, RNG)
        assert head.metrics["accuracy"] > 0.85

    def test_shuffled_labels_give_chance(self, digits: ImageSet):
        """Mutation: score the training rows."""
        shuffled = torch.randint(0, 10, (len(digits),), generator=torch.Generator().manual_seed(0))
        task = with_encoder(make_task(replace(digits, labels=shuffled), draw(digits, 20)), make_encoder())
        assert 0.03 < Head(HeadConfig(images_seen=640)).run(task, RNG).metrics["accuracy"] < 0.17


class TestLayers:
    def test_features_are_the_linear_protocol(self, digits: ImageSet):
        """Mutation: another pooling, or another standardisation."""
        encoder = make_encoder()
        task = make_task(digits, draw(digits, 10), features=encode(encoder, digits, torch.arange(len(digits)), "cpu"))
        linear = Linear(LinearConfig()).run(task, RNG)
        found = Layers(LayersConfig(layers=("features",))).run(with_encoder(task, encoder), RNG)
        assert found.chosen["C"] == linear.chosen["C"]
        assert (found.predictions == linear.predictions).float().mean() > 0.99

    @pytest.mark.parametrize("grid", [1, 2])
    def test_a_layer_is_a_regression_on_its_averaged_map(self, digits: ImageSet, grid: int):
        """scikit-learn on a map averaged by hand. Mutation: the maximum, or another layer."""
        encoder = make_encoder()
        task = with_encoder(make_task(digits, draw(digits, 8)), encoder)
        found = Layers(LayersConfig(layers=("conv2",), grid=grid)).run(task, RNG)
        with torch.no_grad():
            maps = encoder.backbone.eval().layers(encoder.feed(digits.images), ["conv2"])["conv2"]
        size = maps.shape[2] // grid
        values = maps.unflatten(2, (grid, size)).unflatten(4, (grid, size)).mean((3, 5)).flatten(1).numpy()
        values = twins.standardise(values, task.pool_rows.numpy())
        cold = LogisticRegression(C=float(found.chosen["C"]), tol=1e-8, max_iter=20_000)
        cold.fit(values[task.train_rows], task.train_labels)
        assert (cold.predict(values[task.test_rows]) == found.predictions.numpy()).mean() > 0.99

    def test_the_layer_is_chosen_by_cross_validation(self, digits: ImageSet):
        """Every layer is reported, the chosen one scored. Mutation: choose by the test score, or always the last."""
        task = with_encoder(make_task(digits, draw(digits, 10)), make_encoder())
        scores = Layers(LayersConfig()).run(task, RNG)
        layers = scores.details["layers"]
        assert isinstance(layers, dict) and list(layers) == ["conv1", "conv2", "conv3", "conv4", "features"]
        best = max(reversed(layers), key=lambda name: layers[name]["cross_validated"])
        assert scores.chosen["layer"] == best and layers[best]["metrics"] == scores.metrics
        assert len({line["metrics"]["accuracy"] for line in layers.values()}) > 2
        assert [layers[name]["width"] for name in layers] == [48, 64, 128, 128, 128]

    def test_of_equally_good_layers_the_later(self, digits: ImageSet):
        """Mutation: the first."""
        from selfstudy.evaluation._logistic import Fitted
        from selfstudy.evaluation.layers import _best

        def fitted(score: float | None) -> Fitted:
            return Fitted(None, {}, score)  # type: ignore[arg-type]

        assert _best({"a": fitted(0.7), "b": fitted(0.9), "c": fitted(0.9), "d": fitted(0.8)}) == "c"
        assert _best({"a": fitted(None), "b": fitted(None)}) == "b"

    def test_few_labels_take_the_features(self, digits: ImageSet):
        """Mutation: the best on the test part."""
        scores = Layers(LayersConfig()).run(with_encoder(make_task(digits, draw(digits, 2)), make_encoder()), RNG)
        assert scores.chosen["layer"] == "features" and scores.chosen["chosen_by"] == FIXED

    def test_an_unknown_layer_is_refused(self, digits: ImageSet):
        task = with_encoder(make_task(digits, draw(digits, 2)), make_encoder())
        with pytest.raises(UserError, match='no layer "conv9"'):
            Layers(LayersConfig(layers=("conv9",))).run(task, RNG)


def test_attributes_are_fine_tuned_by_all_protocols_that_train(digits: ImageSet):
    """Better than chance after 20 steps. Mutation: cross-entropy over attributes as if they were classes."""
    task = with_encoder(make_task(with_attributes(digits), draw(digits, 15)), make_encoder())
    for protocol in (Finetune(FinetuneConfig(images_seen=2560, views=PLAIN)), Head(HeadConfig(images_seen=2560))):
        assert protocol.run(task, RNG).metrics["macro_auc"] > 0.9


def test_what_fine_tuning_hands_over_answers_for_attributes(digits: ImageSet):
    """Mutation: the map before training."""
    task = with_encoder(make_task(with_attributes(digits), draw(digits, 6)), make_encoder())
    protocol = Finetune(FinetuneConfig(images_seen=320, views=PLAIN))
    encoder, classify = protocol.hand_over(task, RNG)
    assert isinstance(classify, LinearMap)
    answers = classify(encode(encoder, digits, task.test_rows, "cpu")).sigmoid()
    found = protocol.run(task, RNG).probabilities
    assert found is not None
    torch.testing.assert_close(answers, found)


def test_fine_tuning_hands_over_what_a_score_kept(digits: ImageSet, tmp_path: Path):
    """To the bit. Mutation: the classifier as it begins."""
    task = with_encoder(make_task(digits, draw(digits, 6)), make_encoder())
    protocol = Finetune(FinetuneConfig(images_seen=320, views=PLAIN))
    encoder, classify = protocol.hand_over(task, RNG)
    protocol.run(replace(task, folder=tmp_path, keep=True), RNG)
    changed = replace(task, folder=tmp_path, train_rows=task.train_rows[:6])  # from which it could not be trained
    kept, kept_classify = protocol.hand_over(changed, RNG)
    assert torch.equal(kept_classify.weight, classify.weight) and torch.equal(kept_classify.bias, classify.bias)
    state = encoder.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in kept.backbone.state_dict().items())


def test_folds_of_attributes_keep_groups_whole(digits: ImageSet):
    """Mutation: a fold of its own for every row."""
    marks = with_attributes(digits).labels
    assert marks is not None
    groups = np.array([f"g{row // 3}" for row in range(60)])
    found = folds(marks[:60].numpy(), groups, RNG)
    assert found is not None
    assert all(len(set(found[groups == group])) == 1 for group in np.unique(groups))
    assert np.bincount(found).min() >= 9
    assert folds(marks[:27].numpy(), groups[:27], RNG) is None  # nine groups
