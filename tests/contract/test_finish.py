"""Finishing a study, predicting with its model and exporting it: what a user types after reading the report."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from timm.data import resolve_model_data_config

import selfstudy
from selfstudy.cli import MISTAKEN, run
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import Budget, Protocol, Task
from selfstudy.evaluation.linear import Linear
from selfstudy.images import ImageSet
from selfstudy.model import Model, choose_threshold, fit_temperature
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study import run as study_run
from selfstudy.study.settings import validate

TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1, "fit": "pad",
    "methods": ["majority", "random", {"supervised": {"images_seen": 640}}, {"simclr": {"batch_size": 64}}],
    "budget": {"images_seen": 1280}, "labels": [2, "all"], "draws": 1, "seeds": 1, "protocols": ["linear"],
    "metric": "accuracy",
}  # fmt: skip


def tiny_study(folder: Path, **changes: object) -> Path:
    study_run.run(validate({**TINY, **changes}, "test"), folder, progress=Progress(quiet=True))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_study(tmp_path_factory.mktemp("studies") / "tiny")
    selfstudy.finish(folder, quiet=True)
    return folder


class TestFinish:
    def test_the_best_on_held_out_labels_is_taken(self, finished: Path):
        """Mutation: the worst, or the best on the test images."""
        model = Model.load(finished)
        scores = model.card["held_out_scores"]
        assert isinstance(scores, dict) and set(scores) == {"random, seed 0", "supervised, seed 0", "simclr, seed 0"}
        assert max(scores, key=scores.__getitem__) == f"{model.card['row']}, seed {model.card['seed']}"
        assert model.card["labels"] == 1797  # all, the test images among them
        assert model.encoder.feed.fit == "pad"

    def test_what_to_expect_is_what_the_study_measured(self, finished: Path):
        model = Model.load(finished)
        expected = model.card["expected"]
        assert isinstance(expected, dict)
        table = pd.read_csv(finished / "results.csv", dtype={"labels": str})
        row = table[(table.entry == model.card["row"]) & (table.labels == "all") & (table.metric == "accuracy")]
        assert expected["mean"] == pytest.approx(row["value"].mean()) and expected["low"] < expected["mean"]

    def test_a_named_row_is_taken(self, finished: Path, tmp_path: Path):
        folder = Path(shutil.copytree(finished, tmp_path / "copy"))
        assert selfstudy.finish(folder, row="random", quiet=True).card["row"] == "random"
        with pytest.raises(UserError, match=r'no finished row "simclrr".* Did you mean "simclr"'):
            selfstudy.finish(folder, row="simclrr", quiet=True)

    def test_few_labels_leave_nothing_to_hold_out(self, tmp_path: Path):
        model = selfstudy.finish(tiny_study(tmp_path / "few", labels=[2], methods=["random"]), quiet=True)
        assert (model.temperature, model.threshold) == (1.0, 0.0)
        assert "not calibrated" in model.sentences()[-1] and "optimistic" in model.sentences()[0]

    def test_a_row_without_a_classifier_is_no_candidate(self, tmp_path: Path):
        folder = tiny_study(tmp_path / "knn", protocols=["knn"], methods=["random"], labels=[2])
        with pytest.raises(UserError, match="with protocols=linear"):
            selfstudy.finish(folder, quiet=True)

    def test_what_is_no_study_is_refused(self, tmp_path: Path):
        with pytest.raises(UserError, match="is not a study folder"):
            selfstudy.finish(tmp_path, quiet=True)


class TestPredict:
    def test_the_command_names_most_digits(self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """Mutation: classes in another order, or features that are not the encoder's."""
        out = tmp_path / "predictions.csv"
        assert run(["predict", str(finished), "digits", "--out", str(out)]) == 0
        assert "1,797 images are named in" in capsys.readouterr().out
        with out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        digits = selfstudy.images("digits", size=8, labelled=True)
        truth = dict(zip(digits.ids.tolist(), (digits.classes[n] for n in digits.labels.tolist()), strict=True))
        assert sum(truth[row["id"]] == row["label"] for row in rows) / len(rows) > 0.9  # it learned from them
        model = Model.load(finished / "model")
        for row in rows[:20]:
            probabilities = [float(row[f"p({name})"]) for name in digits.classes]
            assert sum(probabilities) == pytest.approx(1.0, abs=1e-4)
            assert float(row["confidence"]) == pytest.approx(max(probabilities))
            assert row["accepted"] == str(float(row["confidence"]) >= model.threshold)

    def test_the_model_survives_the_disk(self, finished: Path, tmp_path: Path):
        model = Model.load(finished)
        model.save(tmp_path / "again")
        first, second = (selfstudy.predict(one, "digits") for one in (model, tmp_path / "again"))
        pd.testing.assert_frame_equal(first, second)

    def test_a_run_has_no_classes(self, finished: Path, capsys: pytest.CaptureFixture[str]):
        encoder = next(path.parent for path in finished.glob("cells/*/encoder.json"))
        assert run(["predict", str(encoder), "digits"]) == MISTAKEN
        assert "selfstudy finish STUDY" in capsys.readouterr().err

    def test_a_damaged_model_is_named(self, finished: Path, tmp_path: Path):
        folder = Path(shutil.copytree(finished / "model", tmp_path / "model"))
        (folder / "head.safetensors").write_bytes(b"torn")
        with pytest.raises(UserError, match="holds a damaged model"):
            Model.load(folder)


class TestCalibration:
    def test_temperature_undoes_a_scale(self):
        """Labels drawn from softmax(logits), then logits times three. Mutation: multiplying by the temperature."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(20_000, 4, generator=generator)
        labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        assert fit_temperature(3 * logits, labels) == pytest.approx(3.0, rel=0.05)

    def test_threshold_keeps_what_it_says(self):
        """Mutation: the quantile of all answers instead of the right ones."""
        confidence = torch.linspace(0.5, 1.0, 101)
        probabilities = torch.stack([confidence, 1 - confidence], dim=1)
        labels = torch.zeros(101, dtype=torch.int64)
        labels[:20] = 1  # the least sure are wrong
        threshold, caught = choose_threshold(probabilities, labels)
        assert (confidence[20:] >= threshold).float().mean() == pytest.approx(0.95, abs=0.01)
        assert caught == 1.0

    def test_all_wrong_and_all_right(self):
        probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        assert choose_threshold(probabilities, torch.tensor([1, 1])) == (0.0, 0.0)
        assert choose_threshold(probabilities, torch.tensor([0, 0]))[1] == 1.0


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 2, 3), (1, 3, 7)])
def test_the_map_gives_the_protocols_answers(digits: ImageSet, classes: tuple[int, ...]):
    """Folding the standardisation in changes no answer, and a class without labels is never one.

    Mutation: the sign of one logit for two classes; the mean left out; classes by position instead of by number.
    """
    assert digits.labels is not None
    rows = torch.nonzero(torch.isin(digits.labels, torch.tensor(classes)))[:, 0]
    train, test = rows[::2], rows[1::2]
    features = digits.images.flatten(1).float() + 3
    protocol: Protocol = Linear(Linear.Config(C=(0.1,)))
    encoder = Encoder(build_backbone(BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.5,), std=(0.2,))), Feed(size=8, channels=1), {})  # fmt: skip
    shared = {"images": digits, "train_rows": train, "pool_rows": train, "encoder": encoder, "features": features}
    answers = protocol.run(Task(**shared, test_rows=test), Rng.from_seed(0)).predictions
    _, head = protocol.hand_over(Budget(**shared), Rng.from_seed(0))
    logits = head(features[test])
    assert (logits.argmax(1) == answers).float().mean() > 0.995
    assert set(logits.argmax(1).tolist()) <= set(classes)


class TestExport:
    def test_a_model_runs_in_onnx(self, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """For any number of images. Mutation: exporting in train mode, or without the temperature."""
        out = tmp_path / "model.onnx"
        assert run(["export", str(finished), "--to", "onnx", "--out", str(out)]) == 0
        assert "the classes are, in order: 0, 1, 2" in capsys.readouterr().out
        digits = selfstudy.images("digits", size=8)
        model = Model.load(finished)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        for count in (1, 7):
            pictures = digits.images[:count]
            features, probabilities = session.run(None, {"images": model.encoder.feed(pictures).numpy()})
            expected = model.encoder(pictures)
            np.testing.assert_allclose(features, expected, atol=1e-4)
            np.testing.assert_allclose(probabilities, model.probabilities(expected), atol=1e-4)

    @pytest.mark.parametrize(
        ("name", "stem", "size"),
        [("test_vit", "small", 28), ("test_vit", "imagenet", 32), ("test_resnet", "imagenet", 32)],
    )
    def test_timm_loads_its_models(self, name: str, stem: str, size: int, tmp_path: Path):
        """Mutation: leaving the patch size out of the arguments."""
        spec = BackboneSpec(name=name, channels=1, image_size=size, mean=(0.3,), std=(0.2,), stem=stem)  # type: ignore[arg-type]
        encoder = Encoder(build_backbone(spec), Feed(size=size, channels=1), {})
        selfstudy.export(encoder, to="timm", out=tmp_path / "timm")
        loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True, in_chans=1).eval()
        pictures = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
        settings = resolve_model_data_config(loaded)
        assert tuple(settings["input_size"]) == (1, size, size)
        with torch.no_grad():
            found = loaded((pictures - settings["mean"][0]) / settings["std"][0])
            torch.testing.assert_close(found, encoder.backbone.eval()(pictures), rtol=1e-3, atol=1e-4)

    def test_what_timm_cannot_build_is_refused(self, finished: Path, tmp_path: Path):
        with pytest.raises(UserError, match=r"conv4 is not one of timm's: export it --to onnx"):
            selfstudy.export(finished, to="timm")
        spec = BackboneSpec(name="test_resnet", channels=3, image_size=32, mean=(0.5,) * 3, std=(0.2,) * 3)
        with pytest.raises(UserError, match="small stem"):
            selfstudy.export(Encoder(build_backbone(spec), Feed(size=32, channels=3), {}), to="timm", out=tmp_path)
        with pytest.raises(UserError, match=r'no export format "onxx"\. Did you mean "onnx"'):
            selfstudy.export(finished, to="onxx")

    def test_a_wrong_file_is_not_called_good(self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Weights that change between writing and checking are found. Mutation: no check."""
        spec = BackboneSpec(name="test_resnet", channels=1, image_size=32, mean=(0.5,), std=(0.2,), stem="imagenet")
        encoder = Encoder(build_backbone(spec), Feed(size=32, channels=1), {})
        state = dict(encoder.backbone.model.state_dict())
        wrong = {name: value + 0.5 if value.is_floating_point() else value for name, value in state.items()}
        monkeypatch.setattr(encoder.backbone.model, "state_dict", lambda: wrong)
        with pytest.raises(RunError, match="gives other features"):
            selfstudy.export(encoder, to="timm", out=tmp_path / "timm")


def test_json_for_scripts(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = Path(shutil.copytree(finished, tmp_path / "copy"))
    assert run(["finish", str(folder), "--row", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["row"] == "random" and found["classes"] == [str(n) for n in range(10)]
