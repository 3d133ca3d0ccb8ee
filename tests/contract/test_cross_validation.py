"""Studies of few labelled images: every one of them is tested in its turn, and the pool does without them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import yaml
from PIL import Image

from selfstudy import api
from selfstudy.images import load
from selfstudy.progress import Progress
from selfstudy.study import run as study_run
from selfstudy.study import settings as study_settings
from selfstudy.study.material import gather


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of digits: 200 without labels, and 60 in three classes, ten of which lie in the first too."""
    root = tmp_path_factory.mktemp("few")
    digits = load("digits", image_size=8, labelled=True)
    (root / "all").mkdir()
    chosen = [row for row in range(len(digits)) if int(digits.labels[row]) < 3][:260]
    for number, row in enumerate(chosen):
        picture = Image.fromarray(digits.images[row][0].numpy())
        if number < 60:
            folder = root / "labelled" / digits.classes[int(digits.labels[row])]
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{number}.png")
        if number >= 50:
            picture.save(root / "all" / f"{number}.png")
    return root


def settings_of(place: Path, **changes: object) -> study_settings.StudySettings:
    values = {
        "name": "few", "data": {"unlabelled": str(place / "all"), "labelled": str(place / "labelled")}, "image_size": 8,
        "backbone": "conv4", "methods": ["majority", "supervised", {"simclr": {"batch_size": 32}}], "labels": [5, "all"],
        "draws": {5: 2, "all": 1}, "seeds": 1, "budget": {"images_seen": 320}, "protocols": ["linear"], "explain": [], **changes,
    }  # fmt: skip
    values["methods"] = [
        {"supervised": {"images_seen": 320}} if method == "supervised" else method for method in values["methods"]
    ]
    return study_settings.validate(values, "test")


def test_every_labelled_image_is_tested_by_what_did_not_learn_from_it(place):
    """Mutations: leave labelled images in the pool, test a fold by what learned from it, forget the remark."""
    material = gather(settings_of(place), None)
    assert material.rounds is not None and "tested in its turn" in material.remark
    assert len(material.split.test_rows) == 60 and len(material.pool) == 200 and len(material.excluded) == 10
    for draw in (0, 1):
        parts = material.parts(draw)
        tested = np.concatenate([part.test_rows for part in parts])
        assert sorted(tested.tolist()) == material.split.test_rows.tolist()
        for part in parts:
            known = material.draw("all", draw, part).rows
            assert not set(material.images.groups[known]) & set(material.images.groups[part.test_rows])
            assert len(material.draw(5, draw, part).rows) == 15


@pytest.mark.parametrize(("having", "in_turn"), [(30, True), (2, False)])
def test_folds_that_no_attribute_can_score_are_not_made(place, tmp_path, having, in_turn):
    """Of 60 pictures with one attribute. Mutation: a study that stops in the fold where all or nobody has it."""
    pictures = sorted((place / "labelled").rglob("*.png"))
    lines = [f"{path},{int(number < having)}" for number, path in enumerate(pictures)]
    (tmp_path / "marks.csv").write_text("\n".join(["path,zero", *lines]), encoding="utf-8")
    data = {"unlabelled": str(place / "all"), "labelled": {"table": str(tmp_path / "marks.csv"), "labels": ["zero"]}}
    material = gather(settings_of(place, data=data), None)
    assert (material.rounds is not None) == in_turn
    assert ("cannot be tested in turn" in material.remark) != in_turn


def test_a_study_in_rounds_runs_goes_on_and_is_reported(place, tmp_path):
    settings, folder = settings_of(place), tmp_path / "study"
    finished = study_run.run(settings, folder, progress=Progress(quiet=True))
    assert not finished.failures and finished.num_computed == finished.num_cells
    again = study_run.run(settings, folder, progress=Progress(quiet=True))
    assert again.num_computed == 0
    more = study_run.run(settings_of(place, draws={5: 3, "all": 1}), folder, progress=Progress(quiet=True))
    assert 0 < more.num_computed <= 3  # rounds before it begin as they did
    table = pd.read_csv(folder / "results.csv")
    splits = json.loads((folder / "splits.json").read_text())
    assert np.array(splits["rounds"]).shape == (3, 60)
    for path in (folder / "cells").glob("*/predictions.safetensors"):
        predictions = safetensors.torch.load(path.read_bytes())["predictions"]
        score = (predictions.numpy() == np.array(splits["test_labels"])).mean()
        cell = table[(table.cell == path.parent.name) & (table.metric == "accuracy")]
        assert cell.value.iloc[0] == pytest.approx(score)
    assert not list((folder / "cells").glob("*/fold-*"))
    page = api.report(folder)
    text = page.read_text(encoding="utf-8")
    assert "tested in its turn" in text or "tested in turn" in text or "cross-validation" in text


def test_where_it_cannot_be_it_is_said(place):
    """One folder for both, a pool of labelled images alone, a split that the source dictates, and enough images."""
    alone = gather(settings_of(place, data=str(place / "labelled")), None)
    assert alone.rounds is None and "data.unlabelled" in alone.remark
    same = {"unlabelled": str(place / "labelled"), "labelled": str(place / "labelled")}
    assert "are labelled ones too" in gather(settings_of(place, data=same), None).remark
    assert gather(settings_of(place, data=same, transductive=True), None).rounds is not None
    table = place / "table.csv"
    paths = sorted((place / "labelled").rglob("*.png"))
    rows = [f"{path},{path.parent.name},{'test' if number % 3 == 0 else 'train'}" for number, path in enumerate(paths)]
    table.write_text("\n".join(["path,label,split", *rows]))
    dictated = {"unlabelled": str(place / "all"), "labelled": {"table": str(table)}}
    assert gather(settings_of(place, data=dictated), None).rounds is None


def test_the_study_file_says_nothing_of_it(place, tmp_path):
    """Nothing is to be set: so a study of few labels is judged well by whoever did not know that it would not be."""
    values = settings_of(place).to_json()
    assert "rounds" not in yaml.safe_dump(values)


def test_rows_are_explained_by_what_all_labels_choose(place, tmp_path):
    """Each part has chosen its own C. Mutation: what the parts chose, put together, is taken for one."""
    settings = settings_of(place, explain=["confused", "saliency"], methods=["random", "supervised"])
    study_run.run(settings, tmp_path, progress=Progress(quiet=True))
    explained = {path.parent for path in tmp_path.glob("cells/*/explain.json")}
    assert len(explained) == 2
    scores = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("cells/*/scores.json")]
    assert any("," in str(one["chosen"].get("C", "")) for one in scores)
