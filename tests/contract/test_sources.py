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
from tests import tiny_sets

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


def _make_picture(root):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)).save(root / "picture.png")
    return root / "picture.png"


# A source that lies somewhere needs an example here.
PLACES = {
    "celeba": tiny_sets.celeba,
    "cifar10": tiny_sets.cifar10,
    "cifar100": tiny_sets.cifar100,
    "clamm": tiny_sets.clamm,
    "fashionmnist": lambda root: tiny_sets.mnist(root, "FashionMNIST"),
    "folder": _make_folder,
    "huggingface": lambda root: tiny_sets.huggingface(root / "set"),
    "imagenet": tiny_sets.imagenet,
    "mnist": tiny_sets.mnist,
    "noise": lambda root: 30,
    "single": _make_picture,
    "stl10": tiny_sets.stl10,
    "svhn": tiny_sets.svhn,
    "table": _make_table,
    "wds": tiny_sets.webdataset,
}
UNLABELLED = {"noise", "single"}  # controls: nothing in them has a name
FETCHED = {
    "cifar10",
    "cifar100",
    "fashionmnist",
    "mnist",
    "stl10",
    "svhn",
}  # they may lie in the cache, without a place


@pytest.fixture(params=NAMES)
def source(request, tmp_path, monkeypatch):
    kind = catalog.find("images", request.param, Source)
    takes_place = request.param in {field.name for field in dataclasses.fields(kind)}
    place = PLACES[request.param](tmp_path) if takes_place else ""
    if request.param in FETCHED:
        tiny_sets.accept(monkeypatch, tmp_path)
    return f"{request.param}:{place}" if takes_place else request.param


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_one_source(name):
    kind = catalog.find("images", name, Source)
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__
    assert name in {field.name for field in dataclasses.fields(kind)} or kind() == kind()


def test_it_becomes_a_sound_set(source):
    labelled = source.partition(":")[0] not in UNLABELLED
    images = load(source, image_size=12, labelled=labelled)
    size = len(images)
    assert size > 1
    assert images.name == source
    assert images.images.dtype == torch.uint8
    assert images.images.shape[0] == size
    assert images.channels in (1, 3)
    assert 12 <= images.images.shape[2] == images.images.shape[3] <= 14  # ceil(1.15 * 12)
    assert len(set(images.ids.tolist())) == len(images.groups) == len(images.paths) == size
    assert images.skipped == ()
    if labelled:
        kinds = {0, 1} if images.multi_label else set(range(len(images.classes)))
        assert images.labels.dtype == (torch.int8 if images.multi_label else torch.int64)
        assert set(images.labels.flatten().tolist()) - {-1} == kinds
        assert len(images.classes) > 1
    else:
        with pytest.raises(UserError, match=f"{source} has no labels"):
            load(source, image_size=12, labelled=True)


def test_it_is_the_same_every_time_and_labels_are_seen_only_when_asked_for(source):
    labelled = source.partition(":")[0] not in UNLABELLED
    first, again, blind = (load(source, image_size=12, labelled=seen) for seen in (labelled, labelled, False))
    assert first.fingerprint == again.fingerprint
    assert (first.fingerprint != blind.fingerprint) == labelled
    assert torch.equal(first.images[:], again.images[:])
    assert torch.equal(first.images[:], blind.images[:])
    assert first.ids.tolist() == blind.ids.tolist()
    assert blind.labels is None
    assert blind.classes == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_place_is_asked_for_or_refused_in_words(name):
    written, message = (name, f"{name}:[A-Z]+") if name in PLACES else (f"{name}:somewhere", "takes no path")
    if name in FETCHED:
        written, message = f"{name}:somewhere", "the folder somewhere does not exist: make it, and"
    with pytest.raises(UserError, match=message):
        load(written, image_size=12)
    with pytest.raises(UserError, match='data: there is no setting "colour"'):
        load({name: "somewhere" if name in PLACES else "", "colour": 1}, image_size=12)
