"""One battery over every protocol. A new file in evaluation/ is tested here without a line being added."""

import dataclasses
import json
import math

import pytest
import torch

from selfstudy import catalog, config
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import METRICS, Protocol, Task
from selfstudy.images import ImageSet, load
from selfstudy.rng import Rng
from selfstudy.types import Scores
from tests.digits_task import draw, make_task, relabelled

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


def run(kind: type[Protocol], task: Task) -> Scores:
    short = {name: value for name, value in SHORT.items() if name in kind.Config.__dataclass_fields__}
    seen = {
        "labels": dataclasses.replace(task, encoder=None, features=None),
        "features": dataclasses.replace(task, encoder=None),
        "encoder": dataclasses.replace(task, features=None),
    }
    return kind(kind.Config(**short)).run(seen[kind.needs], Rng.from_seed(0))


def test_the_folder_is_not_empty():
    assert {"knn", "linear", "majority"} <= set(PROTOCOLS)


def test_config_is_frozen_and_refuses_what_it_does_not_know(kind: type[Protocol]):
    settings = kind.Config()
    assert config.validate(kind.Config, {}, "protocol") == settings
    with pytest.raises(UserError, match="no_such_setting"):
        config.validate(kind.Config, {"no_such_setting": 1}, "protocol")
    for field in dataclasses.fields(settings):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, field.name, 1)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("knn", {"temperature": 0}),
        ("knn", {"num_neighbours": []}),
        ("knn", {"num_neighbours": [0]}),
        ("linear", {"C": [-1]}),
        ("linear", {"metric": "acuracy"}),
    ],
)
def test_config_refuses_impossible_values(name: str, values: dict[str, object]):
    with pytest.raises(UserError, match=next(iter(values))):
        config.validate(catalog.find("evaluation", name, Protocol).Config, values, f"protocol {name}")


def test_sees_what_it_needs_and_reports_in_full(kind: type[Protocol], task: Task):
    scores = run(kind, task)
    assert set(scores.metrics) == set(METRICS)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in scores.metrics.values())
    assert scores.predictions.dtype == torch.int64 and scores.predictions.shape == task.test_rows.shape
    assert scores.predictions.device.type == "cpu"
    assert int(scores.predictions.min()) >= 0 and int(scores.predictions.max()) < task.num_classes
    assert scores.chosen["chosen_by"]
    assert all(isinstance(value, (str, int, float)) for value in scores.chosen.values())
    json.dumps(dict(scores.chosen), allow_nan=False)
    assert math.isfinite(scores.seconds) and scores.seconds > 0


def test_is_a_function_of_the_task_and_the_stream(kind: type[Protocol], task: Task):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = run(kind, task)
        torch.manual_seed(2)
        second = run(kind, task)
    assert torch.equal(first.predictions, second.predictions)
    assert first.chosen == second.chosen and first.metrics == second.metrics


def test_test_labels_change_the_score_alone(kind: type[Protocol], task: Task):
    assert task.images.labels is not None
    other = relabelled(task, task.test_rows, (task.images.labels[task.test_rows] + 1) % task.num_classes)
    first, second = run(kind, task), run(kind, other)
    assert torch.equal(first.predictions, second.predictions)
    assert first.chosen == second.chosen and first.metrics["accuracy"] != second.metrics["accuracy"]


def test_leaves_the_task_as_it_was(kind: type[Protocol], task: Task):
    assert task.encoder is not None and task.features is not None and task.images.labels is not None
    kept = [task.features, task.images.images, task.images.labels, *task.encoder.backbone.state_dict().values()]
    before = [value.clone() for value in kept]
    run(kind, task)
    after = [task.features, task.images.images, task.images.labels, *task.encoder.backbone.state_dict().values()]
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))
