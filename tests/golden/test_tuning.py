"""Which trial stands for a row, what is tried, and what a budget in seconds comes to: by hand-made cells and closed forms."""

import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from selfstudy.errors import UserError
from selfstudy.report._conditions import conditions
from selfstudy.study._record import StudyRecord
from selfstudy.study._trials import PLACE, standing
from selfstudy.study._validation import validation_score
from selfstudy.study.cell import Outcome, Status
from selfstudy.study.compare import summarise
from selfstudy.study.plan import Cell, Evaluation
from selfstudy.study.rates import images_in
from selfstudy.study.tuning import failures, stand
from selfstudy.training import RunSettings, resolve
from selfstudy.training.trials import pretraining_trials, varied
from selfstudy.types import DataCard
from tests.synthetic_study import Truth, write_study

SMALL = Truth(accuracy={"random": (0.5,), "simclr": (0.8,)}, labels=("10",), draws={"10": 2}, seeds=2, num_test=100)


def evaluation(trial: int, **changes: object) -> Cell:
    plain = Cell(
        hash=f"e{trial}", kind="evaluate", entry="simclr", method="simclr", backbone="conv4", unlabelled=1.0, seed=0, round=0,
        work=Evaluation(protocol="linear", config=None), needs=f"p{trial}", protocol="linear", labels=10, draw=0, trial=trial,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def outcomes_of(statuses: list[Status]) -> dict[str, Outcome]:
    """Of the encoders p0, p1, ... and their evaluations: those of a failed encoder fail, those of a collapsed one do not."""
    encoders = {f"p{number}": Outcome(status) for number, status in enumerate(statuses)}
    judged = {f"e{n}": Outcome("failed" if status == "failed" else "done") for n, status in enumerate(statuses)}
    return encoders | judged


@pytest.mark.parametrize(
    ("statuses", "scores", "chosen"),
    [
        (["done", "done", "done"], {0: 0.5, 1: 0.7, 2: 0.6}, 1),
        (["done", "done", "done"], {0: 0.7, 1: 0.7 + 1e-14, 2: 0.6}, 0),  # equal but for rounding: the first
        (["done", "done", "done"], {}, 0),  # nothing to choose by
        (["done", "done", "done"], {1: 0.9}, 0),  # a score that others do not have compares nothing
        (["collapsed", "done", "done"], {0: 0.9, 1: 0.3, 2: 0.4}, 2),
        (["failed", "collapsed", "done"], {1: 0.9, 2: 0.1}, 2),
        (["failed", "collapsed", "collapsed"], {1: 0.2, 2: 0.3}, 2),  # if none is better
        (["failed", "failed", "failed"], {}, 0),
        (["failed", "done", "done"], {}, 1),  # the first of those that are there
    ],
)
def test_the_best_by_validation_stands_and_trouble_only_where_nothing_else_does(statuses, scores, chosen):
    """Mutations: the last of equal ones; a collapsed trial by its score; the first whatever became of it."""
    cells = [evaluation(trial) for trial in range(3)]
    found = stand(cells, outcomes_of(statuses), lambda cell: scores.get(cell.trial))
    assert [cell.trial for cell in found] == [chosen]


def test_every_place_is_chosen_for_itself_and_what_is_still_to_come_is_not_chosen():
    """Mutations: one choice for a row; draws, seeds or protocols thrown together; a trial without an outcome."""
    others: list[Mapping[str, object]] = [
        {},
        {"draw": 1},
        {"seed": 1},
        {"labels": 1},
        {"protocol": "knn"},
        {"entry": "byol"},
    ]
    others += [{"unlabelled": 0.5}]
    cells = [evaluation(t, hash=f"{n}-{t}", **other) for n, other in enumerate(others) for t in range(2)]
    done = {cell.hash: Outcome("done") for cell in cells if cell.hash != "1-1"}
    found = stand(cells, done, lambda cell: float(cell.trial))
    assert [cell.hash for cell in found] == ["0-1", "1-0", "2-1", "3-1", "4-1", "5-1", "6-1"]


def test_a_trial_that_failed_is_a_failure_of_the_study_only_if_none_stands():
    """Mutation: every failed cell, so that a search with one rate too high never succeeds."""
    cells = [evaluation(0), evaluation(1)]
    cells += [replace(cell, hash=cell.needs, kind="pretrain", needs="", protocol="", labels="") for cell in cells]
    for statuses, number in ((["done", "failed"], 0), (["failed", "failed"], 3)):
        found = outcomes_of(statuses)  # type: ignore[arg-type]
        assert len(failures(cells, found, stand(cells, found, lambda cell: None))) == number


def test_validation_is_what_the_cell_says_or_the_best_of_its_search_or_the_mean_of_the_folds():
    """Mutations: the first trial of a search; the best fold instead of the mean; folds of which one chose nothing."""
    search = {"search": [{"lr": 1, "accuracy": 0.25}, {"lr": 2, "accuracy": 0.75}]}
    assert validation_score({"chosen": {"validation_score": 0.5}, "details": search}, "accuracy") == 0.5
    assert validation_score({"chosen": {}, "details": search}, "accuracy") == 0.75
    assert validation_score({"chosen": {}, "details": search}, "macro_f1") is None
    folds = [search, {"search": [{"lr": 1, "accuracy": 0.25}]}]
    assert validation_score({"details": {"folds": folds}}, "accuracy") == 0.5
    assert validation_score({"details": {"folds": [*folds, {}]}}, "accuracy") is None
    assert validation_score({}, "accuracy") is None


def test_what_is_tried_stays_what_it_is():
    """The numbers of trials are in the hashes of finished studies. Mutation: another stream, factor, range or rounding."""
    tried = [(0.00019, 0.0339), (0.00151, 0.0149), (0.000503, 0.00108)]
    assert [varied(number, 1e-3)[:2] for number in (1, 2, 3)] == tried
    assert varied(1, 0.2)[0] == pytest.approx(200 * varied(1, 1e-3)[0], rel=0.01)
    drawn = [varied(number, 1.0) for number in range(1, 200)]
    assert all(0.1 <= lr <= 10 and 1e-4 <= decay <= 1e-1 and 0 <= other < 1 for lr, decay, other in drawn)
    assert sum(lr < 1 for lr, _, _ in drawn) == pytest.approx(100, abs=25)  # half below, half above


def test_the_first_trial_is_the_row_and_the_others_vary_two_settings_alone():
    """Also what the user has set. Mutations: a varied first trial; a new seed or schedule; a rate drawn around the recipe's."""
    card = DataCard(num_images=500, channels=1, image_size=8)
    run = resolve("simclr", {"backbone": "conv4", "lr": 0.5, "weight_decay": 0.02, "epochs": 2}, card, "test")
    few, more = pretraining_trials(run, 2), pretraining_trials(run, 4)
    assert few[0] is run and more[:2] == few and len({trial.lr for trial in more}) == 4
    for trial in more[1:]:
        assert 0.05 <= trial.lr <= 5 and trial.weight_decay != 0.02
        assert replace(trial, lr=0.5, weight_decay=0.02).to_json() == run.to_json()
        assert "trial" in trial.origins["lr"] and trial.origins["epochs"] == run.origins["epochs"]


# ---- what a study's folder says of trials


def tuned(folder: Path, chosen: Mapping[tuple[int, int], int], trials: int = 3) -> Path:
    """A synthetic study in which simclr has several trials, of which `chosen` by (seed, draw) stand."""
    write_study(folder, SMALL)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cells"]
    table = pd.read_csv(folder / "results.csv", dtype={"labels": str})
    own = [cell for cell in plan if cell["entry"] == "simclr"]
    runs = {cell["seed"]: cell["hash"] for cell in own if cell["kind"] == "pretrain"}
    cells, tried = [cell for cell in plan if cell["entry"] != "simclr"], []
    for cell, trial in itertools.product(own, range(trials)):
        name, mark = cell["hash"], f"t{trial}" if trial else ""
        if mark:
            shutil.copytree(folder / "cells" / name, folder / "cells" / f"{name}{mark}")
        cells.append({**cell, "hash": f"{name}{mark}", "trial": trial})
        if cell["kind"] == "evaluate":
            cells[-1]["needs"] = runs[cell["seed"]] + mark
            tried.append({**{key: cell[key] for key in PLACE}, "cell": f"{name}{mark}", "seconds": 1.0 + trial})
            if chosen[cell["seed"], cell["draw"]] == trial:
                table.loc[table["cell"] == name, "cell"] = f"{name}{mark}"
    (folder / "plan.json").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    table.to_csv(folder / "results.csv", index=False)
    pd.DataFrame(tried).to_csv(folder / "trials.csv", index=False)
    change(folder, tune={"trials": trials})
    return folder


def change(folder: Path, **settings: object) -> None:
    text = (folder / "study.yaml").read_text(encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(yaml.safe_load(text) | settings), encoding="utf-8")


def test_the_trial_chosen_most_often_stands_for_a_seed(tmp_path):
    """Of equal ones the first. Mutations: trial 0; the trial of the first draw; one trial for all seeds."""
    chosen = {(0, 0): 2, (0, 1): 2, (1, 0): 2, (1, 1): 1}
    record = StudyRecord.read(tuned(tmp_path / "study", chosen))
    assert [standing(record, "simclr", 1.0, seed) for seed in (0, 1)] == [2, 1]
    assert [record.runs["simclr", 1.0, seed].name[-2:] for seed in (0, 1)] == ["t2", "t1"]
    assert {key: len(paths) for key, paths in record.trials.items() if key[0] == "simclr"} == {
        ("simclr", 1.0, 0): 3,
        ("simclr", 1.0, 1): 3,
    }


def test_before_there_are_scores_the_first_healthy_run_stands(tmp_path):
    """Mutation: the first run whatever became of it."""
    folder = tuned(tmp_path / "study", {(s, d): 0 for s in (0, 1) for d in (0, 1)})
    header = (folder / "results.csv").read_text(encoding="utf-8").splitlines()[0]
    (folder / "results.csv").write_text(header + "\n", encoding="utf-8")
    record = StudyRecord.read(folder)
    path = record.trials["simclr", 1.0, 0][0] / "run.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "status": "collapsed"}), encoding="utf-8")
    assert standing(record, "simclr", 1.0, 0) == 1 and standing(record, "simclr", 1.0, 1) == 0


def test_costs_are_those_of_all_trials(tmp_path):
    """Mutations: the seconds of the chosen evaluation, or of the run that stands, alone."""
    folder = tuned(tmp_path / "study", {(s, d): 1 for s in (0, 1) for d in (0, 1)})
    record = StudyRecord.read(folder)
    summary = summarise(record)
    seconds = [float(str(record.run_card(path)["seconds"])) for t in record.trials.values() for path in t.values()]
    cost = next(cost for cost in summary["costs"] if cost["row"] == "simclr")
    num_places = 2 * 2 * 2  # seeds, draws, protocols
    assert cost["num_runs"] == 6 and cost["num_evaluations"] == num_places
    assert cost["evaluation_seconds"] == pytest.approx(num_places * (1 + 2 + 3))
    assert cost["pretraining_seconds"] == pytest.approx(sum(seconds[2:]))  # the first two are untrained encoders
    trade = next(trade for trade in summary["trade_offs"] if trade["row"] == "simclr")
    assert trade["seconds"] == pytest.approx(sum(seconds[2:]) / 2 + 6)
    row = next(row for row in summary["rows"] if row["row"] == "simclr")
    assert row["num_runs"] == 2  # those that stand
    assert summary["complete"] and any("3 trials of learning rate" in text for text in conditions(summary))


def test_a_trial_that_is_still_to_come_is_a_gap_and_one_that_failed_is_none(tmp_path):
    """Mutation: a place is whole as soon as it has a score."""
    folder = tuned(tmp_path / "study", {(s, d): 0 for s in (0, 1) for d in (0, 1)})
    tried = pd.read_csv(folder / "trials.csv")
    tried.iloc[:-1].to_csv(folder / "trials.csv", index=False)
    [gap] = StudyRecord.read(folder).gaps
    assert gap == {"row": "simclr", "labels": "10", "planned": 8, "failed": 0, "to_come": 1}


def test_a_damaged_table_of_trials_is_named(tmp_path):
    folder = tuned(tmp_path / "study", {(s, d): 0 for s in (0, 1) for d in (0, 1)})
    (folder / "trials.csv").write_text("torn", encoding="utf-8")
    with pytest.raises(UserError, match=r"trials\.csv is not a table of trials"):
        StudyRecord.read(folder)
    change(folder, tune={})
    assert StudyRecord.read(folder).tried.empty  # of a study that searches nothing it says nothing


# ---- a budget of seconds


def run_settings(**changes: object) -> RunSettings:
    return resolve("simclr", {"backbone": "conv4", "batch_size": 64, **changes}, DataCard(num_images=500, channels=1, image_size=8), "test")  # fmt: skip


def test_seconds_are_whole_batches():
    """Mutations: rounding up; images that fill no batch."""
    assert images_in(10, 100.0, run_settings(), "simclr") == 960
    assert images_in(10, 0.0, run_settings(), "simclr") == 64  # not measurable: it fails at once, as its cell will say
    with pytest.raises(UserError, match=r"budget: seconds is 0\.5, but simclr takes 0\.64 s for one batch of 64"):
        images_in(0.5, 100.0, run_settings(), "simclr")


@pytest.mark.parametrize(
    ("budget", "methods", "outside"),
    [
        ({"seconds": 60}, ["random", "simclr"], "1.0 min"),
        ({"seconds": 90}, ["random", "simclr"], ""),  # runs of 80 to 100 s are within a fifth
        ({"epochs": 20}, ["random", "simclr"], ""),
        ({"epochs": 20}, ["random", {"simclr": {"epochs": 20}}], ""),
        ({"epochs": 20}, ["random", {"simclr": {"epochs": 40}}], "40 epochs"),
        ({"images_seen": 100_000}, ["random", {"simclr": {"images_seen": 50_000}}], "50,000 images"),
        ({}, ["random", {"simclr": {"epochs": 40}}], ""),
    ],
)
def test_rows_outside_the_budget_are_said(tmp_path, budget, methods, outside):
    """Mutations: a bound of one side; every row with a length of its own, though it is the budget's; none."""
    folder = write_study(tmp_path / "study", SMALL)
    change(folder, budget=budget, methods=methods)
    summary = summarise(StudyRecord.read(folder))
    found = [text for text in conditions(summary) if "budget of each pretraining" in text]
    assert [each["row"] for each in summary["conditions"]["outside_budget"]] == (["simclr"] if outside else [])
    assert len(found) == bool(outside) and all("simclr" in text for text in found)
