"""What a user gets wrong in a study is one sentence before anything is computed; what fails later leaves the rest alone."""

import csv
import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfstudy.errors import RunError, UserError
from selfstudy.progress import Progress
from selfstudy.study._record import StudyRecord
from selfstudy.study.compare import summarise
from selfstudy.study.run import Finished, run
from selfstudy.study.settings import read, validate

TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1,
    "methods": ["majority", {"simclr": {"batch_size": 64}}], "budget": {"images_seen": 320}, "labels": [1], "draws": 2,
    "seeds": 1, "protocols": ["knn"], "metric": "accuracy",
}  # fmt: skip


def study(folder: Path, *, yes: bool = False, **changes: object) -> Finished:
    return run(validate({**TINY, **changes}, "mine.yaml"), folder, progress=Progress(quiet=True), yes=yes)


def numbers(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in line.items() if name != "seconds"} for line in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"methods": ["simclrr"]}, 'mine.yaml: there is no method "simclrr". Did you mean "simclr"?'),
        (
            {"methods": [{"simclr": {"epoch": 3}}]},
            'methods: simclr: there is no setting "epoch". Did you mean "epochs"?',
        ),
        (
            {"methods": [{"simclr": {"method.temprature": 1}}]},
            'has no setting "temprature". Did you mean "temperature"?',
        ),
        ({"methods": [{"simclr": {"seed": 1}}]}, "methods: simclr: seed cannot be set for one row"),
        ({"methods": [{"supervised": {"epochs": 1}}]}, 'methods: supervised: there is no setting "epochs".'),
        ({"methods": [{"majority": {"epochs": 1}}]}, 'methods: majority: there is no setting "epochs"'),
        ({"methods": ["simclr", "simclr"]}, 'mine.yaml: two rows are called "simclr"'),
        ({"methods": ["nowhere.py"]}, "nowhere.py is not a file"),
        ({"protocol": ["knn"]}, 'mine.yaml: there is no setting "protocol". Did you mean "protocols"?'),
        ({"protocols": ["linaer"]}, 'there is no protocol "linaer". Did you mean "linear"?'),
        ({"backbone": "conv5"}, "conv5"),
        ({"data": "digit"}, 'there is no data source and no folder "digit". Did you mean "digits"?'),
        ({"data": {"unlabelled": "digits"}}, "data names no labelled images"),
        ({"views": ["afine"]}, 'Did you mean "affine"?'),
        ({"views": "digit"}, 'Did you mean "digits"?'),
        ({"labels": [1.0]}, "write 1 or all"),
        ({"labels": [0]}, "labels is 0"),
        ({"labels": [5000]}, "5000 labels per class are asked for"),
        ({"draws": {4: 2}}, "draws says nothing for labels 1"),
        ({"budget": {"epochs": 1, "images_seen": 2}}, "budget names epochs and images_seen"),
        ({"budget": {"seconds": 0}}, "budget.seconds is 0"),
        ({"tune": {"trials": 1}}, "tune.trials is 1, but it should be greater than or equal to 2"),
        ({"tune": {"trails": 3}}, "mine.yaml: tune.trails is 'trails', but it should be 'trials'"),
        ({"tune": 3}, "mine.yaml: tune is 3"),
        ({"test": 5000}, "test=5000"),
        ({"metric": "f1"}, "mine.yaml: metric is 'f1'"),
        ({"name": "a/b"}, "cannot be the name of a folder"),
        ({"max_hours": 1e-9}, "more than max_hours=1e-09: give --yes"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_computed(tmp_path, monkeypatch, changes, complaint):
    monkeypatch.setattr(sys, "stdin", None)  # nobody at a terminal to ask
    with pytest.raises(UserError) as caught:
        study(tmp_path, **changes)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("study_name", "overrides", "complaint"),
    [
        ("digit", {}, 'there is no built-in study "digit"; a study file ends in .yaml. Did you mean "digits"?'),
        ("nowhere.yaml", {}, "nowhere.yaml does not exist"),
        ("digits", {"sedes": 3}, 'there is no setting or row "sedes". Did you mean "seeds"?'),
        ("digits", {"simclrr.epochs": 3}, 'there is no setting or row "simclrr.epochs"'),
    ],
)
def test_a_wrong_name_on_the_command_line(study_name, overrides, complaint):
    with pytest.raises(UserError) as caught:
        read(study_name, overrides)
    assert complaint in str(caught.value)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("my thesis", encoding="utf-8")
    with pytest.raises(UserError, match=r"holds something else already \(thesis.txt\)"):
        study(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        study(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_class_and_a_missing_label_column(tmp_path):
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(tmp_path / "pictures" / "cat" / f"{number}.png")
    with pytest.raises(UserError, match='only one class, "cat"'):
        study(tmp_path / "out", data=str(tmp_path / "pictures"))
    (tmp_path / "tags.csv").write_text("path,kind\ncat/0.png,a\ncat/1.png,b\n", encoding="utf-8")
    source = {
        "table": str(tmp_path / "tags.csv"),
        "images": str(tmp_path / "pictures"),
        "path": "path",
        "label": "Kinds",
    }
    with pytest.raises(UserError, match="Kinds"):
        study(tmp_path / "out", data=source)


def test_a_row_that_fails_leaves_the_others_alone_and_is_tried_again(tmp_path):
    """A learning rate that makes the loss infinite. Fails if dependants of a failed encoder are evaluated, or if it is kept."""
    broken = {"simclr": {"as": "broken", "batch_size": 64, "lr": 1e30, "lr_scaling": "none", "images_seen": 64 * 40}}
    finished = study(tmp_path, methods=[broken, *TINY["methods"]])  # type: ignore[misc]
    assert len(finished.failures) == 1 + 2
    with pytest.raises(
        RunError, match=r"3 of \d+ cells failed, the first because SimCLR: loss or gradient is not a finite number"
    ):
        finished.require_success()
    status = {
        entry: {line["status"] for line in numbers(tmp_path) if line["entry"] == entry}
        for entry in ("broken", "simclr", "majority")
    }
    assert status == {"broken": {"failed"}, "simclr": {"done"}, "majority": {"done"}}
    assert {line["value"] for line in numbers(tmp_path) if line["entry"] == "broken"} == {""}
    assert summarise(StudyRecord.read(tmp_path))["statements"] is not None
    assert study(tmp_path, methods=[broken, *TINY["methods"]]).num_computed == 3  # type: ignore[misc]


class Shown(Progress):
    """Knows what it shows, on any lane."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.names: list[str] = []
        self.now: list[str] = []

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        super().start(name, total, unit, done)
        self.now.append(self._tasks[-1].name)
        self.names += self.now[-1:]

    def finish(self, summary: str) -> None:
        super().finish(summary)
        self.now.pop()


def test_what_failed_is_no_longer_shown_to_be_at_work(tmp_path):
    """Mutation: its bar stays, and what follows is shown as a part of it."""
    broken = {"simclr": {"batch_size": 64, "lr": 1e30, "lr_scaling": "none", "images_seen": 64 * 40}}
    with Shown() as progress:
        run(validate({**TINY, "methods": [broken]}, "test"), tmp_path, progress=progress)
        assert "simclr, seed 0" in progress.names and progress.now == []


COLLAPSING = """
from dataclasses import replace
import torch
from selfstudy.methods.simclr import SimCLR

class Collapsing(SimCLR):
    "Shows the watch one point for every image."
    def objective(self, embedded, views, step):
        return replace(super().objective(embedded, views, step), watch={"z": torch.ones(8, 4)})
"""


@pytest.mark.parametrize("reaction", ["stop", "continue"])
def test_a_collapsed_encoder_is_judged_and_marked(tmp_path, reaction):
    """The user's own method file, too. Fails if the encoder's status does not reach its evaluations."""
    (tmp_path / "mine.py").write_text(COLLAPSING, encoding="utf-8")
    methods = [{str(tmp_path / "mine.py"): {"batch_size": 64, "images_seen": 64 * 100}}]
    assert not study(tmp_path / "out", methods=methods, on_collapse=reaction).failures
    lines = numbers(tmp_path / "out")
    assert {(line["entry"], line["method"], line["status"]) for line in lines} == {("mine", "mine", "collapsed")}
    assert all(float(line["value"]) > 0 for line in lines)
    assert study(tmp_path / "out", methods=methods, on_collapse=reaction).num_computed == 0


def test_no_space_left_ends_the_study_and_loses_nothing(tmp_path, monkeypatch):
    study(tmp_path / "whole")
    synchronise, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        study(tmp_path / "full")
    monkeypatch.undo()
    assert not list((tmp_path / "full").rglob(".*json*")), "no half-written file is left"
    done = len(list((tmp_path / "full").glob("cells/*/scores.json")))
    finished = study(tmp_path / "full")
    assert 0 < done == finished.num_cells - finished.num_computed
    assert numbers(tmp_path / "full") == numbers(tmp_path / "whole")
