"""One battery over every protocol, on classes, on attributes and on pages. A new file in evaluation/ is tested here as it is."""

import dataclasses
import json
import math

import pytest
import torch

from selfstudy import catalog, config
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import METRICS, Protocol, Task, measure_attributes
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from selfstudy.types import Scores
from tests.digits_task import draw, in_pages, make_task, relabelled, with_attributes

PROTOCOLS = catalog.names("evaluation")
SHORT = {"images_seen": 320}  # so that protocols that train take seconds


@pytest.fixture(params=PROTOCOLS)
def kind(request: pytest.FixtureRequest) -> type[Protocol]:
    return catalog.find("evaluation", request.param, Protocol)


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True)


@pytest.fixture(scope="module")
def task(digits: ImageSet) -> Task:
    """Six labels of every class, pixels as features, and an encoder that was never trained."""
    spec = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,))
    with Rng.from_seed(0).seeding_torch():
        encoder = Encoder(build_backbone(spec), Feed(size=8, channels=1), {})
    return dataclasses.replace(make_task(digits, draw(digits, 6)), encoder=encoder)


@pytest.fixture(scope="module")
def attributes(task: Task) -> Task:
    """The same images with four attributes each, a tenth of whose marks are unknown."""
    return dataclasses.replace(task, images=with_attributes(task.images))


@pytest.fixture(params=["classes", "attributes"])
def any_task(request: pytest.FixtureRequest, task: Task, attributes: Task) -> Task:
    return task if request.param == "classes" else attributes


def run(kind: type[Protocol], task: Task) -> Scores:
    short = {name: value for name, value in SHORT.items() if name in kind.Config.__dataclass_fields__}
    seen = {
        "labels": dataclasses.replace(task, encoder=None, features=None),
        "features": dataclasses.replace(task, encoder=None),
        "encoder": dataclasses.replace(task, features=None),
    }
    return kind(kind.Config(**short)).run(seen[kind.needs], Rng.from_seed(0))


def test_the_folder_is_not_empty():
    assert {"finetune", "head", "knn", "layers", "linear", "majority", "prototype"} <= set(PROTOCOLS)


def test_config_is_frozen_and_refuses_what_it_does_not_know(kind: type[Protocol]):
    settings = kind.Config()
    assert config.validate(kind.Config, {}, "protocol") == settings
    with pytest.raises(UserError, match="no_such_setting"):
        config.validate(kind.Config, {"no_such_setting": 1}, "protocol")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.no_such_setting = 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("knn", {"num_neighbours": []}),
        ("knn", {"temperature": 0}),
        ("linear", {"C": []}),
        ("linear", {"C": [0.0]}),
        ("linear", {"metric": "accurate"}),
        ("linear", {"class_weight": "heavy"}),
        ("finetune", {"layer_decay": 0}),
        ("finetune", {"search": -1}),
        ("finetune", {"class_weight": "choose"}),  # without a search
        ("head", {"dropout": 1.0}),
        ("layers", {"grid": 0}),
    ],
)
def test_impossible_settings_are_refused(name: str, values: dict[str, object]):
    with pytest.raises(UserError, match=next(iter(values))):
        config.validate(catalog.find("evaluation", name, Protocol).Config, values, f"protocol {name}")


def test_sees_what_it_needs_and_reports_in_full(kind: type[Protocol], task: Task):
    scores = run(kind, task)
    assert set(scores.metrics) == {*METRICS, "weighted_f1", "calibration_error"}
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in scores.metrics.values())
    assert scores.predictions.dtype == torch.int64 and scores.predictions.shape == task.test_rows.shape
    assert scores.predictions.device.type == "cpu"
    assert int(scores.predictions.min()) >= 0 and int(scores.predictions.max()) < task.num_classes
    assert scores.probabilities is not None and scores.probabilities.shape == (len(task.test_rows), task.num_classes)
    assert torch.allclose(scores.probabilities.sum(1), torch.ones(len(task.test_rows)), atol=1e-5)
    assert scores.probabilities.dtype == torch.float32 and float(scores.probabilities.min()) >= 0
    assert scores.chosen["chosen_by"]
    assert all(isinstance(value, (str, int, float)) for value in scores.chosen.values())
    json.dumps([dict(scores.chosen), dict(scores.details)], allow_nan=False)
    assert math.isfinite(scores.seconds) and scores.seconds > 0


def test_answers_for_every_attribute(kind: type[Protocol], attributes: Task):
    """Mutation: a class instead of attributes, or a number for an unknown mark."""
    scores = run(kind, attributes)
    shape = (len(attributes.test_rows), 4)
    assert scores.probabilities is not None and scores.predictions.shape == scores.probabilities.shape == shape
    assert set(scores.metrics) == set(measure_attributes(attributes.truth.numpy(), scores.probabilities.numpy()))
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in scores.metrics.values())
    assert torch.equal(scores.predictions, (scores.probabilities > 0.5).long())
    assert scores.details["undefined_attributes"] == 0 and scores.details["undefined"] == []
    assert scores.chosen["chosen_by"]
    json.dumps([dict(scores.chosen), dict(scores.details)], allow_nan=False)
    if kind.needs == "features":  # 60 labels tell even from odd pixels better than a coin
        assert scores.metrics["macro_auc"] > 0.75
    if kind.needs == "labels":
        assert scores.metrics["macro_auc"] == scores.metrics["balanced_accuracy"] == 0.5


def test_a_page_is_answered_for_by_all_its_tiles(kind: type[Protocol], task: Task):
    """Its probabilities are the mean over its rows, and there is one answer each. Mutation: answer for every tile."""
    paged = dataclasses.replace(task, images=in_pages(task.images))
    scores = run(kind, paged)
    names = paged.images.pages[paged.test_rows.numpy()].tolist()  # type: ignore[index]
    assert scores.predictions.shape == (len(set(names)),) and len(set(names)) < len(names) / 2
    singly = run(kind, dataclasses.replace(paged, images=dataclasses.replace(paged.images, pages=None)))
    assert singly.probabilities is not None and scores.probabilities is not None
    for number, name in enumerate(dict.fromkeys(names)):
        rows = [position for position, other in enumerate(names) if other == name]
        torch.testing.assert_close(scores.probabilities[number], singly.probabilities[rows].mean(0))


def test_is_a_function_of_the_task_and_the_stream(kind: type[Protocol], any_task: Task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = run(kind, any_task)
        torch.manual_seed(2)
        second = run(kind, any_task)
    assert torch.equal(first.predictions, second.predictions)
    assert first.probabilities is not None and second.probabilities is not None
    assert torch.equal(first.probabilities, second.probabilities)
    assert first.chosen == second.chosen and first.metrics == second.metrics


def test_test_labels_change_the_score_alone(kind: type[Protocol], task: Task):
    assert task.images.labels is not None
    other = relabelled(task, task.test_rows, (task.images.labels[task.test_rows] + 1) % task.num_classes)
    first, second = run(kind, task), run(kind, other)
    assert torch.equal(first.predictions, second.predictions)
    assert first.chosen == second.chosen and first.metrics["accuracy"] != second.metrics["accuracy"]


def test_marks_of_the_test_part_change_the_score_alone(kind: type[Protocol], attributes: Task):
    assert attributes.images.labels is not None
    marks = attributes.images.labels[attributes.test_rows]
    other = relabelled(attributes, attributes.test_rows, torch.where(marks >= 0, 1 - marks, marks))
    first, second = run(kind, attributes), run(kind, other)
    assert torch.equal(first.predictions, second.predictions)
    assert first.chosen == second.chosen and first.metrics["macro_accuracy"] != second.metrics["macro_accuracy"]


def test_unknown_marks_teach_nothing(kind: type[Protocol], attributes: Task):
    """A budget in which one attribute is known of nobody leaves the others alone. Mutation: -1 as not having it."""
    assert attributes.images.labels is not None
    marks = attributes.images.labels[attributes.train_rows]
    marks[:, 3] = -1
    scores = run(kind, relabelled(attributes, attributes.train_rows, marks))
    assert scores.details["cannot_be_learned"] == ["round"]
    assert scores.probabilities is not None
    if kind.needs != "encoder" or "images_seen" not in kind.Config.__dataclass_fields__:
        assert scores.probabilities[:, 3].unique().tolist() in ([0.5], [0.0])


def test_leaves_the_task_as_it_was(kind: type[Protocol], any_task: Task):
    task = any_task
    assert task.encoder is not None and task.features is not None and task.images.labels is not None
    kept = [task.features, task.images.images, task.images.labels, *task.encoder.backbone.state_dict().values()]
    before = [value.clone() for value in kept]
    run(kind, task)
    after = [task.features, task.images.images, task.images.labels, *task.encoder.backbone.state_dict().values()]
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))
