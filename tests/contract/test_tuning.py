"""A study with `tune` and one with a budget in seconds, run to their ends on real digits."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

import selfstudy
from selfstudy.errors import UserError
from selfstudy.finish import _candidates
from selfstudy.progress import Progress
from selfstudy.report._recipe import recipe
from selfstudy.study import rates
from selfstudy.study._explanations import _rows as explained_rows
from selfstudy.study._record import StudyRecord
from selfstudy.study._trials import COLUMNS
from selfstudy.study.run import Finished, dry_run, prepare, run
from selfstudy.study.settings import validate
from selfstudy.training import RunSettings

TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1, "explain": [],
    "methods": [{"supervised": {"images_seen": 64}}, {"simclr": {"batch_size": 64}}],
    "budget": {"images_seen": 320}, "labels": [1, 5], "draws": 1, "seeds": 1, "protocols": ["knn", "linear"],
    "metric": "accuracy", "tune": {"trials": 3},
}  # fmt: skip
PLACES = 2 * 2  # label counts, protocols: the evaluations of an encoder
ENCODER = 1 + PLACES


def study(folder: Path, **changes: object) -> Finished:
    return run(validate({**TINY, **changes}, "test"), folder, progress=Progress(quiet=True))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores(folder: Path, cell: str) -> dict[str, dict[str, object]]:
    return json.loads((folder / "cells" / cell / "scores.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("tuned") / "tiny"
    result = study(folder)
    assert result.num_computed == 3 * ENCODER + 2 and not result.failures  # simclr, supervised
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_the_results_are_those_of_the_trials_with_the_best_validation(finished: Path):
    """Of equal ones the first; below five labels per class the row as it is written.

    Mutations: the best on the test images; one trial for all protocols; the last of equal ones.
    """
    tried = [line for line in lines(finished / "trials.csv") if line["entry"] == "simclr"]
    assert len(tried) == 3 * PLACES
    chosen = {line["cell"] for line in lines(finished / "results.csv") if line["entry"] == "simclr"}
    assert len(chosen) == PLACES
    for place in {(line["protocol"], line["labels"], line["draw"]) for line in tried}:
        own = [line for line in tried if (line["protocol"], line["labels"], line["draw"]) == place]
        assert [line["trial"] for line in own] == ["0", "1", "2"]
        if place[1] == "1":
            best = own[0]
            assert all(line["validation_score"] == "" for line in own)
        else:
            best = max(own, key=lambda line: round(float(line["validation_score"]), 12))
            assert all(
                scores(finished, line["cell"])["chosen"]["validation_score"] == float(line["validation_score"])
                for line in own
            )
        assert [line["chosen"] for line in own] == ["true" if line is best else "false" for line in own]
        assert best["cell"] in chosen


def test_trials_are_told_without_a_test_score(finished: Path):
    """Of pretraining and of the search on labels. Mutation: the settings of the row for all of its trials."""
    tried = lines(finished / "trials.csv")
    assert tuple(tried[0]) == COLUMNS and not {"value", "accuracy"} & set(COLUMNS)
    assert {line["entry"] for line in tried} == {"simclr", "supervised"}
    settings = {
        (line["pretraining_lr"], line["pretraining_weight_decay"]) for line in tried if line["entry"] == "simclr"
    }
    assert len(settings) == 3
    for line in tried:
        if line["entry"] == "simclr":
            card = json.loads((finished / "cells" / line["encoder"] / "run.json").read_text(encoding="utf-8"))
            assert str(card["settings"]["lr"]) == line["pretraining_lr"]
    labelled = [line for line in tried if line["entry"] == "supervised"]
    assert [(line["labels"], line["label_trial"]) for line in labelled] == [("5", "0"), ("5", "1"), ("5", "2")]
    [best] = [line for line in labelled if line["chosen"] == "true"]
    assert float(best["lr"]) == scores(finished, best["cell"])["chosen"]["lr"]
    assert float(best["validation_score"]) == max(float(line["validation_score"]) for line in labelled)


def test_more_trials_reuse_all_that_is_done(copy: Path):
    """Those of the search on labels too. Mutations: the number of trials in an encoder's hash; a search from its beginning."""
    old = {path: json.loads(path.read_text(encoding="utf-8")) for path in copy.glob("cells/*/search.json")}
    assert len(old) == 1
    for path, found in old.items():
        path.write_text(json.dumps([0.125, *found[1:]]), encoding="utf-8")  # a score that no training would give
    assert study(copy, tune={"trials": 4}).num_computed == ENCODER + 2
    searched = [
        scores(copy, path.parent.name)["details"].get("search", []) for path in copy.glob("cells/*/search.json")
    ]
    longer = [found for found in searched if len(found) == 4]  # type: ignore[arg-type]
    assert len(longer) == 1 and longer[0][0]["accuracy"] == 0.125  # type: ignore[index]
    assert Counter(line["trial"] for line in lines(copy / "trials.csv") if line["entry"] == "simclr") == dict.fromkeys("0123", PLACES)  # fmt: skip


def test_without_a_search_the_first_trials_are_the_results(copy: Path):
    """Only the row that learns from labels is another one. Mutation: trial 0 is not the row as it is written."""
    assert study(copy, tune={}).num_computed == 2
    firsts = {line["cell"] for line in lines(copy / "trials.csv") if line["trial"] == "0" and line["entry"] == "simclr"}
    assert {line["cell"] for line in lines(copy / "results.csv") if line["entry"] == "simclr"} == firsts
    record = StudyRecord.read(copy)
    assert record.num_trials == 1 and record.tried.empty and not record.gaps


def test_what_stands_is_what_is_shown_and_handed_over(copy: Path):
    """Trial 2 is made the best by its validation. Mutations: the last trial's run, or the first's, whatever was chosen."""
    for line in lines(copy / "trials.csv"):
        if (line["entry"], line["trial"], line["labels"]) == ("simclr", "2", "5"):
            path = copy / "cells" / line["cell"] / "scores.json"
            content = json.loads(path.read_text(encoding="utf-8"))
            content["chosen"]["validation_score"] = 1.0
            path.write_text(json.dumps(content), encoding="utf-8")
    assert study(copy, protocols=["linear", "knn"]).num_computed == 0
    record = StudyRecord.read(copy)
    encoder = record.runs["simclr", 1.0, 0]
    lr = record.run_card(encoder)["settings"]["lr"]  # type: ignore[index]
    assert encoder == record.trials["simclr", 1.0, 0][2] and (encoder / "map.csv").is_file()
    cards = {key: record.run_card(path) for key, path in record.runs.items()}
    [row] = [row for row in record.rows if row.name == "simclr"]
    assert yaml.safe_load(recipe(record, row, cards))[0]["simclr"]["lr"] == lr
    again = prepare(validate(TINY, "test"), copy, Progress(quiet=True))
    [explained] = [row for row in explained_rows(again) if row.evaluation.entry == "simclr"]
    assert explained.encoder is not None and explained.encoder.hash == explained.evaluation.needs == encoder.name
    assert {cell.needs for cell in _candidates(again, "simclr")} == {encoder.name}
    model = selfstudy.finish(copy, row="simclr", quiet=True)
    assert model.encoder.provenance["settings"]["lr"] == lr  # type: ignore[index]


def test_what_it_takes_is_said_before(tmp_path: Path):
    """Mutation: an estimate of one trial."""
    said, costs = [], []
    for trials in ({}, {"trials": 3}):
        stream = io.StringIO()
        planned = dry_run(validate({**TINY, "tune": trials}, "test"), tmp_path, progress=Progress(stream=stream))
        said.append(stream.getvalue())
        costs.append(len({cell.hash for cell in planned.cells}))
    assert costs == [ENCODER + 2, 3 * ENCODER + 2]
    assert "3 trials of learning rate and weight decay" in said[1] and "trials" not in said[0]
    assert not list(tmp_path.iterdir())


# ---- a budget in seconds


SECONDS = {
    **TINY, "methods": [{"simclr": {"batch_size": 64}}, {"simclr": {"as": "own length", "batch_size": 64, "images_seen": 64}}],
    "budget": {"seconds": 0.5}, "labels": [1], "draws": 1, "protocols": ["knn"], "tune": {},
}  # fmt: skip


@pytest.fixture
def measured_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "SECONDS_TO_MEASURE", 0.1)


def test_a_budget_in_seconds_is_measured_once(tmp_path: Path, measured_shortly: None):
    """Mutations: measured at every call, so that nothing is found again; a row's own length overruled."""
    assert study(tmp_path, **SECONDS).num_computed == 4
    written = (tmp_path / "rates.json").read_text(encoding="utf-8")
    [rate] = json.loads(written)["rates"].values()
    assert rate["row"] == "simclr" and rate["threads"] == 1 and rate["device"] in ("cpu", "cuda", "mps")
    record = StudyRecord.read(tmp_path)
    seen = {key[0]: record.run_card(path)["images_seen"] for key, path in record.runs.items()}
    assert seen["simclr"] == int(0.5 * rate["images_per_second"] / 64) * 64 and seen["own length"] == 64
    assert study(tmp_path, **SECONDS).num_computed == 0
    assert (tmp_path / "rates.json").read_text(encoding="utf-8") == written
    longer = prepare(validate({**SECONDS, "budget": {"seconds": 1.0}}, "test"), tmp_path, Progress(quiet=True))
    runs = {cell.entry: cell.work.images_seen for cell in longer.cells if isinstance(cell.work, RunSettings)}
    assert runs == {"simclr": int(rate["images_per_second"] / 64) * 64, "own length": 64}


def test_seconds_that_hold_no_batch_and_a_damaged_file_are_refused(tmp_path: Path, measured_shortly: None):
    with pytest.raises(UserError, match=r"budget: seconds is 1e-06, but simclr takes .* give more seconds"):
        study(tmp_path / "short", **{**SECONDS, "budget": {"seconds": 1e-6}})
    (tmp_path / "rates.json").write_text('{"rates": {"a": 3}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"rates\.json is damaged; delete it"):
        prepare(validate(SECONDS, "test"), tmp_path, Progress(quiet=True))
