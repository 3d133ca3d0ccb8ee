"""What evaluation says and does when labels or features are poor: a sentence, or a result that says what it rests on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfstudy import catalog
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import Protocol, features
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, ONE_CLASS
from selfstudy.evaluation.linear import Linear
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from tests.digits_task import NUM_POOL, draw, make_task, pixels, relabelled

FROZEN = ["knn", "linear", "majority"]  # protocols that train no encoder
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
