"""How soon a score is reached, by points along training: first crossings, ties, never, and what does not count.

Each test names the change to the code that it must notice.
"""

import json
import shutil
from pathlib import Path

import pytest

from selfstudy.report._times import times_text
from selfstudy.study._findings import TimeTo
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary
from selfstudy.study.compare import summarise
from selfstudy.training import along
from tests.synthetic_study import ACCURACY, Truth, add_along, write_study

ROWS = {name: ACCURACY[name][2:] for name in ("random", "supervised", "simclr", "byol")}
WAY = {75: -0.3, 150: -0.1, 300: 0.0, 450: 0.02}  # better at three quarters than at its end
EVALUATION_SECONDS = 0.4


@pytest.fixture
def folder(tmp_path) -> Path:
    truth = Truth(accuracy=ROWS, labels=("10", "all"), draws={"10": 2}, num_test=200)
    return write_study(tmp_path / "study", truth)


def asked(folder: Path, *levels: float) -> Summary:
    with (folder / "study.yaml").open("a", encoding="utf-8") as file:
        file.write(f"time_to: {list(levels)}\n")
    return summarise(StudyRecord.read(folder))


def end_of(folder: Path, row: str = "simclr", protocol: str = "linear") -> float:
    points = summarise(StudyRecord.read(folder))["points"]
    return next(p["mean"] for p in points if (p["row"], p["protocol"], p["labels"]) == (row, protocol, "all"))


def seconds_of(folder: Path, row: str = "simclr") -> float:
    """Of one pretraining, the mean over seeds."""
    record = StudyRecord.read(folder)
    cards = [record.run_card(path) for key, path in record.runs.items() if key[0] == row]
    return sum(float(str(card["seconds"])) for card in cards) / len(cards)


def time_of(summary: Summary, level: float, row: str = "simclr", labels: str = "all") -> TimeTo:
    [found] = [t for t in summary["times_to"] if (t["level"], t["row"], t["labels"]) == (level, row, labels)]
    return found


# ---- which steps


@pytest.mark.parametrize(
    ("steps", "check_every", "expected"),
    [
        (160, 20, {20, 40, 80, 120}),
        (100, 20, {20, 40, 60, 80}),  # 12.5, 25, 50 and 75 at the next check
        (10, 5, {5}),
        (8, 1, {1, 2, 4, 6}),
        (20, 20, set()),
        (3, 20, set()),
    ],
)
def test_encoders_are_kept_at_checks_at_or_after_their_share_and_before_the_end(steps, check_every, expected):
    """Mutations: the check before; the end kept too; a step between two checks."""
    assert along.due_at(along.SHARES, steps, check_every) == expected


def test_nothing_is_kept_where_nobody_asks():
    assert along.due_at((), 1000, 20) == frozenset()


# ---- when a score is reached


def test_a_score_is_reached_at_the_first_point_at_or_above_it(folder):
    """A tie counts. Mutations: `>`; the last such point; the end alone; seconds without the evaluation, or of one seed."""
    add_along(folder, "simclr", WAY)
    level = end_of(folder)
    found = time_of(asked(folder, level), level)
    assert found["reached"] and found["images_seen"] == 300 * 128 and found["measured"] == "along training"
    assert found["seconds"] == pytest.approx(300 / 600 * seconds_of(folder) + EVALUATION_SECONDS)


def test_nothing_is_read_off_between_points(folder):
    """Half way between two points. Mutations: interpolation; the nearest point; the point before."""
    add_along(folder, "simclr", WAY)
    level = end_of(folder) - 0.05
    assert time_of(asked(folder, level), level)["images_seen"] == 300 * 128


def test_a_score_that_was_lost_again_was_reached(folder):
    """Mutation: asking the end whether a level was reached."""
    add_along(folder, "simclr", WAY)
    end = end_of(folder)
    found = time_of(asked(folder, end + 0.01), end + 0.01)
    assert found["reached"] and found["images_seen"] == 450 * 128 and found["mean"] == pytest.approx(end)


def test_a_score_above_every_point_was_never_reached(folder):
    """Mutation: the row's best point in place of the level."""
    add_along(folder, "simclr", WAY)
    level = end_of(folder) + 0.021
    found = time_of(asked(folder, level), level)
    assert (found["reached"], found["images_seen"], found["seconds"]) == (False, None, None)


def test_a_mean_over_seeds_counts_and_no_single_seed(folder):
    """One seed is above the level early, the mean is not. Mutation: the best seed."""
    add_along(folder, "simclr", {75: 0.04}, seeds=(0,))
    add_along(folder, "simclr", {75: -0.2}, seeds=(1,))
    level = end_of(folder) - 0.01
    assert time_of(asked(folder, level), level)["images_seen"] == 600 * 128


def test_what_one_seed_alone_was_judged_at_does_not_count(folder):
    """A run that was made before the study asked. Mutation: a mean over the seeds that there are."""
    add_along(folder, "simclr", WAY, seeds=(0,))
    found = time_of(summary := asked(folder, 0.5), 0.5)
    assert found["measured"] == "at its end" and found["images_seen"] == 600 * 128
    assert summary["learning_curves"] == []


def test_scores_of_other_evaluations_do_not_count(folder):
    """More images were labelled since. Mutation: reading values without their evaluation."""
    add_along(folder, "simclr", WAY)
    for path in folder.glob("cells/*/along.json"):
        path.write_text(path.read_text(encoding="utf-8").replace('"scores": {\n        "', '"scores": {\n        "f'))
    assert time_of(asked(folder, 0.5), 0.5)["images_seen"] == 600 * 128


def test_other_label_counts_and_other_rows_count_at_their_end(folder):
    """Mutation: one curve for every label count."""
    add_along(folder, "simclr", WAY)
    summary = asked(folder, 0.5)
    assert time_of(summary, 0.5, labels="10")["images_seen"] == 600 * 128
    found = {row: time_of(summary, 0.5, row)["measured"] for row in ROWS}
    assert found == {
        "random": "without training", "supervised": "at its end", "simclr": "along training", "byol": "at its end"
    }  # fmt: skip


def test_every_row_has_a_curve_that_ends_where_the_study_does(folder):
    """Mutation: the end from along.json, which knows nothing of later evaluations."""
    add_along(folder, "simclr", WAY)
    summary = asked(folder, 0.5)
    curves = {curve["row"]: curve for curve in summary["learning_curves"]}
    assert list(curves) == list(ROWS) and {curve["labels"] for curve in curves.values()} == {"all"}
    means = {p["row"]: p["mean"] for p in summary["points"] if p["labels"] == "all" and p["decides"]}
    assert {row: curve["points"][-1]["mean"] for row, curve in curves.items()} == means
    assert [len(curve["points"]) for curve in curves.values()] == [1, 1, 5, 1]
    seen = [point["images_seen"] for point in curves["simclr"]["points"]]
    assert seen == [128 * step for step in (*WAY, 600)]


def test_a_run_that_stopped_early_ends_after_its_points(folder):
    """A collapse at a step at which an encoder was kept: the end stands for it. Mutation: the same step twice."""
    add_along(folder, "simclr", {75: -0.3, 600: 0.01})
    curves = {curve["row"]: curve for curve in asked(folder, 0.5)["learning_curves"]}
    assert [point["images_seen"] for point in curves["simclr"]["points"]] == [75 * 128, 600 * 128]


def test_where_settings_were_searched_the_other_trials_were_needed_too(folder):
    """None could have been left out before its end was seen. Mutation: the time of the trial that stands alone."""
    add_along(folder, "simclr", WAY)
    alone = seconds_of(folder)
    path = folder / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in [c for c in plan if (c["kind"], c["entry"]) == ("pretrain", "simclr")]:
        shutil.copytree(folder / "cells" / cell["hash"], folder / "cells" / f"trial{cell['seed']}")
        plan.append({**cell, "hash": f"trial{cell['seed']}", "trial": 1})
    path.write_text(json.dumps({"cells": plan}), encoding="utf-8")
    level = end_of(folder)
    found = time_of(asked(folder, level), level)
    assert found["seconds"] == pytest.approx((1 + 300 / 600) * alone + EVALUATION_SECONDS)
    assert found["images_seen"] == (600 + 300) * 128


def test_where_the_deciding_protocol_trains_rows_are_compared_by_the_one_that_was_used(folder):
    """Mutation: some rows by one protocol and some by another, where all have both."""
    add_along(folder, "simclr", WAY, protocol="knn")
    level = end_of(folder, protocol="knn")
    summary = asked(folder, level)
    assert {row: time_of(summary, level, row)["protocol"] for row in ROWS} == {
        "random": "knn", "supervised": "finetune", "simclr": "knn", "byol": "knn"
    }  # fmt: skip
    assert time_of(summary, level)["images_seen"] == 300 * 128
    assert time_of(summary, level, labels="10")["protocol"] == "linear"
    assert time_of(summary, level, "byol")["mean"] == pytest.approx(end_of(folder, "byol", "knn"))


# ---- in words


def test_the_words_say_what_was_watched_and_what_was_not(folder):
    """Mutations: silence about a row without points; about the use of test images."""
    add_along(folder, "simclr", WAY)
    level = round(end_of(folder) - 0.05, 6)
    first, *others = times_text(asked(folder, level))
    assert f"An accuracy of {level:g} was reached by" in first and "38,400 images seen" in first
    assert others == [
        "Encoders were judged along training with all labels by a linear probe on frozen features; a score counts as reached at the "
        "first of them that has it, and nothing was chosen by this.",
        "Byol was not watched along training: the end alone counts.",
        "Of supervised, trained on labels, the end alone counts.",
    ]


def test_the_words_are_silent_where_no_score_was_named(tmp_path):
    summary = summarise(StudyRecord.read(write_study(tmp_path / "study", Truth(accuracy=ROWS, labels=("10", "all")))))
    assert len(times_text(summary)) == len({time["level"] for time in summary["times_to"]}) == 1


def test_points_are_read_from_the_encoders_that_were_judged(folder):
    """Of several trials of a row one stands. Mutation: the run of the row and seed, whichever it is."""
    add_along(folder, "simclr", WAY)
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("cells/*/along.json")):
        other = folder / "cells" / f"trial{path.parent.name}"
        other.mkdir()
        path.rename(other / path.name)
        for cell in plan["cells"]:
            if cell["needs"] == path.parent.name:
                cell["needs"] = other.name
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    assert time_of(asked(folder, 0.5), 0.5)["images_seen"] == 75 * 128
