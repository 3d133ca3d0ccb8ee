"""A look before training: the page shows every row's views, nothing is trained, and the views are those of the first step."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import selfstudy as st
from selfstudy import api
from selfstudy.errors import UserError
from selfstudy.study import run as study_run
from selfstudy.study import settings as study_settings

STUDY = {
    "data": "digits", "image_size": 8, "backbone": ["conv4", "conv2"], "methods": ["majority", "supervised", "simclr", "rotation"],
    "views": ["blur"], "labels": [5], "draws": 1, "seeds": 2, "question": "Is <b>this</b> escaped?",
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    return tmp_path / "tiny.yaml"


def test_the_page_shows_what_each_row_would_see(study, tmp_path):
    page = st.preview(str(study), out=tmp_path / "out", quiet=True)
    text = page.read_text(encoding="utf-8")
    rows = [re.sub(r"\s+", " ", row) for row in re.findall(r'<h2 id="row-\d+">(.*?)</h2>', text)]
    assert rows == ["simclr conv4", "simclr conv2", "rotation conv4", "rotation conv2"]
    assert text.count("data:image/png;base64,") == 4 and "http" not in re.sub(r"data:\S+", "", text)
    assert "&lt;b&gt;this&lt;/b&gt;" in text and "<b>this</b>" not in text
    assert "blur" in text and "1438 images to pretrain on, 359 to test with" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "preview.html",
        *(f"views-{n}.png" for n in range(1, 5)),
    }


def test_the_views_are_those_of_the_first_step(study, tmp_path):
    """Against the sheet that the run itself writes. Mutation: another seed, or the stored images alone."""
    api.preview(str(study), {"methods": ["simclr"], "backbone": "conv4"}, out=tmp_path / "out", quiet=True)
    settings = study_settings.read(
        str(study),
        {"methods": ["random", "simclr"], "backbone": "conv4", "budget.images_seen": 256, "seeds": 1, "explain": []},
    )
    study_run.run(settings, tmp_path / "study", progress=study_run.Progress(quiet=True))
    [sheet] = (tmp_path / "study" / "cells").glob("*/views.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(sheet)), np.asarray(Image.open(tmp_path / "out" / "views-1.png"))
    )


def test_mistakes_are_said_as_by_the_study(study, tmp_path):
    with pytest.raises(UserError, match='there is no setting or row "sede"'):
        st.preview(str(study), {"sede": 1}, out=tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="there is no data source"):
        st.preview(str(study), {"data": "digts"}, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_several_backbones_are_rows_of_their_own(study):
    settings = study_settings.read(str(study))
    assert [entry.name for entry in settings.entries] == [
        "majority", "supervised conv4", "supervised conv2", "simclr conv4", "simclr conv2", "rotation conv4", "rotation conv2",
    ]  # fmt: skip
    own = study_settings.read(
        str(study), {"methods": [{"simclr": {"backbone": "mlp"}}, {"pretrained": {"backbone": "resnet18"}}]}
    )
    assert [entry.name for entry in own.entries] == ["simclr", "pretrained"]
