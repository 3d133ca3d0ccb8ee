"""What the report writes beside its page: figures and tables for a paper, recipes, thumbnails, and the page of two studies.

Mutations that must fail here: var(--...) left in an SVG; no legend in it; a CSV of what is shown instead of the numbers; a
recipe without its views, or without `method.`; thumbnails in another order than their ids; verdicts where test images
differ; a difference with the wrong sign.
"""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml
from PIL import Image

from selfstudy import api
from selfstudy.errors import UserError
from selfstudy.images import ImageSet
from selfstudy.report import write, write_pair
from selfstudy.report._facts import protocol_hash
from selfstudy.report._names import anchors
from selfstudy.report._recipe import recipe
from selfstudy.report._table import NOT_KNOWN, Table
from selfstudy.study._record import Row, StudyRecord
from selfstudy.study.pair import _tested, pair
from selfstudy.study.thumbnails import COLUMNS, SIDE_PIXELS, write_thumbnails
from selfstudy.training import resolve
from selfstudy.types import DataCard
from tests.report_study import HOSTILE, write_full_study, write_hostile_study
from tests.synthetic_study import ACCURACY, Truth, write_study

SMALL = Truth(
    accuracy={name: ACCURACY[name][1::2] for name in ("random", "supervised", "simclr")}, num_test=200, labels=("4", "all"),
    draws={"4": 4},
)  # fmt: skip


# ---- files for a paper


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = write_full_study(tmp_path_factory.mktemp("files") / "study", SMALL)
    write(folder, figures=True)
    return folder


def test_every_chart_is_a_picture_that_stands_alone(written):
    pictures = sorted((written / "figures").glob("*.svg"))
    names = {path.stem for path in pictures}
    assert names >= {
        "accuracy-linear-probe",
        "crossover",
        "recall",
        "simclr-embedding",
        "simclr-confusion-with-all-labels",
    }
    for path in pictures:
        text = path.read_text(encoding="utf-8")
        assert "var(" not in text and "https://" not in text and 'fill="white"' in text
        with Image.open(path.with_suffix(".png")) as image:
            assert image.width >= 1500
    legend = (written / "figures" / "accuracy-linear-probe.svg").read_text(encoding="utf-8")
    assert all(f">{row}</text>" in legend for row in SMALL.accuracy)


def test_tables_are_written_with_all_digits_and_for_latex(written):
    record = StudyRecord.read(written)
    with (written / "tables" / "table.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    means = record.table.groupby(["entry", "protocol", "labels", "metric"])["value"].mean()
    assert len(lines) == len(means)
    for value in means:
        assert any(np.isclose(float(line["mean"]), value, rtol=1e-12) for line in lines)
    text = (written / "tables" / "scores.tex").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + len(SMALL.accuracy) and len({line.count("&") for line in body}) == 1
    assert r"\begin{tabular}{llrr}" in text and text.count("{") == text.count("}")


def test_what_tex_and_csv_would_misread_is_escaped():
    table = Table(
        caption="One\nline", headers=["row", "50 %"], lines=[[("a_b & {c}", "a"), ("1.5", 1.4567)], [('"x", y', "x"), NOT_KNOWN]],
        words=1,
    )  # fmt: skip
    assert (
        r"a\_b \& \{c\} & 1.5 \\" in table.latex()
        and r"row & 50 \% \\" in table.latex()
        and "% One line" in table.latex()
    )
    assert list(csv.reader(io.StringIO(table.csv()))) == [["row", "50 %"], ["a_b & {c}", "1.4567"], ['"x", y', ""]]


def test_names_of_files_and_anchors_differ_where_names_do():
    found = anchors(["SimCLR, 200", "simclr 200", "</script>", "\N{GREEK CAPITAL LETTER ALPHA}", "--"])
    assert found["SimCLR, 200"] == "simclr-200" and len(set(found.values())) == 5
    assert all(word and set(word) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for word in found.values())


# ---- recipes


@pytest.mark.parametrize("method", ["simclr", "dino", "autoencoder"])
def test_a_copied_recipe_asks_for_the_same_run(tmp_path, method):
    card = DataCard(num_images=1000, channels=1, image_size=28)
    asked = {"lr": 0.003, "epochs": 7, "backbone": "conv4", "views": [{"blur": {"p": 0.3}}]}
    settings = resolve(method, asked, card, "here")
    folder = write_study(tmp_path / "study", SMALL)
    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    study["methods"] = [{method: {"as": "mine"}}]  # all else came from the study as a whole
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    cards = {("mine", 1.0, 0): {"settings": json.loads(json.dumps(settings.to_json()))}}
    [entry] = yaml.safe_load(recipe(StudyRecord.read(folder), Row("mine", "mine", 1.0, "learned"), cards))
    [(name, values)] = entry.items()
    assert name == method and values.pop("as") == "mine"
    assert resolve(name, values, card, "there") == settings


# ---- thumbnails


def test_a_thumbnail_is_found_by_its_id(tmp_path):
    names = np.asarray([f"image {place}" for place in range(COLUMNS + 3)])
    greys = torch.arange(len(names), dtype=torch.uint8) * 5
    pixels = greys[:, None, None, None].expand(-1, 1, 24, 24).contiguous()
    images = ImageSet(name="greys", images=pixels, image_size=24, ids=names, groups=names, paths=names)
    run = tmp_path / "cells" / "a"
    run.mkdir(parents=True)
    (run / "map.csv").write_text(
        "id,x,y,label\n" + "".join(f"{name},0,0,0\n" for name in names[::-1][:-1]), encoding="utf-8"
    )
    write_thumbnails(tmp_path, images)
    places = json.loads((tmp_path / "thumbnails.json").read_text(encoding="utf-8"))
    assert set(places["ids"]) == set(names[1:])  # the first is on no map
    sheet = np.asarray(Image.open(tmp_path / "thumbnails.jpg"))
    for place, name in enumerate(places["ids"]):
        top, left = place // COLUMNS * SIDE_PIXELS, place % COLUMNS * SIDE_PIXELS
        middle = sheet[top + 8 : top + SIDE_PIXELS - 8, left + 8 : left + SIDE_PIXELS - 8]
        assert abs(middle.mean() - float(greys[names.tolist().index(name)])) < 2, name


def test_without_maps_there_are_no_thumbnails(tmp_path):
    names = np.asarray(["a"])
    images = ImageSet(
        name="one",
        images=torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        image_size=8,
        ids=names,
        groups=names,
        paths=names,
    )
    write_thumbnails(tmp_path, images)
    assert list(tmp_path.iterdir()) == []


# ---- two studies


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    first = write_study(tmp_path / "first", SMALL)
    shutil.copytree(first, tmp_path / "second")
    return first, tmp_path / "second"


def _improve(folder: Path, entry: str) -> None:
    """Half of a row's mistakes are none any more; its cells have other names, as other runs would."""
    record = StudyRecord.read(folder)
    rng = np.random.default_rng(0)
    text = (folder / "results.csv").read_text(encoding="utf-8")
    for cell, value in record.table.query("entry == @entry and metric == 'accuracy'")[["cell", "value"]].itertuples(
        index=False
    ):
        path = folder / "cells" / cell
        right = rng.random(len(record.test_labels)) < 0.5
        answers = np.where(right, record.test_labels, record.predictions(cell))
        safetensors.numpy.save_file({"predictions": answers}, path / "predictions.safetensors")
        better = float((answers == record.test_labels).mean())
        text = "\n".join(
            line.replace(f",accuracy,{value},", f",accuracy,{better},") if f",{cell}," in line else line
            for line in text.splitlines()
        ).replace(f",{cell},", f",{cell[::-1]},")
        path.rename(path.with_name(cell[::-1]))
    (folder / "results.csv").write_text(text + "\n", encoding="utf-8")


def test_equal_studies_have_the_same_runs_and_no_differences(two):
    found = pair(*map(StudyRecord.read, two))
    assert found.obstacle == "" and found.settings == []
    assert found.matches and all(match.same_runs and match.difference is None for match in found.matches)


def test_a_row_that_got_better_is_better_in_the_second(two):
    _improve(two[1], "simclr")
    found = pair(*map(StudyRecord.read, two))
    judged = {match.labels: match.difference for match in found.matches if match.row == "simclr" and match.difference}
    assert judged["4"].verdict == "better" and judged["4"].low > 0.01
    assert not [match for match in found.matches if match.row != "simclr" and match.difference]
    back = pair(*map(StudyRecord.read, two[::-1]))
    other = next(match.difference for match in back.matches if match.row == "simclr" and match.labels == "4")
    assert other.mean == pytest.approx(-judged["4"].mean) and other.verdict == "worse"


def test_other_test_images_allow_no_verdict(two):
    _improve(two[1], "simclr")
    splits = json.loads((two[1] / "splits.json").read_text(encoding="utf-8"))
    splits["test"][0] = "another image"
    (two[1] / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    found = pair(*map(StudyRecord.read, two))
    assert found.obstacle == "their test images differ" and found.shared_test_images == 199
    assert all(match.difference is None for match in found.matches)
    text = write_pair(*two).read_text(encoding="utf-8")
    assert "cannot be compared image by image, as their test images differ" in text


def test_the_same_images_with_other_labels_or_another_metric_allow_no_verdict(two):
    splits = json.loads((two[1] / "splits.json").read_text(encoding="utf-8"))
    splits["test_labels"][:2] = splits["test_labels"][1::-1]
    (two[1] / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    assert "labels" in pair(*map(StudyRecord.read, two)).obstacle
    study = (two[1] / "study.yaml").read_text(encoding="utf-8")
    (two[1] / "study.yaml").write_text(study.replace("metric: accuracy", "metric: macro_f1"), encoding="utf-8")
    assert "macro_f1" in pair(*map(StudyRecord.read, two)).obstacle


def test_settings_that_differ_are_named_one_by_one(two):
    study = yaml.safe_load((two[1] / "study.yaml").read_text(encoding="utf-8"))
    study |= {"margin": 0.02, "methods": ["random", {"simclr": {"lr": 0.1}}], "name": "other", "threads": 7}
    (two[1] / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    found = {key: (first, second) for key, first, second in pair(*map(StudyRecord.read, two)).settings}
    assert found == {
        "margin": ("0.01", "0.02"),
        "supervised": ("a row of supervised", "not set"),
        "simclr.lr": ("not set", "0.1"),
    }


def test_the_page_of_two_studies_stands_alone_and_keeps_names_text(tmp_path, two):
    hostile = write_hostile_study(tmp_path / "hostile")
    text = write_pair(two[0], hostile, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and HOSTILE[0].replace("<", "&lt;").replace(">", "&gt;") in text
    assert "http" not in text and 'href="' in text
    assert write_pair(*two) == two[0] / "compare-second.html"


def test_a_study_is_not_compared_with_itself_nor_with_nothing(two, tmp_path):
    with pytest.raises(UserError, match="are the same study"):
        api.report(two[0], two[0])
    with pytest.raises(UserError, match="is not a study folder"):
        api.report(two[0], tmp_path)
    with pytest.raises(UserError, match="out is where a page of two studies goes"):
        api.report(two[0], out=tmp_path / "x.html")
    with pytest.raises(UserError, match="one study at a time"):
        api.report(*two, figures=True)


def test_the_hash_of_the_protocol_changes_with_the_images_and_not_with_the_rows(two):
    first = protocol_hash(StudyRecord.read(two[0]))
    study = (two[1] / "study.yaml").read_text(encoding="utf-8")
    (two[1] / "study.yaml").write_text(
        study.replace("- simclr\n", "").replace("seeds: 2", "seeds: 5"), encoding="utf-8"
    )
    assert protocol_hash(StudyRecord.read(two[1])) == first
    splits = json.loads((two[1] / "splits.json").read_text(encoding="utf-8"))
    splits["test"] = splits["test"][::-1]
    (two[1] / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    assert protocol_hash(StudyRecord.read(two[1])) != first


def test_pages_whose_tiles_lie_mixed_are_matched_by_their_first_tiles():
    """`test_pages` gives each tile the place of its page among the labels; the tiles themselves lie in any order."""
    assert _tested({"test": ["a", "b", "c", "d"], "test_pages": [1, 0, 1, 0]}) == ["b", "a"]
    assert _tested({"test": ["a", "b"], "test_pages": []}) == ["a", "b"]
