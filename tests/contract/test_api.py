"""The Python API: names stay functions, options are the engine's, and a folder belongs to one run."""

import importlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

import selfstudy
from selfstudy import api
from selfstudy.errors import UserError
from selfstudy.explaining import ExplainSettings
from selfstudy.images import ImageSet
from selfstudy.judge import JudgeSettings
from selfstudy.training.settings import overridable

TINY: dict[str, Any] = {"backbone": "conv4", "images_seen": 256, "quiet": True}


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return selfstudy.images("digits", size=8)


@pytest.fixture(scope="module")
def tiny(digits: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return selfstudy.pretrain("simclr", digits, out=tmp_path_factory.mktemp("runs") / "tiny", **TINY)


@pytest.mark.parametrize("name", selfstudy.__all__)
def test_a_name_is_the_function_whatever_is_imported(name: str) -> None:
    """Fails when importing the folder images, study or report takes the function's name."""
    for room in ("images", "study", "explain", "report", "images.folder"):
        importlib.import_module(f"selfstudy.{room}")
    assert getattr(selfstudy, name) is getattr(api, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        selfstudy.pretrian  # noqa: B018


def test_the_options_of_pretrain_are_those_of_the_engine() -> None:
    """Fails when a setting is added to RunSettings or Reading alone."""
    loading = {field.name for field in fields(api.Reading)}
    assert set(get_type_hints(api.PretrainOptions)) == {"method"} | loading | set(overridable())


def test_the_options_of_evaluate_are_those_of_the_engine() -> None:
    assert set(get_type_hints(api.EvaluateOptions)) == {field.name for field in fields(JudgeSettings)}


def test_the_options_of_explain_are_those_of_the_engine() -> None:
    assert set(get_type_hints(api.ExplainOptions)) == {field.name for field in fields(ExplainSettings)}


def test_the_same_call_again_returns_what_it_made(digits: ImageSet, tiny: api.Run) -> None:
    written = (tiny.folder / "encoder.safetensors").stat().st_mtime_ns
    again = selfstudy.pretrain("simclr", digits, out=tiny.folder, **TINY)
    assert json.dumps(again.card, sort_keys=True) == json.dumps(tiny.card, sort_keys=True)
    assert (tiny.folder / "encoder.safetensors").stat().st_mtime_ns == written
    with torch.no_grad():
        pictures = digits.images[:9]
        assert torch.equal(again.encoder(pictures), tiny.encoder(pictures))
        assert torch.equal(selfstudy.load(tiny.folder).encoder(pictures), tiny.encoder(pictures))


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("simclr", {"lr": 0.5}, "holds a run whose lr is .* instead of 0.5"),
        ("simclr", {"method": {"temperature": 0.7}}, "holds a run whose config is"),
        ("byol", {}, "holds a run whose method is simclr instead of byol"),
    ],
)
def test_a_folder_belongs_to_one_run(
    digits: ImageSet, tiny: api.Run, method: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        selfstudy.pretrain(method, digits, out=tiny.folder, **TINY, **options)


def test_a_folder_belongs_to_one_set_of_images(digits: ImageSet, tiny: api.Run) -> None:
    with pytest.raises(UserError, match="holds a run on other images"):
        selfstudy.pretrain("simclr", digits.select(np.arange(1000)), out=tiny.folder, **TINY)


def test_what_lies_in_a_folder_is_not_overwritten(digits: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    for out in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UserError, match="holds something else"):
            selfstudy.pretrain("simclr", digits, out=out, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_wrong_option_is_refused_with_the_nearest(digits: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'no setting "epoch"\. Did you mean "epochs"'):
        selfstudy.pretrain("simclr", digits, out=tmp_path, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(UserError, match="image_size is set, but the images are loaded already"):
        selfstudy.pretrain("simclr", digits, out=tmp_path, image_size=3)


def test_judging_is_repeatable_and_test_images_stay_unseen(tiny: api.Run) -> None:
    """Fails when a draw or a split depends on anything but the seed."""
    labelled = selfstudy.images("digits", size=8, labelled=True)
    options: dict[str, Any] = {"protocols": ["knn", "majority"], "labels": [3, "all"], "draws": 2, "quiet": True}
    first = selfstudy.evaluate(tiny, labelled, **options)
    second = selfstudy.evaluate(tiny.folder, labelled, **options)
    other = selfstudy.evaluate(tiny.encoder, labelled, seed=1, **options)
    numbers = ["protocol", "labels", "num_labels", "draw", "accuracy", "macro_f1", "balanced_accuracy"]
    assert first[numbers].equals(second[numbers]) and not first[numbers].equals(other[numbers])
    assert first.num_labels.tolist() == [30, 30, 30, 30, 1438, 1438]  # 1,797 less a fifth
    assert (first[first.protocol == "majority"].accuracy < 0.2).all()


def test_a_protocols_own_settings_reach_it(tiny: api.Run) -> None:
    labelled = selfstudy.images("digits", size=8, labelled=True)
    one = selfstudy.evaluate(
        tiny, labelled, protocols=["knn"], labels=[10], draws=1, quiet=True, settings={"knn": {"num_neighbours": [1]}}
    )
    assert '"num_neighbours": 1' in one.chosen[0]
    with pytest.raises(UserError, match=r'settings are given for "knnn"\. Did you mean "knn"'):
        selfstudy.evaluate(tiny, labelled, protocols=["knn"], settings={"knnn": {}})
    with pytest.raises(UserError, match='there is no setting "num_neighbour"'):
        selfstudy.evaluate(tiny, labelled, protocols=["knn"], settings={"knn": {"num_neighbour": 1}})


def test_embeddings_are_the_encoders_and_hold_no_pickle(digits: ImageSet, tiny: api.Run, tmp_path: Path) -> None:
    """Fails when rows are shuffled or ids are stored as objects."""
    found = selfstudy.embed(tiny, digits)
    found.save(tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz", allow_pickle=False) as stored:
        assert np.array_equal(stored["features"], tiny.encoder(digits.images, batch_size=256).numpy())
        assert np.array_equal(stored["ids"], digits.ids) and stored["paths"].shape == (1797,)
