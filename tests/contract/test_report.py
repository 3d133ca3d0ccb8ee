"""Every figure of report/, and the page they stand on.

Mutations that must fail here: a heading that skips a level; a table without caption; "test images" written into a caption; a
plain space before a unit; labels at the ends of lines left where the lines end; a table on paper that ends at its box; escaping off in _page (hostile names); a figure that facets (no width to give up); a
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
import pandas as pd
import pytest
from markupsafe import Markup
from skimage.color import deltaE_ciede2000, rgb2lab

from selfstudy import catalog
from selfstudy.errors import UserError
from selfstudy.report import _chart, _page, curves, plateau, write
from selfstudy.report._design import design
from selfstudy.report._figure import Figure
from selfstudy.report._palette import NUM_CLASS_COLOURS, NUM_COLOURS, styles
from selfstudy.report._phrases import UNITS, typeset
from selfstudy.report._table import TALL, Table
from selfstudy.report._words import answer
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary
from selfstudy.study.compare import summarise
from tests.report_study import (
    HOSTILE,
    TRUTH,
    write_along_study,
    write_attributes_study,
    write_backbones_study,
    write_fractions_study,
    write_full_study,
    write_hostile_study,
    write_pages_study,
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
        self.code = ""  # what stands in <code>, as it is to be copied
        self.unnamed: list[str] = []  # pictures and cells of headings that a screen reader cannot tell
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> stays open" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        named = dict(attrs)
        if (tag == "svg" and "aria-hidden" not in named and not self.in_picture) or (
            tag == "th" and "scope" not in named
        ):
            self.unnamed.append(self.get_starttag_text() or tag)
        if tag not in VOID:
            self.open.append(
                "picture" if tag == "div" and named.get("role") == "img" and named.get("aria-label") else tag
            )

    @property
    def in_picture(self) -> bool:
        """Whether the words of a chart stand for all that is in it."""
        return "picture" in self.open

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() not in ((tag, "picture") if tag == "div" else (tag,)):
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        if "code" in self.open:
            self.code += data
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
        "learning_curves": write_along_study(tmp_path_factory.mktemp("along") / "study"),
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


def test_learning_curves_show_every_point_every_asked_score_and_who_never_reached_it(read):
    """By images and by seconds. Mutations: the ends alone; a level left out; a row that never reached it without the word."""
    record, summary = read["learning_curves"]
    images, seconds, table = catalog.find("report", "learning_curves", Figure)().draw(record, summary)
    for panel, field in ((images, "images_seen"), (seconds, "seconds")):
        found = _chart.specification(panel.content)
        drawn = [line for lines in found["datasets"].values() for line in lines]
        points = [line[field] for line in drawn if line.get("row") == "simclr"]
        assert len(points) == 5 and points == sorted(points)
        assert {line["row"] for line in drawn if "row" in line} == {"random", "supervised", "simclr", "byol"}
        assert {line["mean"] for line in drawn if "row" not in line} == {0.8, 0.9999}
        assert panel.alternative.count("simclr") == 1 and "all labels" in panel.heading
    lines = {(line[0][0], line[3][0]): line for line in table.content.lines}
    assert len(lines) == 4 * 2
    assert lines["simclr", "80"][2][0] == "along training" and lines["simclr", "80"][4][1] < 600 * 128
    assert lines["byol", "80"][2][0] == "at its end" and lines["byol", "80"][4][1] == 600 * 128
    assert {line[4][0] for (_, level), line in lines.items() if level == "99.99"} == {"never"}
    assert "never" in table.content.csv() and "Infinity" not in table.content.csv()


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
    assert set(ids) >= set(FIGURES) - by_row - {"plateau", "backbones", "layers", "learning_curves"}
    assert set(ids) >= {f"row-autoencoder-{name}" for name in by_row - {"attributes"}}
    for target in page.values("href"):
        assert not target.startswith("#") or target[1:] in ids
    assert set(page.values("aria-labelledby")) <= set(ids)
    record = StudyRecord.read(study)
    for sentence in answer(summarise(record)):
        assert typeset(sentence) in page.text
    assert (study / "study.yaml").read_text(encoding="utf-8").strip() in page.text
    for words in ("Does pretraining pay", "scans/<torn>.png", "selfstudy report study", "2.10.0", "cross-validation"):
        assert words in page.text
    assert "not complete" not in page.text
    assert page.values("lang") == ["en"] and "viewport" in page.values("name")
    assert all(value for tag, name, value in page.attributes if tag == "img" and name == "alt")
    assert text.count("<h1") == 1 and "<main" in text and "<nav" in text and "<header" in text


def test_whoever_cannot_see_the_page_is_told_as_much(page, text):
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.tags.count("table") == page.tags.count("caption") > 10
    assert page.unnamed == []
    for alternative in re.findall(r'<div class="chart" role="img" aria-label="([^"]*)"', text):
        assert len(alternative.split()) >= 3
    assert ":focus-visible" in STYLE


def test_no_line_ends_between_a_number_and_its_unit(page, text):
    assert typeset("+-19 points, 10 % of 5 s; 3 seeds, 2 pointers") == (
        "\N{PLUS-MINUS SIGN}19\N{NO-BREAK SPACE}points, 10\N{NO-BREAK SPACE}% of 5\N{NO-BREAK SPACE}s; 3 seeds, 2 pointers"
    )
    words = page.text.replace(page.code, "")
    for shown in re.sub(r"<(pre|code|style|script|svg)\b.*?</\1>", "", text, flags=re.DOTALL).split(">"):
        assert not UNITS.search(shown.partition("<")[0]), shown
    assert "\N{NO-BREAK SPACE}%" in words and "\N{NO-BREAK SPACE}" not in page.code


def test_what_is_tested_has_its_own_name(tmp_path):
    folder = write_pages_study(tmp_path / "study")
    _, page = _written(folder)
    record = StudyRecord.read(folder)
    assert (record.unit, record.num_train) == ("page", 240)
    said = re.sub(r"\s+", " ", " ".join([page.text, *page.values("aria-label", "alt")]))
    assert "60 test pages" in said and "labelled pages per class" in said
    assert not re.search(r"(test|labelled) images", said)
    assert "one page is upside down." in said.lower()
    [first, *_] = design(record)
    assert first.startswith("The source of the images says which 60 of the labelled pages are tested")
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "dictated": False}), encoding="utf-8")
    assert "in the proportions of the classes" in design(record)[0]
    del splits["dictated"]  # of a study that began before it was kept
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    assert (
        "in the proportions of the classes" not in design(record)[0] and "Of 300 labelled pages 60" in design(record)[0]
    )


def test_labels_at_the_ends_of_lines_keep_apart(read):
    assert _chart.spread_apart([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert _chart.spread_apart([0.9, 0.1, 0.14], 0.1) == pytest.approx([0.9, 0.07, 0.17])
    found = _chart.spread_apart([0.3, 0.0, 0.02, 0.31, 0.05], 0.1)
    assert np.diff(np.sort(found)).min() >= 0.1 - 1e-12 and np.argsort(found).tolist() == [1, 2, 4, 0, 3]
    lines = {"entry": ["a", "a", "b", "b"], "share": [0.1, 1.0, 0.1, 1.0], "mean": [0.5, 0.8, 0.4, 0.801]}
    moved = plateau._names_apart(pd.DataFrame(lines), [0.4, 0.9])
    assert moved["entry"].tolist() == ["a", "b"] and moved["share"].tolist() == [1.0, 1.0]
    pixels = (plateau.HEIGHT - 2 * plateau.PADDING) / 0.5
    assert np.diff(moved["mean"]) * pixels == pytest.approx([plateau.LABEL_PIXELS])
    [panel, *_] = catalog.find("report", "plateau", Figure)().draw(*read["plateau"])
    words = next(layer for layer in _chart.specification(panel.content)["layer"] if layer["mark"]["type"] == "text")
    assert words["mark"]["align"] == "left"


@pytest.mark.parametrize(
    ("losses", "kind", "least"),
    [
        ([0.5, 0.1, 0.04], "log", 0.0),
        ([5.0, 3.0, 2.5], "", 0.0),
        ([0.0, -0.5, -0.98], "", 0.0),
        ([-0.9931, -0.9932], "", 0.019),
        ([0.0, 0.0], "", 0.019),
    ],
    ids=["falls far", "falls", "negative", "hardly moves", "constant"],
)
def test_the_scale_of_a_loss_fits_it(losses, kind, least):
    scale = curves._scale(pd.Series(losses)).to_dict()
    assert scale.get("type", "") == kind
    if least:
        low, high = scale["domain"]
        assert low < min(losses) and max(losses) < high and high - low > least


def test_a_loss_that_was_measured_once_is_seen(read):
    look = next(iter(styles(read[""][0]).values()))
    once = pd.DataFrame(
        {
            "images_seen": [64, 128, 128],
            "epoch": 1,
            "seed": 0,
            "part": ["training"] * 2 + ["held out"],
            "loss": [2.0, 1.0, 1.5],
        }
    )
    for losses, expected in ((once, 1), (once[:2], 0)):
        layers = _chart.specification(curves._chart_of(losses, look))["layer"]
        assert [layer["mark"].get("opacity") for layer in layers if layer["mark"]["type"] == "point"] == [0] + [
            None
        ] * expected


def test_deletion_and_insertion_are_drawn(read):
    panels = catalog.find("report", "explanations", Figure)().draw(*read[""])
    [panel] = [panel for panel in panels if isinstance(panel.content, alt.LayerChart)]
    [table] = _chart.specification(panel.content)["datasets"].values()
    assert len(table) == 4 * 9 and len({line["what"] for line in table}) == 4
    deleted = [line["score"] for line in table if line["what"] == "deleting what matters most"]
    assert deleted == sorted(deleted, reverse=True) and "0.29 deleting what matters most" in panel.alternative


def test_a_long_table_has_a_box_of_its_own_height_and_none_on_paper():
    def table(count: int) -> str:
        lines = [[("row", "row"), ("1", 1.0)]] * count
        return str(Table(caption="All lines.", headers=["row", "score"], lines=lines, words=1, sortable=True).html())

    assert 'class="scroll"' in table(TALL) and 'class="scroll tall"' in table(TALL + 1)
    paper = STYLE[STYLE.index("@media print {") :]
    assert re.search(r"\.scroll\.tall \{ max-height: none; overflow: visible;", paper)


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
