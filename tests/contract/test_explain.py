"""One battery over every analysis, and `selfstudy explain` from outside. A new file in explain/ is tested here as it is."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import selfstudy
from selfstudy import catalog, config, training
from selfstudy.cli import MISTAKEN, run
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import LinearMap, finetune
from selfstudy.explain import Analysis, Subject, Viewer, load, read_record, save, saved
from selfstudy.explain._attribution import Attribution, find
from selfstudy.images import ImageSet
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study import run as study_run
from selfstudy.study.settings import validate

ANALYSES = catalog.names("explain")
ATTRIBUTIONS = [name for name in ANALYSES if issubclass(catalog.find("explain", name, Analysis), Attribution)]
BACKBONES = {"conv4": "small", "conv2": "small", "mlp": "small", "test_resnet": "small", "resnet18": "small",
             "test_vit": "small", "test_efficientnet": "imagenet", "test_convnext": "imagenet"}  # fmt: skip


def viewer(images: ImageSet, backbone: str = "conv4", seed: int = 0, pooling: str = "backbone") -> Viewer:
    size = images.image_size
    spec = BackboneSpec(
        name=backbone, channels=images.channels, image_size=size, mean=(0.3,) * images.channels, std=(0.4,) * images.channels,
        stem=BACKBONES[backbone],  # type: ignore[arg-type]
    )  # fmt: skip
    with Rng.from_seed(seed).seeding_torch():
        feed = Feed(size=size, channels=images.channels, pooling=pooling)  # type: ignore[arg-type]
        encoder = Encoder(build_backbone(spec), feed, {})
        head = LinearMap(torch.randn(10, encoder.dim), torch.randn(10))
    return Viewer(name=f"{backbone} {seed}", encoder=encoder, features=encoder(images.images), classifier=head)


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    return digits.select(np.arange(60))


@pytest.fixture(scope="module")
def subject(few: ImageSet) -> Subject:
    """Everything that any analysis may ask for."""
    drawn = few.images[:2]
    names = ("original", "input", "drawn", "in order", "shuffled", "put back")
    return Subject(
        viewer=viewer(few), images=few, rows=torch.tensor([3, 1, 40]), judged_rows=torch.arange(20, 60),
        other=viewer(few, seed=1), twin=viewer(few, seed=2), shown=dict.fromkeys(names, drawn),
    )  # fmt: skip


def analysis(name: str, **settings: object) -> Analysis[Any]:
    kind = catalog.find("explain", name, Analysis)
    return kind(config.validate(kind.Config, settings, name))


def test_the_folder_is_not_empty():
    assert {"saliency", "integrated_gradients", "occlusion", "grad_cam"} == set(ATTRIBUTIONS)
    assert {"similarity", "agreement", "sanity", "border", "neighbours", "confused", "confident_mistakes", "map"} < set(
        ANALYSES
    )


@pytest.mark.parametrize("name", ANALYSES)
class TestEveryAnalysis:
    def test_config_is_frozen_and_refuses_what_it_does_not_know(self, name: str):
        found = analysis(name)
        assert dataclasses.is_dataclass(found.config) and found.version >= 1
        with pytest.raises(UserError, match="no_such_setting"):
            analysis(name, no_such_setting=1)
        for field in dataclasses.fields(found.config):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(found.config, field.name, 1)

    def test_finds_the_same_twice_and_leaves_the_subject_as_it_was(self, name: str, subject: Subject):
        """Whatever torch's own generator does. Mutation: weights randomised in place, a generator without a seed."""
        backbone = subject.viewer.encoder.backbone
        before = {key: value.clone() for key, value in backbone.state_dict().items()}
        features = subject.viewer.features.clone()
        found = []
        for seed in (1, 2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                found.append(analysis(name).explain(subject))
        first, second = found
        assert (first.sentence, dict(first.numbers)) == (second.sentence, dict(second.numbers))
        assert first.table.equals(second.table)
        assert all(np.array_equal(one.pixels, second.pictures[key].pixels) for key, one in first.pictures.items())
        assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
        assert torch.equal(features, subject.viewer.features) and not backbone.training
        assert all(parameter.requires_grad and parameter.grad is None for parameter in backbone.parameters())

    def test_says_it_in_a_sentence_with_numbers_and_pictures(self, name: str, subject: Subject):
        found = analysis(name).explain(subject)
        assert re.fullmatch(r"[A-Z0-9].{20,400}\.", found.sentence), found.sentence
        assert found.numbers and all(
            isinstance(value, float) and math.isfinite(value) for value in found.numbers.values()
        )
        assert len(found.table.columns)
        for key, picture in found.pictures.items():
            assert re.fullmatch("[a-z-]+", key)
            assert picture.pixels.dtype == np.uint8 and picture.pixels.ndim == 3 and picture.pixels.shape[2] in (3, 4)
            assert picture.alternative.endswith(".") and picture.caption.endswith(".")

    def test_is_saved_and_read_back(self, name: str, subject: Subject, tmp_path: Path):
        """Words stay words. Mutation: an id of digits read as a number, a picture under another name."""
        made = analysis(name)
        found = made.explain(subject)
        save(found, tmp_path, name, made.how({"entry": "tiny"}))
        assert saved(tmp_path) == [name]
        assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".csv", ".png"}
        again = load(tmp_path, name)
        assert again.sentence == found.sentence and again.numbers == found.numbers
        assert list(again.pictures) == list(found.pictures)
        for key, picture in found.pictures.items():
            assert np.array_equal(again.pictures[key].pixels, picture.pixels)
        pd.testing.assert_frame_equal(again.table, found.table, check_dtype=False, rtol=1e-6)
        record = read_record(tmp_path, name)
        assert {key: record[key] for key in made.how({"entry": "tiny"})} == made.how({"entry": "tiny"})

    def test_says_what_is_missing(self, name: str, few: ImageSet):
        """An encoder and pictures alone, which some analyses are content with. Mutation: a traceback."""
        bare = dataclasses.replace(few, labels=None, classes=())
        whole = viewer(few)
        alone = Subject(viewer=dataclasses.replace(whole, classifier=None), images=bare, rows=torch.tensor([3, 1]))
        made = analysis(name)
        if made.needs:
            with pytest.raises(UserError, match=rf"{name} (needs|compares|shows)"):
                made.explain(alone)
        else:
            assert made.explain(alone).sentence


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_attributions_work_on_any_backbone(name: str, backbone: str):
    """Colour pictures of 32 px, two at a time as well as one. Mutation: operations in place left as they are."""
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageSet("c", pictures, 32, *(np.array(["a", "b", "c"]),) * 3, classes=tuple("0123456789"))
    whole = Subject(viewer=viewer(images, backbone), images=images, rows=torch.arange(2))
    settings = {"integrated_gradients": {"steps": 3}}.get(name, {})
    if (name, backbone) == ("grad_cam", "mlp"):
        with pytest.raises(UserError, match="backbone mlp has no map of places"):
            analysis(name).explain(whole)
        return
    found = analysis(name, **settings).explain(whole)
    alone = analysis(name, **settings).explain(dataclasses.replace(whole, rows=torch.tensor([1])))
    assert (found.table["half_on"] > 0).all() and (
        found.table["total"].abs() > 0
    ).any()  # Grad-CAM: if anything is for it
    np.testing.assert_allclose(found.table["total"][1], alone.table["total"][0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", ["class_token", "mean_of_tokens"])
def test_grad_cam_finds_the_tokens_of_either_pooling(pooling: str, few: ImageSet):
    found = analysis("grad_cam").explain(
        Subject(viewer=viewer(few, "test_vit", pooling=pooling), images=few, rows=torch.arange(4))
    )
    assert found.table["total"].max() > 0


@pytest.mark.parametrize("to", ["neighbour", "class_mean", "views"])
@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_similarity_takes_every_question_and_attribution(to: str, method: str, subject: Subject):
    bare = dataclasses.replace(subject, viewer=dataclasses.replace(subject.viewer, classifier=None))
    found = analysis("similarity", to=to, method=method).explain(bare)
    assert (found.table["score"].abs() <= 1 + 1e-5).all() and find(method).title in found.sentence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    digits = selfstudy.images("digits", size=8)
    selfstudy.pretrain("simclr", digits, out=out, backbone="conv4", images_seen=256, quiet=True)
    return out


class TestVerb:
    def test_a_run_and_labelled_images(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Sentences on the screen, a page that needs nothing else. Mutation: a page with an address in it."""
        out = tmp_path / "out"
        words = ["analyses=neighbours,confused,saliency,border", "count=4", "border.method=grad_cam"]
        assert run(["explain", str(folder), "digits", *words, "--out", str(out)]) == 0
        shown = capsys.readouterr()
        assert "nearest images" in shown.out and str(out / "explain.html") in shown.out
        page = (out / "explain.html").read_text(encoding="utf-8")
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page) and "<script" not in page
        assert page.count("<img ") == page.count(' alt="') == 4 and 'name="viewport"' in page
        assert saved(out) == ["border", "confused", "neighbours", "saliency"]
        assert len(load(out, "saliency").table) == 4
        assert read_record(out, "border")["settings"]["method"] == "grad_cam"

    def test_images_without_labels(self, folder: Path, tmp_path: Path):
        """The usual ones that apply are made. Mutation: a UserError for those that do not."""
        digits = selfstudy.images("digits", size=8)
        found = selfstudy.explain(folder, digits, out=tmp_path, quiet=True, count=3, settings={"sanity": {"stages": 1}})
        assert set(found.findings) == {"neighbours", "similarity", "border", "sanity", "deletion", "map"}
        picked = digits.ids[17]
        one = selfstudy.explain(
            folder, digits, out=tmp_path / "one", quiet=True, analyses=["neighbours"], pick=[picked]
        )
        assert set(one.findings["neighbours"].table["id"]) == {picked}

    def test_two_runs_and_a_twin(self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        words = ["analyses=agreement", f"against={folder}", f"twin={folder}", "agreement.method=saliency"]
        assert run(["explain", str(folder), "digits", *words, "--json", "--out", str(tmp_path)]) == 0
        found = json.loads(capsys.readouterr().out)["findings"]["agreement"]
        assert found["rank"] == pytest.approx(1) and found["floor_rank"] == pytest.approx(1)

    def test_a_finished_studys_model_names_its_own_classes(self, tmp_path: Path):
        """By name, not by number: the images' classes are 1 and 7 alone. Mutation: labels kept as they are numbered."""
        settings = {
            "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "methods": ["random"], "labels": ["all"],
            "draws": 1, "seeds": 1, "protocols": ["linear"], "threads": 1, "explain": [],
        }  # fmt: skip
        study_run.run(validate(settings, "test"), tmp_path / "study", progress=Progress(quiet=True))
        selfstudy.finish(tmp_path / "study", quiet=True)
        digits = selfstudy.images("digits", size=8, labelled=True)
        assert digits.labels is not None
        rows = torch.nonzero((digits.labels == 1) | (digits.labels == 7))[:, 0].numpy()
        two = digits.select(rows)
        assert two.labels is not None
        two = dataclasses.replace(two, labels=(two.labels == 7).long(), classes=("1", "7"))
        found = selfstudy.explain(tmp_path / "study", two, out=tmp_path / "out", quiet=True, analyses=["confused"])
        numbers = found.findings["confused"].numbers
        assert numbers["num_judged"] == len(two) and numbers["num_wrong"] < 0.1 * len(two)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "tiny"
    run_study(folder)
    return folder


def run_study(folder: Path, **changes: object) -> None:
    settings = {
        "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1,
        "methods": ["majority", "random", {"supervised": {"images_seen": 640}}, {"simclr": {"batch_size": 64}}],
        "budget": {"images_seen": 640}, "labels": [2, "all"], "draws": 1, "seeds": 2, "protocols": ["knn", "linear"],
        "explain": ["neighbours", "confused", "saliency", "agreement", "jigsaws"], **changes,
    }  # fmt: skip
    study_run.run(validate(settings, "test"), folder, progress=Progress(quiet=True))


def require_counted(study: Path) -> None:
    """The classifiers that are explained make as many mistakes as the study has scored."""
    table = pd.read_csv(study / "results.csv", dtype={"labels": str})
    for path in study.glob("cells/*/explain.json"):
        about = json.loads(path.read_text(encoding="utf-8"))["asked"]["confused"]["about"]
        [score] = table[(table["cell"] == about["evaluation"]) & (table["metric"] == "accuracy")]["value"]
        numbers = load(path.parent / "explain", "confused").numbers
        assert 1 - numbers["num_wrong"] / numbers["num_judged"] == pytest.approx(score)


class TestStudy:
    def test_every_row_but_majority_is_explained_once(self, study: Path):
        """Of seed 0, by the first protocol that leaves a classifier. Mutation: every seed, or the first protocol."""
        records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(study.glob("cells/*/explain.json"))]
        about = {
            record["asked"]["saliency"]["about"]["entry"]: record["asked"]["saliency"]["about"] for record in records
        }
        assert set(about) == {"random", "supervised", "simclr"} and len(records) == 3
        assert {(one["seed"], one["labels"]) for one in about.values()} == {(0, "all")}
        assert {name: one["protocol"] for name, one in about.items()} == {
            "random": "linear", "supervised": "finetune", "simclr": "linear",
        }  # fmt: skip
        assert all(set(record["left_out"]) == {"jigsaws"} for record in records)
        for path in study.glob("cells/*/explain.json"):
            assert saved(path.parent / "explain") == ["confused", "neighbours", "saliency"]

    def test_mistakes_are_those_that_the_study_counted(self, study: Path):
        """Mutation: another classifier's, or the answers of another draw."""
        require_counted(study)

    def test_all_pairs_agree_by_a_number_with_its_floor(self, study: Path):
        """Mutation: the floor of another row."""
        table = pd.read_csv(study / "explain" / "agreement.csv")
        pairs = set(zip(table["first"], table["second"], strict=True))
        assert pairs == {("random", "random"), ("random", "supervised"), ("random", "simclr"), ("supervised", "simclr"), ("simclr", "simclr")}  # fmt: skip
        own = table[table["first"] == table["second"]].set_index("first")["rank"]
        others = table[table["first"] != "supervised"]
        assert (others["floor_rank"] == others["first"].map(own)).all()
        assert table[table["first"] == "supervised"]["floor_rank"].isna().all()  # its other seed is not trained again

    def test_nothing_is_made_twice_and_what_is_new_is(self, study: Path):
        """Mutation: no record of what was asked."""
        before = {path: path.stat().st_mtime_ns for path in study.glob("cells/*/explain/*")}
        run_study(study)
        assert {path: path.stat().st_mtime_ns for path in study.glob("cells/*/explain/*")} == before
        assert not list(study.glob("cells/*/.explain"))
        run_study(study, methods=["random"], explain=["map"])
        [path] = study.glob("cells/*/explain/map.json")
        assert read_record(path.parent, "map")["about"]["entry"] == "random"

    def test_what_the_study_scored_is_not_trained_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """And is thrown away once it is explained. Mutation: the classifier of other labels, or none, is kept."""
        trained = []

        def fit(*arguments: object, folder: Path | None, **others: object) -> object:
            trained.append(folder)
            return training.fit(*arguments, folder=folder, **others)  # type: ignore[arg-type]

        monkeypatch.setattr(finetune, "fit", fit)
        run_study(tmp_path, methods=[{"supervised": {"images_seen": 640}}], explain=["confused"])
        assert len([folder for folder in trained if folder]) == 2 * 2  # labels, seeds; others were timed
        assert not list(tmp_path.glob(f"cells/*/**/{finetune.KEPT}"))
        require_counted(tmp_path)


def test_a_mistake_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", "none", "digits"]) == MISTAKEN
    assert "none holds no encoder" in capsys.readouterr().err and not list(tmp_path.iterdir())
