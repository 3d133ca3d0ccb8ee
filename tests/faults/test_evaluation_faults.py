"""What evaluation says and does when labels or features are poor: a sentence, or a result that says what it rests on."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from selfstudy import catalog
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import Protocol, decide, features
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, ONE_CLASS, ONE_VALUE
from selfstudy.evaluation.linear import Linear
from selfstudy.images import ImageSet, load
from selfstudy.judge import JudgeSettings, judge
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from tests.digits_task import NUM_POOL, draw, make_task, pixels, relabelled, with_attributes

FROZEN = ["knn", "linear", "majority", "prototype"]  # protocols that see features alone
RNG = Rng.from_seed(0)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True)


@pytest.fixture(params=FROZEN)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    kind = catalog.find("evaluation", request.param, Protocol)
    return kind(kind.Config())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_no_numbers_are_counted(digits: ImageSet, value: float):
    values = pixels(digits)
    values[[3, 5], 7] = value
    with pytest.raises(RunError, match=r"NaN or infinite features for 2 of 1797 images"):
        make_task(digits, draw(digits, 1), features=values)


def test_an_encoder_that_diverged_is_named(digits: ImageSet):
    spec = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,))
    encoder = Encoder(build_backbone(spec), Feed(size=8, channels=1), {})
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(RunError, match="its training diverged"):
        features(encoder, digits, "cpu", 512)


def test_a_class_without_labels_is_never_named(digits: ImageSet, protocol: Protocol):
    assert digits.labels is not None
    rows = draw(digits, 6)
    task = make_task(digits, rows[digits.labels[rows] != 4])
    scores = protocol.run(task, RNG)
    assert 4 not in scores.predictions and scores.metrics["balanced_accuracy"] <= 0.9


@pytest.mark.parametrize("number", [1, 30])
def test_labels_of_one_class_name_it_always(digits: ImageSet, protocol: Protocol, number: int):
    assert digits.labels is not None
    rows = torch.nonzero(digits.labels[:NUM_POOL] == 4)[:number, 0]
    scores = protocol.run(make_task(digits, rows), RNG)
    assert scores.predictions.unique().tolist() == [4]
    if isinstance(protocol, Linear):
        assert scores.chosen == {"chosen_by": ONE_CLASS}


@pytest.mark.parametrize("number", [2, 4])
def test_fewer_labels_than_folds_choose_nothing(digits: ImageSet, protocol: Protocol, number: int):
    assert digits.labels is not None
    first = [int(torch.nonzero(digits.labels[:NUM_POOL] == label)[0, 0]) for label in range(number)]
    scores = protocol.run(make_task(digits, torch.tensor(first)), RNG)
    assert scores.chosen["chosen_by"] != CROSS_VALIDATED


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_a_class_of_one_label_beside_a_large_one(digits: ImageSet, name: str):
    """The other folds of that label hold one class only."""
    assert digits.labels is not None
    large, rare = (torch.nonzero(digits.labels[:NUM_POOL] == label)[:, 0] for label in (0, 1))
    kind = catalog.find("evaluation", name, Protocol)
    scores = kind(kind.Config()).run(make_task(digits, torch.cat([large[:40], rare[:1]])), RNG)
    assert scores.chosen["chosen_by"] == CROSS_VALIDATED
    if name == "linear":
        sentence = "without 1 of 5 folds all labels are of one class, which was named there"
        assert scores.chosen["folds"] == sentence
    assert set(scores.predictions.tolist()) <= {0, 1}


@pytest.mark.parametrize("name", ["knn", "linear"])
def test_labels_of_a_single_page_choose_nothing(digits: ImageSet, name: str):
    kind = catalog.find("evaluation", name, Protocol)
    one_page = replace(digits, groups=np.full(len(digits), "page"))
    assert kind(kind.Config()).run(make_task(one_page, draw(digits, 10)), RNG).chosen["chosen_by"] == FIXED


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_collapsed_encoder_is_judged_and_not_divided_by_zero(digits: ImageSet, protocol: Protocol, value: float):
    """Equal features for all images: every image gets the same class."""
    task = make_task(digits, draw(digits, 6), features=torch.full((len(digits), 16), value))
    scores = protocol.run(task, RNG)
    assert len(scores.predictions.unique()) == 1
    assert scores.metrics["balanced_accuracy"] == pytest.approx(0.1)


def test_labels_that_are_missing_are_counted(digits: ImageSet):
    task = make_task(digits, draw(digits, 2))
    with pytest.raises(UserError, match=r"3 of the 20 training images of digits have no label"):
        relabelled(task, task.train_rows[:3], torch.full((3,), -1))
    with pytest.raises(UserError, match=r"1 of the 400 test images of digits have no label"):
        relabelled(task, task.test_rows[:1], torch.tensor([-1]))
    with pytest.raises(UserError, match="digits has no labels"):
        replace(task, images=replace(digits, labels=None))


def test_rows_that_are_missing_or_in_two_parts_are_refused(digits: ImageSet):
    task, none = make_task(digits, draw(digits, 2)), torch.empty(0, dtype=torch.int64)
    for name, part in (("train_rows", "labelled training"), ("test_rows", "labelled test"), ("pool_rows", "training")):
        with pytest.raises(UserError, match=f"there are no {part} images"):
            replace(task, **{name: none})
    with pytest.raises(UserError, match=r"2 of the 400 test images of digits are training images too"):
        replace(task, pool_rows=torch.arange(NUM_POOL + 2))
    with pytest.raises(UserError, match=r"1 of the 400 test images of digits are training images too"):
        replace(task, train_rows=task.test_rows[:1])


def test_a_class_without_labels_is_named_in_the_details(digits: ImageSet, protocol: Protocol):
    assert digits.labels is not None
    rows = draw(digits, 6)
    scores = protocol.run(make_task(digits, rows[digits.labels[rows] != 4]), RNG)
    assert scores.details["cannot_be_learned"] == ["4"]
    assert "cannot_be_learned" not in protocol.run(make_task(digits, rows), RNG).details


class TestAttributes:
    """Attributes that are constant, and marks that are not there."""

    def test_one_value_in_the_test_part_is_left_out_and_counted(self, digits: ImageSet, protocol: Protocol):
        images = with_attributes(digits, unknown=0.0)
        assert images.labels is not None
        task = make_task(images, draw(digits, 6))
        marks = images.labels[task.test_rows].clone()
        marks[:, 1], marks[:, 2] = 1, -1
        scores = protocol.run(relabelled(task, task.test_rows, marks), RNG)
        assert scores.details["undefined_attributes"] == 2
        assert scores.details["undefined"] == ["above four", "seven"]
        full = protocol.run(task, RNG)
        assert full.details["undefined_attributes"] == 0
        assert all(np.isfinite(value) for value in scores.metrics.values())
        assert scores.metrics["macro_auc"] != full.metrics["macro_auc"] or protocol.needs == "labels"

    def test_one_value_of_all_attributes_is_refused(self, digits: ImageSet):
        images = with_attributes(digits)
        task = make_task(images, draw(digits, 6))
        with pytest.raises(UserError, match="each of the 4 attributes of digits has one value only in the test part"):
            relabelled(task, task.test_rows, torch.ones(400, 4, dtype=torch.int8))

    def test_one_value_among_the_labels_is_that_value(self, digits: ImageSet, protocol: Protocol):
        task = make_task(with_attributes(digits, unknown=0.0), draw(digits, 6))
        marks = task.train_labels.clone()
        marks[:, 2] = 1
        scores = protocol.run(relabelled(task, task.train_rows, marks), RNG)
        assert scores.predictions[:, 2].unique().tolist() == [1]
        assert scores.details["cannot_be_learned"] == ["seven"]

    def test_one_value_of_all_among_the_labels_chooses_nothing(self, digits: ImageSet, protocol: Protocol):
        task = make_task(with_attributes(digits, unknown=0.0), draw(digits, 6))
        scores = protocol.run(relabelled(task, task.train_rows, torch.zeros(60, 4, dtype=torch.int8)), RNG)
        assert not scores.predictions.any()
        if "metric" in type(protocol).Config.__dataclass_fields__:
            assert scores.chosen["chosen_by"] == ONE_VALUE

    def test_pictures_of_which_nothing_is_known_are_counted(self, digits: ImageSet):
        task = make_task(with_attributes(digits), draw(digits, 2))
        with pytest.raises(UserError, match="3 of the 20 training images of digits have no label"):
            relabelled(task, task.train_rows[:3], torch.full((3, 4), -1, dtype=torch.int8))

    def test_a_metric_of_the_other_kind_is_refused(self, digits: ImageSet):
        with pytest.raises(
            UserError, match="metric is accuracy, but the images have attributes, which are scored by macro_auc"
        ):
            decide("accuracy", multi_label=True)
        with pytest.raises(
            UserError, match="metric is macro_auc, but the images have classes, which are scored by accuracy"
        ):
            decide("macro_auc", multi_label=False)
        kind = catalog.find("evaluation", "linear", Protocol)
        with pytest.raises(UserError, match="metric is macro_auc, but the images have classes"):
            kind(kind.Config(metric="macro_auc")).run(make_task(digits, draw(digits, 6)), RNG)


class TestJudge:
    """What a person is told before numbers are."""

    def said(self, encoder: Encoder, images: ImageSet, settings: JudgeSettings) -> str:
        stream = io.StringIO()
        with Progress(stream=stream) as progress:
            judge(encoder, images, settings, device=torch.device("cpu"), progress=progress)
        return stream.getvalue()

    def encoder(self, name: str = "conv4", channels: int = 1, size: int = 8) -> Encoder:
        spec = BackboneSpec(
            name=name, channels=channels, image_size=size, mean=(0.3,) * channels, std=(0.4,) * channels
        )
        return Encoder(build_backbone(spec), Feed(size=size, channels=channels), {})

    def test_a_class_with_fewer_images_than_labels_asked_for(self, digits: ImageSet):
        assert digits.labels is not None
        rare = torch.nonzero(digits.labels == 3)[6:, 0]
        keep = np.setdiff1d(np.arange(len(digits)), rare.numpy())
        said = self.said(self.encoder(), digits.select(keep), JudgeSettings(protocols=("knn",), labels=(20,), draws=1))
        assert "20 labels per class: 3 gave all they have, which is fewer" in said

    def test_a_class_that_is_missing_from_the_training_part(self, digits: ImageSet):
        assert digits.labels is not None
        parts = np.where(digits.labels.numpy() == 7, "test", np.where(np.arange(len(digits)) % 5 == 0, "test", "train"))
        said = self.said(self.encoder(), replace(digits, parts=parts), JudgeSettings(protocols=("knn",)))
        assert "all labels: 1 classes have none among the" in said and "cannot be learned: 7" in said

    def test_images_smaller_than_the_encoder_was_made_for(self, digits: ImageSet):
        said = self.said(self.encoder(size=16), digits, JudgeSettings(protocols=("knn",)))
        assert (
            "loaded at 8 pixels a side, but the encoder was made for 16: the images are enlarged; load them at 16"
            in said
        )
        assert "enlarged" not in self.said(self.encoder(), digits, JudgeSettings(protocols=("knn",)))

    def test_images_of_another_number_of_channels(self, digits: ImageSet):
        five = replace(digits, images=digits.images[:].expand(-1, 5, -1, -1).contiguous())
        with pytest.raises(UserError, match="the images have 5 channels, but the encoder takes 3"):
            self.said(self.encoder(channels=3), five, JudgeSettings(protocols=("majority",)))

    def test_an_encoder_without_layers(self, digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("selfstudy.backbones.timm._shows_layers", lambda model: False)
        with pytest.raises(UserError, match="backbone resnet18 shows no intermediate layers"):
            self.said(self.encoder("resnet18"), digits, JudgeSettings(protocols=("layers",), labels=(1,), draws=1))
