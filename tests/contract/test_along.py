"""Encoders kept along training: they change nothing, survive a kill, are judged as the end is, and are gone afterwards.

Each test names the change to the code that it must notice.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfstudy.encoder import Encoder
from selfstudy.errors import RunError
from selfstudy.images import ImageSet, load
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.study import _work
from selfstudy.study import run as study_run
from selfstudy.study._record import StudyRecord
from selfstudy.study._study import Study
from selfstudy.study.cell import Bench
from selfstudy.study.compare import summarise
from selfstudy.study.run import run
from selfstudy.study.settings import validate
from selfstudy.training import along, pretrain, resolve
from selfstudy.training.checkpoint import Position

TINY: dict[str, Any] = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1,
    "methods": ["random", {"simclr": {"batch_size": 64}}],
    "budget": {"images_seen": 1280}, "labels": [1, 4], "draws": 2, "seeds": 2, "protocols": ["knn", "linear"],
    "metric": "accuracy", "explain": [],
}  # fmt: skip
ASKED = {**TINY, "time_to": [0.3, 0.99]}
ONE_SEED = {**ASKED, "seeds": 1, "methods": [{"simclr": {"batch_size": 64}}]}


def study(folder: Path, settings: dict[str, Any] = ASKED) -> int:
    result = run(validate(settings, "test"), folder, progress=Progress(quiet=True))
    assert result.failures == ()
    return result.num_computed


def scores_along(folder: Path) -> dict[str, Any]:
    """along.json of every run, without the seconds."""
    found = {}
    for path in sorted(folder.glob("cells/*/along.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for point in content["points"]:
            assert point.pop("seconds") > 0
        found[path.parent.name] = content
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A study that asks for no score. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("plain") / "study"
    study(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("asked") / "study"
    study(folder)
    return folder


# ---- runs


def test_keeping_encoders_changes_no_bit_and_an_interrupted_run_keeps_the_same(tmp_path, monkeypatch):
    """Mutations: eval mode left behind; random numbers drawn; kept after the snapshot, so that a resumed run has a gap."""
    images = load("digits", image_size=8, labelled=False)
    settings = resolve("byol", {"backbone": "conv4", "batch_size": 64, "images_seen": 64 * 30}, images.card, "test")

    def train(name: str, **options: Any) -> Path:
        folder = tmp_path / name
        pretrain(settings, images, folder, progress=Progress(quiet=True), device=torch.device("cpu"), **options)
        return folder

    without = train("without")
    whole = train("whole", keep_at=along.SHARES)
    keep, seen = along.keep, set()

    def interrupted(folder: Path, method: Method, images: ImageSet, position: Position, images_seen: int) -> None:
        if position.step not in seen:  # Ctrl-C, every time that an encoder was about to be written
            seen.add(position.step)
            raise KeyboardInterrupt
        keep(folder, method, images, position, images_seen)

    monkeypatch.setattr(along, "keep", interrupted)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            train("broken", keep_at=along.SHARES)
    broken = train("broken", keep_at=along.SHARES)
    weights = [(folder / "encoder.safetensors").read_bytes() for folder in (without, whole, broken)]
    assert weights[0] == weights[1] == weights[2] and logged(without) == logged(whole) == logged(broken)
    assert not (without / along.FOLDER).exists()
    kept, again = along.kept(whole), along.kept(broken)
    assert [path.name for path in kept] == [path.name for path in again] and len(kept) == 4
    contents = [path.joinpath("encoder.safetensors").read_bytes() for path in kept]
    assert contents == [path.joinpath("encoder.safetensors").read_bytes() for path in again]
    assert len({*contents, weights[0]}) == 5
    for path in kept:
        found = Encoder.load(path).provenance
        assert path.name == f"step-{found['step']:09d}" and found["images_seen"] == 64 * int(str(found["step"]))


def logged(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


# ---- studies


def test_a_study_that_asks_has_the_same_weights_cells_and_scores(plain, asked):
    """Mutation: the number of kept encoders in a cell's hash."""
    for path in sorted(plain.glob("cells/*/encoder.safetensors")):
        assert (asked / path.relative_to(plain)).read_bytes() == path.read_bytes()
    names = [{path.name for path in folder.glob("cells/*")} for folder in (plain, asked)]
    assert names[0] == names[1]
    assert not list(plain.glob("cells/*/along*"))


def test_a_study_that_asks_is_scored_along_training_and_keeps_one_encoder_of_a_run(asked):
    """By the deciding protocol, with the most labels, on every draw. Mutations: one draw; fewest labels; no deletion."""
    cells = {cell["hash"]: cell for cell in json.loads((asked / "plan.json").read_text(encoding="utf-8"))["cells"]}
    found = scores_along(asked)
    assert {cells[name]["method"] for name in found} == {"simclr"} and len(found) == 2
    assert not list(asked.glob("cells/*/along"))
    for name, content in found.items():
        assert (content["protocol"], content["labels"]) == ("knn", "4")
        *way, end = content["points"]
        assert [point["step"] for point in way] == [5, 10, 15] and (end["step"], end["images_seen"]) == (20, 1280)
        for point in content["points"]:
            judged = [cells[cell] for cell in point["scores"]]
            assert sorted(cell["draw"] for cell in judged) == [0, 1] and {cell["needs"] for cell in judged} == {name}
        for cell, metrics in end["scores"].items():
            scores = json.loads((asked / "cells" / cell / "scores.json").read_text(encoding="utf-8"))
            assert metrics == scores["metrics"]
        assert way[0]["scores"] != end["scores"]


def test_scores_are_those_of_the_encoder_at_its_step(asked, tmp_path):
    """The run once more: its third encoder is judged as any other. Mutation: the features of the end for every point."""
    study = study_run.prepare(validate(ASKED, "test"), asked, Progress(quiet=True))
    material = study.bench.material
    run_cell = next(cell for cell in study.cells if cell.method == "simclr" and cell.kind == "pretrain")
    folder = tmp_path / "cells" / run_cell.hash
    pretrain(run_cell.work, material.pool, folder, progress=Progress(quiet=True), keep_at=along.SHARES)  # type: ignore[arg-type]
    shutil.move(along.kept(folder)[2], tmp_path / "cells" / "third")
    bench = Bench(tmp_path, material, torch.device("cpu"), Progress(quiet=True))
    point = scores_along(asked)[run_cell.hash]["points"][2]
    for cell in study.cells:
        if cell.hash in point["scores"]:
            assert dict(bench.judge(replace(cell, needs="third")).metrics) == point["scores"][cell.hash]


def test_a_study_killed_before_its_encoders_were_judged_goes_on(asked, tmp_path, monkeypatch):
    """Mutation: judging only in the process that trained."""

    def killed(study: Study) -> None:
        if list(study.folder.glob("cells/*/along")):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_work, "score_along", killed)
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, ONE_SEED)
    assert list(tmp_path.glob("cells/*/along/step-*")) and not scores_along(tmp_path)
    assert study(tmp_path, ONE_SEED) == 0
    [(name, found)] = scores_along(tmp_path).items()
    assert found == scores_along(asked)[name] and not list(tmp_path.glob("cells/*/along"))


def test_a_study_killed_while_it_deleted_them_deletes_the_rest(asked, tmp_path):
    """Mutation: judging what is half deleted."""
    shutil.copytree(asked, tmp_path / "study")
    before = scores_along(tmp_path / "study")
    run_folder = tmp_path / "study" / "cells" / next(iter(before))
    (run_folder / "along" / "step-000000005").mkdir(parents=True)
    assert study(tmp_path / "study") == 0
    assert scores_along(tmp_path / "study") == before and not (run_folder / "along").exists()


def test_runs_that_were_made_before_are_said_to_have_been_judged_at_their_end(plain, tmp_path):
    """Nothing is trained again. Mutations: a run made anew; a point that nobody measured."""
    shutil.copytree(plain, tmp_path / "study")
    assert study(tmp_path / "study") == 0
    assert scores_along(tmp_path / "study") == {}
    summary = summarise(StudyRecord.read(tmp_path / "study"))
    assert {each["measured"] for each in summary["times_to"] if each["row"] == "simclr"} == {"at its end"}
    assert summary["learning_curves"] == []


def test_an_encoder_that_cannot_be_judged_is_left_out(tmp_path, monkeypatch):
    """Its weights are not finite, say. Mutations: the study ends; the point stays without a score."""
    judge = Bench.judge

    def spoiled(bench: Bench, cell: Any) -> Any:
        if cell.needs.endswith("step-000000010"):
            raise RunError("features hold NaN")
        return judge(bench, cell)

    monkeypatch.setattr(Bench, "judge", spoiled)
    study(tmp_path, ONE_SEED)
    for content in scores_along(tmp_path).values():
        assert [point["step"] for point in content["points"]] == [5, 15, 20]
    summary = summarise(StudyRecord.read(tmp_path))
    curve = next(curve for curve in summary["learning_curves"] if curve["row"] == "simclr")
    assert [point["images_seen"] for point in curve["points"]] == [320, 960, 1280]


def test_a_study_whose_protocols_all_train_keeps_nothing(tmp_path):
    """Mutation: encoders that nobody can judge, left on the disk."""
    settings = {**ONE_SEED, "protocols": ["finetune"], "evaluation": {"finetune": {"images_seen": 64}}, "labels": [1]}
    study(tmp_path, {**settings, "draws": 1})
    assert not list(tmp_path.glob("cells/*/along*"))
