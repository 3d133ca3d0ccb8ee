"""Every figure of report/, and the page they stand on.

Mutations that must fail here: escaping off in _page (hostile names); a figure that facets (no width to give up); a
colour written as #rrggbb in a figure; MOST_DOTS or MOST_POINTS_OF_ALL without effect (size); a banner without its
condition; `styles` by results instead of by the study file (a row changes its colour when it is the first to finish); a
recipe without `views` or `method.`; var(--...) left in an exported SVG; thumbnails in another order than their ids.
"""

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import numpy as np
import pytest
from markupsafe import Markup
from skimage.color import deltaE_ciede2000, rgb2lab

from selfstudy import catalog
from selfstudy.errors import UserError
from selfstudy.report import _chart, _page, write
from selfstudy.report._figure import Figure
from selfstudy.report._palette import NUM_CLASS_COLOURS, NUM_COLOURS, styles
from selfstudy.report._table import Table
from selfstudy.report._words import answer
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary
from selfstudy.study.compare import summarise
from tests.report_study import (
    HOSTILE,
    TRUTH,
    write_attributes_study,
    write_backbones_study,
    write_fractions_study,
    write_full_study,
    write_hostile_study,
)
from tests.synthetic_study import ACCURACY, Truth, write_study

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
STYLE = (Path(_page.__file__).parent / "page.css").read_text(encoding="utf-8")
FIGURES = catalog.names("report")


class Page(HTMLParser):
    """Reads a page; `problems` are tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> stays open" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = write_full_study(tmp_path_factory.mktemp("report") / "study")
    assert write(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def read(study, tmp_path_factory) -> dict[str, tuple[StudyRecord, Summary]]:
    """By figure, a study with something for it to show; most show something of the one under ""."""
    folders = {
        "": study,
        "plateau": write_fractions_study(tmp_path_factory.mktemp("fractions") / "study"),
        "attributes": write_attributes_study(tmp_path_factory.mktemp("attributes") / "study"),
        "backbones": write_backbones_study(tmp_path_factory.mktemp("backbones") / "study"),
    }
    folders["layers"] = folders["backbones"]
    records = {name: StudyRecord.read(folder) for name, folder in folders.items()}
    return {name: (record, summarise(record)) for name, record in records.items()}


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> tuple[StudyRecord, Summary]:
    record = StudyRecord.read(_without_results(tmp_path_factory.mktemp("empty")))
    return record, summarise(record)


@pytest.fixture(scope="module")
def text(study) -> str:
    return (study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def _few(**changes: object) -> Truth:
    """All rows, with the fewest and with all labels."""
    accuracy = {name: means[::3] for name, means in ACCURACY.items()}
    return Truth(accuracy=accuracy, labels=("1", "all"), draws={"1": 2}, **changes)


def _written(folder: Path) -> tuple[str, Page]:
    text = write(folder).read_text(encoding="utf-8")
    return text, Page(text)


# ---- every figure


@pytest.mark.parametrize("name", FIGURES)
def test_a_file_holds_one_figure_with_words(name):
    figure = catalog.find("report", name, Figure)
    assert figure.title and figure.caption.endswith(".") and figure.columns >= 1
    places = [catalog.find("report", other, Figure).place for other in FIGURES]
    assert places.count(figure.place) == 1


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_panels_that_take_the_page_s_width_and_colours(name, read):
    record, summary = read.get(name, read[""])
    figure = catalog.find("report", name, Figure)
    panels = figure().draw(record, summary)
    assert panels, "this study has something to show in the figure"
    known = set(re.findall(r"(--[\w-]+):", STYLE))
    assert {panel.row for panel in panels} <= ({row.name for row in record.rows} if figure.by_row else {""})
    for panel in panels:
        assert len(panel.alternative.split()) >= 3
        if isinstance(panel.content, Table):
            assert {len(line) for line in panel.content.lines} == {len(panel.content.headers)}
        if isinstance(panel.content, Markup | Table):
            continue
        assert isinstance(panel.content, alt.Chart | alt.LayerChart)
        found = _chart.specification(panel.content)
        assert found["width"] == "container" and not {"facet", "hconcat", "vconcat", "concat"} & set(found)
        written = json.dumps({key: value for key, value in found.items() if key != "datasets"})
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b", written), "colours belong in page.css"
        assert set(re.findall(r"var\((--[\w-]+)\)", written)) <= known


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_nothing_of_a_study_without_results(name, empty):
    assert list(catalog.find("report", name, Figure)().draw(*empty)) == []


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_takes_attributes_instead_of_classes(name, read):
    for panel in catalog.find("report", name, Figure)().draw(*read["attributes"]):
        assert name not in ("confusion", "classes")  # nothing is taken for one another
        if isinstance(panel.content, alt.Chart | alt.LayerChart):
            _chart.specification(panel.content)


def _without_results(tmp_path: Path) -> Path:
    everything = [(row, labels) for row in ACCURACY for labels in TRUTH.labels]
    folder = write_study(tmp_path / "study", Truth(num_test=40, missing=everything))
    for path in folder.glob("cells/*/run.json"):
        path.unlink()
    return folder


# ---- colours


def test_a_row_keeps_its_colour_whatever_is_finished_first(tmp_path):
    names = list(ACCURACY)
    full = StudyRecord.read(write_study(tmp_path / "full", Truth(num_test=40)))
    missing = [(row, labels) for row in ("autoencoder", "simclr", "random") for labels in TRUTH.labels]
    part = StudyRecord.read(write_study(tmp_path / "part", Truth(num_test=40, missing=missing)))
    assert styles(full) == styles(part) and list(styles(full)) == names
    assert len({(look.colour, look.dash, look.shape) for look in styles(full).values()}) == len(names)


def _colours(scheme: str) -> dict[str, np.ndarray]:
    light, dark = STYLE.split("@media screen and (prefers-color-scheme: dark)")
    part = light if scheme == "light" else dark[: dark.index("* {")]
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6})", part)
    return {name: np.array([int(value[place : place + 2], 16) for place in (0, 2, 4)]) / 255 for name, value in found}


def _linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _contrast(a: np.ndarray, b: np.ndarray) -> float:
    """WCAG 2.2: 1 to 21."""
    low, high = sorted(float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_the_page(scheme):
    colours = _colours(scheme)
    for name in ("ink", "muted", "accent"):
        assert _contrast(colours[name], colours["paper"]) >= 4.5, name  # WCAG 1.4.3
        assert _contrast(colours[name], colours["card"]) >= 4.5, name
    assert _contrast(colours["warn-ink"], colours["warn-paper"]) >= 4.5
    rows = [f"row-{place + 1}" for place in range(NUM_COLOURS)]
    for name in [*rows, "row-supervised", "row-untrained", "row-majority", "wrong"]:
        assert _contrast(colours[name], colours["paper"]) >= 3, name  # WCAG 1.4.11


# Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, table 1 at severity 1: on linear RGB.
VISION = {
    "all cones": np.eye(3),
    "no red": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "no green": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "no blue": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart_by_every_eye(scheme, vision):
    colours = _colours(scheme)
    rows = [*(f"row-{place + 1}" for place in range(NUM_COLOURS)), "row-supervised", "row-untrained"]
    classes = [f"class-{place + 1}" for place in range(NUM_CLASS_COLOURS)]
    for names in (rows, classes):
        for a, b in itertools.combinations(names, 2):
            seen = [np.clip(VISION[vision] @ _linear(colours[name]), 0, 1) for name in (a, b)]
            shown = [np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055) for c in seen]
            assert deltaE_ciede2000(*(rgb2lab(c[None, None])[0, 0] for c in shown)) > 7, (a, b)  # 2.3 is just seen


# ---- the page


def test_the_page_has_all_it_must(page, text, study):
    assert not page.problems
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    by_row = {name for name in FIGURES if catalog.find("report", name, Figure).by_row}
    assert set(ids) >= {"answer", "sure", "cost", "next", "rows", "troubles", "protocol", "repeat"}
    assert set(ids) >= set(FIGURES) - by_row - {"plateau", "backbones", "layers"}
    assert set(ids) >= {f"row-autoencoder-{name}" for name in by_row - {"attributes"}}
    for target in page.values("href"):
        assert not target.startswith("#") or target[1:] in ids
    assert set(page.values("aria-labelledby")) <= set(ids)
    record = StudyRecord.read(study)
    for sentence in answer(summarise(record)):
        assert sentence.replace(" %", "\N{NO-BREAK SPACE}%") in page.text
    assert (study / "study.yaml").read_text(encoding="utf-8").strip() in page.text
    for words in ("Does pretraining pay", "scans/<torn>.png", "selfstudy report study", "2.10.0", "cross-validation"):
        assert words in page.text
    assert "not complete" not in page.text
    assert page.values("lang") == ["en"] and "viewport" in page.values("name")
    assert all(value for tag, name, value in page.attributes if tag == "img" and name == "alt")
    assert text.count("<h1") == 1 and "<main" in text and "<nav" in text and "<header" in text


def test_the_answer_stands_before_the_figures(text):
    order = [
        text.index(f'id="{name}"') for name in ("answer", "sure", "cost", "accuracy", "differences", "table", "repeat")
    ]
    assert order == sorted(order)


def test_nothing_is_loaded_from_anywhere(page, text):
    for value in page.values("src", "href", "xlink:href", "action", "poster", "data", "srcset"):
        assert value.startswith(("#", "data:")), value
    assert "@import" not in STYLE and "url(" not in STYLE
    assert not {"iframe", "object", "embed", "base"} & set(page.tags)
    specifications = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert len(specifications) == text.count('class="chart"') >= 30
    for content in specifications:
        assert "url" not in json.loads(content).get("data", {}) and "://" not in content


def test_the_page_is_small(text):
    assert len(text.encode()) < 3 * 2**20


def test_a_large_study_keeps_the_page_below_eight_mebibytes(tmp_path):
    accuracy = {name: means[::3] for name, means in ACCURACY.items()}
    accuracy |= {f"method {place}": accuracy["simclr"] for place in range(10)}
    truth = Truth(
        accuracy=accuracy,
        labels=("1", "all"),
        protocols=("linear",),
        num_test=1000,
        num_classes=40,
        seeds=3,
        draws={"1": 1},
    )
    folder = write_full_study(tmp_path / "study", truth)
    for log in folder.glob("cells/*/metrics.jsonl"):
        log.write_text(20 * log.read_text(encoding="utf-8"), encoding="utf-8")
    text, page = _written(folder)
    assert not page.problems
    assert 3 * 2**20 < len(text.encode()) < 8 * 2**20


def test_the_same_study_gives_the_same_page(study, text):
    assert _written(study)[0] == text


def test_summary_json_is_written_beside_the_page(study):
    summary = json.loads((study / "summary.json").read_text(encoding="utf-8"))
    assert len(summary.pop("answer")) == 3
    assert summary == json.loads(json.dumps(summarise(StudyRecord.read(study))))


def test_every_number_is_in_the_table(page, study):
    record = StudyRecord.read(study)
    keys = [float(key) for key in page.values("data-key") if re.fullmatch(r"[\d.e+-]+", key)]
    means = record.table.groupby(["entry", "protocol", "labels", "metric"])["value"].mean()
    assert len(means) > 100 and all(np.isclose(value, keys, rtol=1e-9).any() for value in means)
    for point in summarise(record)["points"]:
        assert point["low"] in keys and point["high"] in keys


def test_an_unfinished_study_says_what_is_missing(tmp_path):
    truth = _few(num_test=100, missing=[("byol", "all"), ("simclr", "1")])
    _, page = _written(write_study(tmp_path / "study", truth))
    assert not page.problems
    assert "not complete" in page.text
    assert "byol with all labels: of 4 scores 4 still to come" in page.text


def test_a_study_without_results_has_a_page(tmp_path):
    text, page = _written(_without_results(tmp_path))
    assert not page.problems and "not complete" in page.text and "study.yaml" in page.text
    assert 'class="chart"' not in text


def test_failures_are_told_in_their_own_words(tmp_path):
    truth = _few(num_test=100, collapsed=["byol"], failed=[("simclr", 1), ("autoencoder", 0), ("autoencoder", 1)])
    _, page = _written(write_study(tmp_path / "study", truth))
    assert not page.problems
    assert "the embeddings are nearly all equal" in page.text
    assert "the loss is not finite" in page.text and "tries again what failed" in page.text
    assert "Nothing: no run collapsed" not in page.text


def test_names_from_outside_stay_text(tmp_path):
    text, page = _written(write_hostile_study(tmp_path / "study"))
    assert not page.problems
    for name in HOSTILE:
        assert name in page.text  # as it was written, and as nothing else
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("script") == text.count('class="chart"') + 2  # the charts' JSON, their library, page.js
    assert all(value.startswith("data:") for value in page.values("src"))


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a study folder"):
        write(tmp_path)
