"""One battery over every file of images/: whatever a source finds becomes a sound ImageSet, the same every time."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from selfstudy import catalog
from selfstudy.errors import UserError
from selfstudy.images import load
from selfstudy.images._source import Source

NAMES = catalog.names("images")


def _make_folder(root):
    for number in range(12):
        path = root / ("cats" if number % 2 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10 + number, 12), 20 * number, dtype=np.uint8)).save(path)
    return root


def _make_table(root):
    folder = _make_folder(root / "pictures")
    lines = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in folder.rglob("*.png")]
    (root / "table.csv").write_text("\n".join(["path,label", *lines]), encoding="utf-8")
    return root / "table.csv"


PLACES = {"folder": _make_folder, "table": _make_table}  # a source that lies somewhere needs an example here


@pytest.fixture(params=NAMES)
def source(request, tmp_path):
    kind = catalog.find("images", request.param, Source)
    takes_place = request.param in {field.name for field in dataclasses.fields(kind)}
    return f"{request.param}:{PLACES[request.param](tmp_path)}" if takes_place else request.param


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_one_source(name):
    kind = catalog.find("images", name, Source)
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__
    assert name in {field.name for field in dataclasses.fields(kind)} or kind() == kind()


def test_it_becomes_a_sound_set(source):
    images = load(source, image_size=12, labelled=True)
    size = len(images)
    assert size > 1
    assert images.name == source
    assert images.images.dtype == torch.uint8
    assert images.images.shape[0] == size
    assert images.channels in (1, 3)
    assert 12 <= images.images.shape[2] == images.images.shape[3] <= 14  # ceil(1.15 * 12)
    assert len(set(images.ids.tolist())) == len(images.groups) == len(images.paths) == size
    assert images.labels.dtype == torch.int64
    assert set(images.labels.tolist()) == set(range(len(images.classes)))
    assert len(images.classes) > 1
    assert images.skipped == ()


def test_it_is_the_same_every_time_and_labels_are_seen_only_when_asked_for(source):
    first, again, blind = (load(source, image_size=12, labelled=labelled) for labelled in (True, True, False))
    assert first.fingerprint == again.fingerprint != blind.fingerprint
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.images, blind.images)
    assert first.ids.tolist() == blind.ids.tolist()
    assert blind.labels is None
    assert blind.classes == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_place_is_asked_for_or_refused_in_words(name):
    written, message = (name, f"{name}:PATH") if name in PLACES else (f"{name}:somewhere", "takes no path")
    with pytest.raises(UserError, match=message):
        load(written, image_size=12)
    with pytest.raises(UserError, match='data: there is no setting "colour"'):
        load({name: "somewhere" if name in PLACES else "", "colour": 1}, image_size=12)
