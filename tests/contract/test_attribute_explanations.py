"""A study of images with attributes is explained as far as that means anything. Each test names the change that it must notice."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from selfstudy.explain import load, saved
from selfstudy.images import load as load_images
from selfstudy.progress import Progress
from selfstudy.report import write
from selfstudy.study.run import run
from selfstudy.study.settings import validate

ASKED = ["neighbours", "confused", "integrated_gradients", "border", "agreement", "jigsaws"]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    digits = load_images("digits", image_size=8, labelled=True)
    assert digits.labels is not None
    lines = ["path,even,large"]
    for number, (pixels, digit) in enumerate(zip(digits.images[:240], digits.labels[:240].tolist(), strict=True)):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{int(digit % 2 == 0)},{int(digit > 4)}")
    (folder / "digits.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    explained(folder)
    return folder


def explained(folder: Path) -> None:
    settings: dict[str, Any] = {
        "name": "tiny", "data": {"table": str(folder / "digits.csv"), "labels": ["even", "large"]}, "image_size": 8,
        "backbone": "conv4", "views": ["affine"], "threads": 1, "seeds": 2, "labels": ["all"], "draws": 1, "protocols": ["linear"],
        "methods": ["majority", "random", {"supervised": {"images_seen": 1280}}, {"simclr": {"batch_size": 32}}],
        "budget": {"images_seen": 128}, "explain": ASKED, "near_duplicates": False,
    }  # fmt: skip
    assert run(validate(settings, "test"), folder / "study", progress=Progress(quiet=True)).failures == ()


def records(folder: Path) -> dict[str, Path]:
    """By row, the folder of its explanations."""
    found = {}
    for path in folder.glob("study/cells/*/explain.json"):
        asked = json.loads(path.read_text(encoding="utf-8"))["asked"]
        found[asked["neighbours"]["about"]["entry"]] = path.parent / "explain"
    return found


def test_every_row_but_majority_has_the_analyses_that_ask_for_no_class(study):
    """An attribution is asked about likeness instead. Mutations: nothing explained; maps of the class of the largest logit."""
    found = records(study)
    assert set(found) == {"random", "supervised", "simclr"}
    for folder in found.values():
        assert saved(folder) == ["border", "neighbours", "similarity"]
        left_out = json.loads((folder.parent / "explain.json").read_text(encoding="utf-8"))["left_out"]
        assert set(left_out) == {"confused", "integrated_gradients", "agreement", "jigsaws"}
        assert all(len(sentence.split()) > 4 for sentence in left_out.values())
        assert len(load(folder, "similarity").table) == 8
    assert not (study / "study" / "explain").exists()


def test_rows_are_explained_on_the_same_images_and_by_what_they_learned(study):
    """Supervised training starts from the random row's weights. Mutation: the encoder that it started from."""
    tables = {row: load(folder, "similarity").table for row, folder in records(study).items()}
    assert len({tuple(table["id"]) for table in tables.values()}) == 1
    scores = [tuple(table["score"]) for table in tables.values()]
    assert len(set(scores)) == 3


def test_nothing_is_made_twice(study):
    before = {path: path.stat().st_mtime_ns for path in study.glob("study/cells/*/explain/*")}
    explained(study)
    assert before and {path: path.stat().st_mtime_ns for path in study.glob("study/cells/*/explain/*")} == before
    assert not list(study.glob("study/cells/*/.explain"))


def test_the_page_shows_them(study):
    text = write(study / "study").read_text(encoding="utf-8")
    assert text.count("Why it takes them for alike") == 3 and "Which pixels its answer came from" not in text
