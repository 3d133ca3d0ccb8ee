"""The five source studies: their settings against the sources, their plans on true formats, and runs to the end in miniature.

Mutations that must fail here: a number in studies/*.yaml; a protocol, analysis or row taken out of one; labels or groups of
tiles in splits.json; a prediction per tile; the map of an encoder drawn by the classes of images that have attributes;
unlabelled images counted as labelled ones; near-duplicates of test images left among those to pretrain on; a figure of a
source without its file in report/.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from PIL import Image

import selfstudy
from selfstudy.cli import MISTAKEN, run
from selfstudy.encoder import BackboneSpec, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import features
from selfstudy.model import Model
from selfstudy.progress import Progress
from selfstudy.study._study import Study
from selfstudy.study.run import prepare
from selfstudy.study.settings import BASELINES, StudySettings, read, study_names
from selfstudy.training import RunSettings, resolve
from selfstudy.types import DataCard
from tests import tiny_sets

SOURCES = ("backbones", "clamm", "fashion", "label-efficiency", "pretext")
CARDS = {  # of the images that sources.md names
    "backbones": DataCard(num_images=50_000, channels=3, image_size=32),
    "clamm": DataCard(num_images=40_000, channels=1, image_size=224),
    "fashion": DataCard(num_images=32_642, channels=3, image_size=224),
    "label-efficiency": DataCard(num_images=50_000, channels=3, image_size=32),
    "pretext": DataCard(num_images=50_000, channels=3, image_size=32),
}


# ---- what the sources did, after every default


def resolved(name: str, card: DataCard) -> dict[str, RunSettings]:
    """The settings of every row of a study that learns, as its plan makes them; no network is built."""
    settings, found = read(name), {}
    for entry in settings.entries:
        if entry.method in BASELINES:
            continue
        shared = {"backbone": settings.first_backbone, **settings.budget}
        if settings.views:
            shared["views"] = settings.views
        own = {key: value for key, value in entry.overrides.items() if key != "data"}
        found[entry.name] = resolve(entry.method, {**shared, **own}, card, name)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_every_setting_is_accepted_as_it_stands(name):
    assert name in study_names()
    rows = resolved(name, CARDS[name])
    assert len(rows) >= 3
    for row in rows.values():
        assert row.images_seen == pytest.approx(row.epochs * CARDS[name].num_images)
        assert row.stem == ("imagenet" if row.image_size > 64 else "small")


def test_clamm_is_what_its_source_did_less_its_mistakes():
    """S0: 500 epochs of 4,432 pages, which tiles reach in a twelfth; SimCLR 1.5e-3, 1e-6, 256, 0.1; BYOL .996, 64, and no rate of 0.3; MAE 3e-4, .9/.95, 5e-2, 512."""
    rows = resolved("clamm", CARDS["clamm"])
    simclr, without, byol = rows["simclr"], rows["simclr without dilation and erosion"], rows["byol"]
    for row in rows.values():
        assert row.images_seen == 2_200_000 and row.warmup_epochs == 1
    for row in (simclr, without):
        assert (row.training.lr, row.weight_decay, row.batch_size, row.backbone) == (1.5e-3, 1e-6, 256, "resnet50")
        assert row.config["temperature"] == 0.1
    assert (byol.training.lr, byol.weight_decay, byol.batch_size) == (3e-4, 1.5e-6, 64)
    assert byol.config["momentum"] == 0.996
    for name in ("mae vit-large", "mae vit-tiny"):
        mae = rows[name]
        assert (mae.training.lr, mae.weight_decay, mae.batch_size, mae.betas) == (3e-4, 0.05, 512, (0.9, 0.95))
        assert mae.config["mask_ratio"] == 0.75 and operations(mae) == [["crop"]]
    assert operations(simclr) == operations(byol) == [["crop", "dilation", "erosion", "affine", "blur", "erase"]]
    assert operations(without) == [["crop", "affine", "blur", "erase"]]
    steps = {step.name: step for step in simclr.chains()["base"].steps}
    assert (steps["dilation"].size, steps["erosion"].size) == (5, 3)  # type: ignore[attr-defined]
    assert {step.p for step in steps.values()} == {0.5}  # type: ignore[attr-defined]
    settings = read("clamm")
    assert settings.tiles is not None and "map" in settings.explain and settings.protocols[0] == "linear"


def operations(row: RunSettings) -> list[list[str]]:
    """The names of the operations of each slot, without doubles."""
    found = [["crop", *(step.name for step in chain.steps)] for chain in row.chains().values()]
    return [each for place, each in enumerate(found) if each not in found[:place]]


def test_label_efficiency_is_what_its_source_did():
    """S1: five shares of labels, many of unlabelled images, batches of 128, a frozen encoder with a head, time to 40 %."""
    settings, rows = read("label-efficiency"), resolved("label-efficiency", CARDS["label-efficiency"])
    assert settings.labels == (0.1, 0.3, 0.5, 0.7, 0.9) and len(settings.unlabelled) >= 6
    assert settings.protocols[0] == "head" and settings.metric == "macro_f1" and 0.4 in settings.time_to
    assert rows["autoencoder"].batch_size == 128
    assert {"noise", "flip"} <= {name for slot in operations(rows["autoencoder"]) for name in slot}
    supervised = next(entry for entry in settings.entries if entry.method == "supervised").overrides["images_seen"]
    assert settings.evaluation["head"]["images_seen"] == settings.evaluation["finetune"]["images_seen"] == supervised


def test_pretext_has_every_task_of_its_source():
    """S2, with the four rows of the rotation table, and probes of every layer."""
    settings, rows = read("pretext"), resolved("pretext", CARDS["pretext"])
    methods = {row.method for row in rows.values()}
    assert {"byol", "infomax", "sela", "context", "jigsaw", "rotation", "exemplar", "colorization"} <= methods
    angles = {tuple(row.config["angles"]) for row in rows.values() if row.method == "rotation"}
    assert angles == {(0, 90, 180, 270), tuple(range(0, 360, 45)), (0, 180), (90, 270)}
    assert "layers" in settings.protocols
    assert [row.config["form"] for row in rows.values() if row.method == "exemplar"] == ["triplet"]
    assert len({row.config["replaced"] for row in rows.values() if row.method == "jigsaw"}) == 2  # Jigsaw and Jigsaw++


def test_backbones_is_what_its_source_did():
    """S3: four backbones; none, noise, the images, ImageNet; 100 epochs, 1e-3 x batch/256, 1e-5, 64 x 8; a predictor of 1/4."""
    settings, rows = read("backbones"), resolved("backbones", CARDS["backbones"])
    names = ["resnet18", "efficientnet_b0", "vit_small_patch16_224", "pit_ti_224"]
    assert list(settings.backbone) == names
    for name in names:
        for row in (rows[f"simsiam {name}"], rows[f"simsiam on noise {name}"]):
            assert row.backbone == name and row.epochs == 100
            assert (row.lr, row.lr_scaling, row.training.lr) == (1e-3, "linear", 2e-3)
            assert (row.weight_decay, row.batch_size, row.chunk_size) == (1e-5, 512, 64)
            assert 4 * row.config["bottleneck_dim"] == row.config["out_dim"]
    sources = {entry.name: entry.overrides.get("data") for entry in settings.entries if entry.method == "simsiam"}
    assert set(sources.values()) == {None, "noise:50000"}
    published = {entry.overrides["backbone"] for entry in settings.entries if entry.method == "pretrained"}
    assert published == set(names) and settings.protocols[0] == "finetune"


@pytest.mark.parametrize(
    ("name", "dim"), [("efficientnet_b0", 1280), ("vit_small_patch16_224", 384), ("pit_ti_224", 256)]
)
def test_the_backbones_see_small_images(name, dim):
    spec = BackboneSpec(name=name, channels=3, image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3, stem="small")
    assert build_backbone(spec).dim == dim


def test_fashion_is_what_its_source_did_less_its_crashes():
    """S4: four methods from ImageNet's ResNet-50, explained by saliency, integrated gradients and their agreement."""
    settings, rows = read("fashion"), resolved("fashion", CARDS["fashion"])
    assert list(rows) == ["moco", "simsiam", "simclr", "byol"]
    for row in rows.values():
        assert (row.init, row.stem, row.backbone) == ("timm", "imagenet", "resnet50")
    assert {"saliency", "integrated_gradients", "agreement", "border"} <= set(settings.explain)
    assert settings.metric == "macro_f1" and settings.on_collapse == "stop"
    small = next(entry for entry in read("fashion", {"small": True}).entries if entry.method == "moco").overrides
    batch, queue = small["batch_size"], small["method.queue_size"]
    assert isinstance(batch, int) and isinstance(queue, int) and 4000 % batch and queue % batch  # what crashed there


# ---- the plans, on the true formats


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as found:
        yield found


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory, patch) -> str:
    root = tiny_sets.cifar10(tmp_path_factory.mktemp("cifar10"), per_batch=240)
    tiny_sets.accept(patch, root)
    return f"cifar10:{root}"


@pytest.fixture(scope="module")
def stl10(tmp_path_factory, patch) -> str:
    root = tiny_sets.stl10(tmp_path_factory.mktemp("stl10"), train=120, test=60, unlabelled=60)
    tiny_sets.accept(patch, root)
    return f"stl10:{root}"


@pytest.fixture(scope="module")
def celeba(tmp_path_factory) -> str:
    return f"celeba:{tiny_sets.celeba(tmp_path_factory.mktemp('celeba'), size=96)}"


@pytest.fixture(scope="module")
def clamm(tmp_path_factory) -> str:
    """Four scripts, 30 pages of each: 24 to learn from and 6 to test with."""
    return f"clamm:{tiny_sets.clamm(tmp_path_factory.mktemp('clamm'), pages=90, tasks=30, shape=(70, 50))}"


@pytest.fixture(scope="module")
def bags(tmp_path_factory) -> dict[str, str]:
    """60 labelled pictures of very unequal classes; 40 others without labels, and a smaller copy of each labelled one."""
    root = tmp_path_factory.mktemp("bags")
    kinds = ["tracolla"] * 40 + ["clutch"] * 13 + ["shopping"] * 7
    for number in range(100):
        picture = photograph(number, red=kinds[number:][:1] == ["tracolla"])
        path = root / "all" / f"{'copy' if number < 60 else 'new'} {number}.jpg"
        path.parent.mkdir(exist_ok=True)
        (picture.resize((90, 72)) if number < 60 else picture).save(path, quality=85)
        if number < 60:
            path = root / "labelled" / kinds[number] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return {"unlabelled": str(root / "all"), "labelled": str(root / "labelled")}


def photograph(seed: int, red: bool) -> Image.Image:
    """Noise of several octaves, as strong at each scale as in photographs, 100 x 80 pixels."""
    rng, canvas = np.random.default_rng(seed), np.zeros((80, 100, 3))
    for octave in (2, 4, 8, 16, 32):
        coarse = rng.integers(0, 256, (octave, octave, 3), dtype=np.uint8)
        canvas += np.asarray(Image.fromarray(coarse).resize((100, 80), Image.Resampling.BICUBIC), dtype=float) / octave
    canvas *= 255 / canvas.max()
    canvas[:, :, 0] = np.maximum(canvas[:, :, 0], 200.0 * red)
    return Image.fromarray(canvas.astype(np.uint8))


def planned(name: str, folder: Path, **changes: object) -> Study:
    settings = read(name, changes)
    return prepare(settings, folder / "study", Progress(quiet=True))


def num_encoders(study: Study, entry: str) -> int:
    return len({cell.hash for cell in study.cells if cell.kind == "pretrain" and cell.entry == entry})


def all_rows_are_planned(study: Study, settings: StudySettings) -> bool:
    judged = {(cell.entry, cell.labels) for cell in study.cells if cell.kind == "evaluate"}
    return judged == {(entry.name, label) for entry in settings.entries for label in settings.labels}


def test_clamm_is_planned_on_pages_in_tiles(clamm, tmp_path):
    """With all its settings, the ViT-Large among them; only the tiles are as small as the pages here."""
    tiles = {"side": 24, "scale": 0.5, "most": 2, "blank": 0.0}
    study = planned("clamm", tmp_path, data=clamm, tiles=tiles)
    assert all_rows_are_planned(study, read("clamm"))
    material = study.bench.material
    assert len(material.pages(material.split.test_rows)) == 24 and material.images.pages is not None
    assert set(material.images.groups) == set(material.images.pages)
    for label, pages in ((5, 20), (20, 80), ("all", 96)):
        assert len(material.pages(material.draw(label, 0).rows)) == pages  # labels are of pages
    assert num_encoders(study, "mae vit-large") == 3


@pytest.mark.parametrize("name", ["pretext", "backbones"])
def test_a_study_is_planned_on_cifar10(name, cifar10, tmp_path):
    study = planned(name, tmp_path, data=cifar10)
    assert all_rows_are_planned(study, read(name)) and study.settings.metric == "accuracy"
    noise = [cell for cell in study.cells if "on noise" in cell.entry and cell.kind == "pretrain"]
    assert len(noise) == (3 if name == "pretext" else 12) and all("noise:50000" in cell.source for cell in noise)


def test_shares_of_unlabelled_and_of_labelled_images_vary_independently(cifar10, tmp_path):
    study = planned("label-efficiency", tmp_path, data=cifar10)
    assert all_rows_are_planned(study, read("label-efficiency"))
    found = {(cell.unlabelled, cell.labels) for cell in study.cells if cell.entry == "autoencoder" and cell.labels}
    assert len(found) == 8 * 5
    seen = {cell.work.images_seen for cell in study.cells if isinstance(cell.work, RunSettings)}
    assert seen == {100 * 1200}  # whatever the share


def test_pretext_is_planned_on_the_published_folds_of_stl10(stl10, tmp_path):
    study = planned(
        "pretext", tmp_path, data=stl10, image_size=96, labels="fold", draws=10, **{"simclr on noise.data": "noise:99"}
    )
    assert {cell.draw for cell in study.cells if cell.kind == "evaluate"} == set(range(10))
    assert len(study.bench.material.pool) == 120 + 60


def test_backbones_is_planned_on_forty_attributes(celeba, tmp_path):
    """Four of them here."""
    noise = {f"simsiam on noise.{key}": value for key, value in (("data", "noise:99"), ("batch_size", 64))}
    study = planned("backbones", tmp_path, data=celeba, image_size=64, labels=[4, "all"], draws=2, **noise)
    assert study.settings.metric == "macro_auc" and study.bench.material.images.classes == tiny_sets.ATTRIBUTES
    assert num_encoders(study, "simsiam vit_small_patch16_224") == 3


def test_fashion_is_planned_on_two_folders_and_copies_of_test_images_are_left_out(bags, tmp_path):
    changes = {f"data.{part}": path for part, path in bags.items()}
    study = planned("fashion", tmp_path, **changes, labels=[2, "all"], draws=2, **{"moco.method.queue_size": 50})
    material = study.bench.material
    tested = {Path(path).stem for path in material.images.paths[material.split.test_rows]}
    assert {Path(path).stem for path in material.excluded} == {f"copy {name}" for name in tested}
    assert len(material.pool) == 100 - len(tested) and all_rows_are_planned(study, study.settings)


# ---- the miniatures, as a user runs them


class Page:
    """A report, for what stands on it."""

    def __init__(self, folder: Path) -> None:
        self.text = (folder / "report.html").read_text(encoding="utf-8")
        self.figures = set(re.findall(r'<section id="([\w-]+)" class="figure"', self.text))

    def table(self, figure: str, place: int = 0) -> list[list[str]]:
        """The cells of a table of a figure, its header first."""
        part = self.text.split(f'<section id="{figure}"', 1)[1].split("</section>", 1)[0]
        whole = re.findall(r"<table.*?</table>", part, re.DOTALL)[place]
        lines = re.findall(r"<tr>(.*?)</tr>", whole, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]
        return [[re.sub(r"<[^>]+>", "", cell) for cell in line] for line in cells]


def miniature(folder: Path, name: str, *words: str) -> Page:
    """`selfstudy study NAME small=true`, with less to do: smaller digits, a step or two of each method, maps by PCA."""
    short = ["data=digits", "budget.images_seen=256", "seeds=1", "draws=1", "test=39", "supervised.images_seen=320"]
    assert run(["study", name, "small=true", *short, *words, "threads=1", "--out", str(folder), "--yes"]) == 0
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        assert {line["status"] for line in csv.DictReader(file)} <= {"done", "collapsed"}
    assert (folder / "report.html").stat().st_size < 8 * 2**20
    return Page(folder)


def test_clamm_in_miniature_has_the_cost_table_of_its_source(tmp_path):
    """S0: parameters, time and checkpoint of every row; the map of the embeddings; the ablation of the views."""
    page = miniature(tmp_path / "study", "clamm", "labels=[5]", "explain=[neighbours]")
    header, *lines = page.table("costs")
    assert {"one training", "trainable parameters", "checkpoint, MB"} <= set(header)
    rows = [entry.name for entry in read("clamm", {"small": True}).entries]
    assert [line[0] for line in lines] == rows and {"simclr without dilation and erosion", "mae vit-tiny"} < set(rows)
    costs = dict(zip(header, next(line for line in lines if line[0] == "simclr"), strict=True))
    assert int(costs["trainable parameters"].replace(",", "")) > 10_000 and float(costs["checkpoint, MB"]) > 0.1
    assert {"row-simclr-embedding", "row-byol-curves", "health"} <= page.figures


def test_label_efficiency_in_miniature_has_the_curves_of_its_source(tmp_path):
    """S1: F1 against unlabelled data for each share of labels, where it is flat, and the time to 40 %."""
    words = ("evaluation={head: {images_seen: 320}}", "explain=[reconstructions]")
    page = miniature(tmp_path / "study", "label-efficiency", *words)
    assert {"plateau", "time_to_accuracy", "learning_curves", "accuracy", "crossover"} <= page.figures
    summary = json.loads((tmp_path / "study" / "summary.json").read_text(encoding="utf-8"))
    found = {(plateau["entry"], plateau["labels"]) for plateau in summary["plateaus"]}
    assert found == {(row, labels) for row in ("autoencoder", "simclr") for labels in ("0.01", "0.1")}
    assert [step["unlabelled"] for step in summary["plateaus"][0]["steps"]] == [0.1, 0.5, 1.0]
    assert {each["level"] for each in summary["times_to"]} == {0.4, 0.9} and summary["metric"] == "macro_f1"
    assert "never: " in page.text or not all(each["reached"] for each in summary["times_to"])


def test_pretext_in_miniature_has_the_layers_and_rotations_of_its_source(tmp_path):
    """S2: every pretext task, the four rotation rows, and a score for each layer."""
    page = miniature(tmp_path / "study", "pretext", "explain=[jigsaws]")
    header, *lines = page.table("layers")
    assert header[0] == "row" and header[-2:] == ["features", "best layer"] and len(header) >= 5
    rows = {line[0] for line in lines}
    assert {"rotation 4", "rotation 8", "rotation 0 and 180", "rotation 90 and 270"} <= rows
    assert {"jigsaw++", "exemplar triplets", "sela", "infomax", "byol"} <= rows
    for line in lines:
        assert all(0 <= float(value) <= 100 for value in line[1:-1]) and line[-1] in header
    assert len({line[1] for line in lines if line[0] != "random"}) > 1
    assert "How it solved its jigsaws" in page.text


def test_backbones_in_miniature_has_the_table_of_its_source(tmp_path):
    """S3: backbones by the weights they started from, and the curve of each."""
    words = ("evaluation={finetune: {images_seen: 320}}", "explain=[]")
    page = miniature(tmp_path / "study", "backbones", *words)
    header, *lines = page.table("backbones")
    assert header == ["backbone", "random", "supervised", "simsiam", "simsiam on noise"]
    assert [line[0] for line in lines] == ["conv3", "conv2"]
    assert all(re.fullmatch(r"\d+\.\d \(.*\)", value) for line in lines for value in line[1:])
    assert {"row-simsiam-conv2-curves", "row-simsiam-on-noise-conv3-curves"} <= page.figures


def test_fashion_in_miniature_has_the_comparison_of_its_source(tmp_path):
    """S4: a confusion matrix, a classification report and attributions of every method; RMSE and SSIM of pairs of them."""
    words = ("evaluation={finetune: {images_seen: 320}}", "explain=[agreement, saliency, integrated_gradients, border]")
    page = miniature(tmp_path / "study", "fashion", *words)
    for row in ("supervised", "moco", "simsiam", "simclr", "byol"):
        assert {f"row-{row}-confusion", f"row-{row}-classes", f"row-{row}-explanations"} <= page.figures
    assert {"precision", "recall", "F1"} <= set(page.table("row-moco-classes")[0])
    for title in (
        "Which pixels it is sensitive to",
        "Which pixels its answer came from",
        "Whether it looks at the subject",
    ):
        assert title in page.text
    header, *lines = page.table("attributions")
    assert {"SSIM", "RMSE"} <= set(header) and ["supervised", "moco"] in [sorted(line[:2])[::-1] for line in lines]


# ---- the true formats, run to the end


def finished(folder: Path, name: str, changes: Mapping[str, object]) -> pd.DataFrame:
    """A study run to its end; its results."""
    small = {"image_size": 16, "backbone": "conv3", "budget.images_seen": 320, "seeds": 1, "explain": [], "threads": 1}
    selfstudy.study(name, {**small, **changes}, out=folder, yes=True, quiet=True)
    table = pd.read_csv(folder / "results.csv", dtype={"labels": str})
    assert set(table["status"]) == {"done"}
    return table


def splits_of(folder: Path) -> dict[str, list[object]]:
    return json.loads((folder / "splits.json").read_text(encoding="utf-8"))


def test_clamm_from_tiff_pages_to_a_prediction_for_every_page(clamm, tmp_path):
    """Pages are judged and named, not tiles: 24 of them, each the mean of four tiles."""
    folder = tmp_path / "study"
    changes = {
        "data": clamm, "tiles": {"side": 24, "scale": 1.0, "most": 4, "blank": 0.0}, "labels": [5], "draws": 1,
        "methods": ["majority", "random", {"simclr": {"batch_size": 32}}], "explain": ["neighbours", "confused"],
    }  # fmt: skip
    table = finished(folder, "clamm", changes)
    shares = 24 * table.loc[table["metric"] == "accuracy", "value"]
    assert np.allclose(shares, shares.round())
    splits = splits_of(folder)
    assert (len(splits["test"]), len(splits["test_labels"]), splits["num_labelled"]) == (96, 24, 96)
    assert splits["test_pages"] == np.repeat(np.arange(24), 4).tolist() and len(set(splits["test_groups"])) == 24
    answers = safetensors.numpy.load_file(folder / "cells" / table["cell"].iloc[-1] / "predictions.safetensors")
    assert answers["predictions"].shape == (24,)
    assert {"row-simclr-confusion", "row-simclr-embedding", "row-simclr-explanations"} <= Page(folder).figures
    model = selfstudy.finish(folder, row="simclr", quiet=True)
    assert model.card["labels"] == 120
    named = selfstudy.predict(folder, clamm)
    tiles = selfstudy.images(clamm, size=16, tiles=changes["tiles"])
    whole = model.probabilities(features(model.encoder, tiles, "cpu", 64)).numpy()
    assert len(named) == 120 and named["path"].is_unique and len(tiles) == 480
    for place, page in enumerate(named["path"]):
        assert named.filter(like="p(").to_numpy()[place] == pytest.approx(whole[tiles.paths == page].mean(0), abs=1e-6)


def test_celeba_from_text_files_to_macro_and_micro_scores(celeba, tmp_path):
    """S3: 40 attributes (four here), macro and micro accuracy and AUC; a model of one class per image is refused."""
    folder = tmp_path / "study"
    simsiam = {"batch_size": 32, "method.hidden_dim": 32, "method.out_dim": 32, "method.bottleneck_dim": 8}
    changes = {
        "data": celeba, "labels": ["total:30"], "draws": 1, "methods": ["majority", {"simsiam": simsiam}, "random"],
        "evaluation": {"finetune": {"images_seen": 128}},
    }  # fmt: skip
    table = finished(folder, "backbones", changes)
    for protocol in ("finetune", "linear"):
        metrics = set(table.loc[(table["entry"] == "simsiam") & (table["protocol"] == protocol), "metric"])
        assert {"macro_accuracy", "micro_accuracy", "macro_auc", "micro_auc"} <= metrics
    page = Page(folder)
    assert [line[0] for line in page.table("row-simsiam-attributes")[1:]] == list(tiny_sets.ATTRIBUTES)
    shown = {line[3] for line in page.table("table")[1:]}
    assert len([name for name in shown if "macro" in name and "accuracy" in name]) >= 1 and any(
        "micro" in n for n in shown
    )
    assert "row-simsiam-embedding" in page.figures and "row-simsiam-confusion" not in page.figures
    with pytest.raises(UserError, match="have attributes"):
        selfstudy.finish(folder, quiet=True)
    assert run(["finish", str(folder)]) == MISTAKEN


def test_stl10_from_binary_files_over_its_folds(stl10, tmp_path):
    """The labels of each draw are a published fold; unlabelled images are pretrained on and never counted as labelled."""
    folder = tmp_path / "study"
    rotation = {"rotation": {"batch_size": 32}}
    changes = {"data": stl10, "labels": "fold", "draws": 3, "methods": ["majority", "random", rotation]}
    table = finished(folder, "pretext", changes)
    assert set(table["labels"]) == {"fold"} and set(table.loc[table["entry"] == "rotation", "draw"]) == {0, 1, 2}
    splits = splits_of(folder)
    assert (splits["num_labelled"], splits["fold_size"], splits["test_pages"]) == (120, 30, [])
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("cells/*/run.json")]
    assert {card["data"]["num_images"] for card in cards} == {180}
    assert {line[0] for line in Page(folder).table("layers")[1:]} == {"random", "rotation"}


def test_fashion_from_two_folders(bags, tmp_path):
    """The folder that the study leaves names what was kept from pretraining; its model names new pictures."""
    folder = tmp_path / "study"
    moco = {"moco": {"batch_size": 16, "method.queue_size": 50}}  # neither divides the other, nor the 88 images
    changes = {
        "data": bags, "labels": ["all"], "draws": 1, "methods": ["majority", {"supervised": {"images_seen": 320}}, moco],
        "protocols": ["linear"], "evaluation": {},
    }  # fmt: skip
    table = finished(folder, "fashion", changes)
    assert set(table["metric"]) >= {"macro_f1", "balanced_accuracy"}
    splits = splits_of(folder)
    assert len(splits["excluded"]) == len(splits["test"]) > 10
    model = selfstudy.finish(folder, quiet=True)
    assert isinstance(model, Model) and set(model.classes) == {"tracolla", "clutch", "shopping"}
    named = selfstudy.predict(folder, bags["unlabelled"])
    assert len(named) == 100 and set(named["label"]) <= set(model.classes)
