"""A study goes on where it stopped, to the same numbers, and computes nothing twice."""

import csv
import io
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from selfstudy.errors import UserError
from selfstudy.progress import SECONDS_BETWEEN_LINES, Progress
from selfstudy.study._record import StudyRecord
from selfstudy.study.compare import summarise
from selfstudy.study.run import Finished, dry_run, run, run_cell
from selfstudy.study.settings import validate

TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1,
    "methods": ["majority", "random", {"supervised": {"images_seen": 128}}, {"simclr": {"batch_size": 64}}],
    "budget": {"images_seen": 640}, "labels": [1, 2], "draws": 2, "seeds": 2, "protocols": ["knn", "linear"], "metric": "accuracy",
}  # fmt: skip
ENCODER = 1 + 2 * 2 * 2  # cells of one encoder: labels, draws, protocols
NUM_CELLS = 4 + 2 * 2 * ENCODER + 4  # majority; two rows of two encoders; supervised
IN_FIRST_ROUND = 4 + 2 * 8 + 2  # evaluations


def study(folder: Path, **changes: object) -> Finished:
    return run(validate({**TINY, **changes}, "test"), folder, progress=Progress(quiet=True))


def numbers(folder: Path) -> list[dict[str, str]]:
    """results.csv without the times."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [{name: value for name, value in line.items() if name != "seconds"} for line in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The uninterrupted study. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("finished")
    result = study(folder)
    assert (result.num_cells, result.num_computed, result.failures) == (NUM_CELLS, NUM_CELLS, ())
    return folder


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_a_missing_map_is_drawn_again(copy):
    """A process may be killed between a run's end and its map. Mutation: looking for run.json alone."""
    maps = sorted(copy.glob("cells/*/map.csv"))
    before = maps[0].read_bytes()
    maps[0].unlink()
    assert study(copy).num_computed == 0
    assert maps[0].read_bytes() == before


def test_the_same_command_again_computes_nothing(copy):
    before = (copy / "results.csv").read_bytes()
    assert study(copy).num_computed == 0
    assert (copy / "results.csv").read_bytes() == before


def test_what_is_at_work_is_named_by_its_row(tmp_path):
    """Mutation: by the class that learns, of which several rows may have the same."""
    assert {"simclr, seed 0", "supervised, seed 0, 2 labels, draw 0"} <= bars(tmp_path, seeds=1, draws=1, labels=[2])


def bars(folder: Path, **changes: object) -> set[str]:
    """The names of what a study shows to be at work."""
    stream, ticks = io.StringIO(), itertools.count(step=SECONDS_BETWEEN_LINES)
    progress = Progress(stream=stream, clock=lambda: next(ticks))
    run(validate({**TINY, **changes}, "test"), folder, progress=progress)
    return {line.partition(":")[0] for line in stream.getvalue().splitlines()}


def test_a_killed_study_goes_on_to_the_same_numbers(finished, tmp_path):
    """Killed with no chance to tidy up: in the first encoder, between evaluations, and in the middle of the second round."""
    command = [sys.executable, "-c", (
        "import json, sys; from pathlib import Path; from selfstudy.progress import Progress\n"
        "from selfstudy.study.run import run; from selfstudy.study.settings import validate\n"
        "run(validate(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=Progress(quiet=True))"
    ), json.dumps(TINY), str(tmp_path)]  # fmt: skip
    for pattern, count in (
        ("cells/*/cell.json", 1),
        ("cells/*/metrics.jsonl", 1),
        ("cells/*/scores.json", IN_FIRST_ROUND + 1),
    ):
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(tmp_path.glob(pattern))) < count:
            time.sleep(0.01)
        process.kill()
        process.wait()
    left = len(list(finished.glob("cells/*/scores.json"))) - len(list(tmp_path.glob("cells/*/scores.json")))
    result = study(tmp_path)
    assert 0 < left <= result.num_computed < NUM_CELLS, "it was killed in the middle, and what was done was kept"
    assert numbers(tmp_path) == numbers(finished)
    assert not list(tmp_path.glob("cells/*/checkpoint"))


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"methods": [*TINY["methods"], {"simclr": {"as": "again", "batch_size": 64}}]}, 0),  # type: ignore[misc]
        ({"methods": [*TINY["methods"], {"simclr": {"as": "longer", "batch_size": 64, "epochs": 1}}]}, 2 * ENCODER),  # type: ignore[misc]
        ({"seeds": 3}, 2 * ENCODER),
        ({"draws": 3}, 2 + 4 * 4 + 2),
        ({"labels": [1, 2, 3]}, 2 + 4 * 4 + 2),
    ],
    ids=["renamed row", "method", "seeds", "draws", "labels"],
)
def test_an_extended_study_computes_only_what_is_new(finished, copy, changes, added):
    assert study(copy, **changes).num_computed == added
    old, new = numbers(finished), numbers(copy)
    assert len(new) > len(old)
    assert all(line in new for line in old)


def test_results_hold_the_cells_of_the_present_settings_only(copy):
    study(copy, labels=[1])
    assert {line["labels"] for line in numbers(copy)} == {"1"}
    assert study(copy).num_computed == 0, "what is not shown is kept"


def test_the_record_of_a_finished_study_is_complete(finished):
    summary = summarise(StudyRecord.read(finished))
    assert summary["complete"] is True
    assert {line["status"] for line in numbers(finished)} == {"done"}
    assert json.loads((finished / "splits.json").read_text(encoding="utf-8"))["asked_test"] == 0.2


def test_one_cell_can_be_done_alone_with_the_encoder_it_needs(finished, copy):
    """The job that another machine is sent: its folder comes back as the study would have made it."""
    plan = json.loads((copy / "plan.json").read_text(encoding="utf-8"))["cells"]
    cell = next(cell for cell in plan if cell["entry"] == "simclr" and cell["kind"] == "evaluate")
    for name in (cell["needs"], cell["hash"]):
        shutil.rmtree(copy / "cells" / name)
    assert run_cell(copy, cell["hash"], progress=Progress(quiet=True)) == "done"
    weights = Path("cells", cell["needs"], "encoder.safetensors")
    predictions = Path("cells", cell["hash"], "predictions.safetensors")
    for path in (weights, predictions):
        assert (copy / path).read_bytes() == (finished / path).read_bytes()
    assert study(copy).num_computed == 0


def test_a_deleted_encoder_is_made_again(finished, copy):
    plan = json.loads((copy / "plan.json").read_text(encoding="utf-8"))["cells"]
    for cell in plan:
        if cell["kind"] == "pretrain":
            shutil.rmtree(copy / "cells" / cell["hash"])
    assert study(copy).num_computed == 4
    assert numbers(copy) == numbers(finished)


def test_an_unknown_cell_is_refused(copy):
    with pytest.raises(UserError, match="plans no cell 0123"):
        run_cell(copy, "0123", progress=Progress(quiet=True))


def test_two_processes_cannot_run_the_same_study(copy):
    with FileLock(copy / ".lock"), pytest.raises(UserError, match="another process is running the study"):
        study(copy)


def test_a_dry_run_writes_nothing(tmp_path):
    planned = dry_run(validate(TINY, "test"), tmp_path / "new", progress=Progress(quiet=True))
    assert len({cell.hash for cell in planned.cells}) == NUM_CELLS
    assert not (tmp_path / "new").exists()


def test_a_row_may_be_pretrained_on_images_of_its_own(tmp_path):
    """On noise, to be held against the same method on the study's images. Mutation: the study's images for both rows."""
    methods = [{"simclr": {"batch_size": 64}}, {"simclr": {"as": "on noise", "batch_size": 64, "data": "noise:200"}}]
    assert study(tmp_path, methods=methods, seeds=1, labels=[2], draws=1).failures == ()
    cards = {}
    for path in tmp_path.glob("cells/*/run.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        cards[card["entry"]] = card
    assert cards["on noise"]["data"]["num_images"] == 200 and cards["on noise"]["data"]["name"].startswith("noise")
    assert cards["on noise"]["images_seen"] == cards["simclr"]["images_seen"] == 640
    assert study(tmp_path, methods=methods, seeds=1, labels=[2], draws=1).num_computed == 0
