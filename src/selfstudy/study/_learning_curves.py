"""Learning curves: the score of each row along its training, from what `_along.py` left in the folders of the runs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from selfstudy.study._along import NAME
from selfstudy.study._comparison import Comparison
from selfstudy.study._findings import CurvePoint, LearningCurve
from selfstudy.study._record import read_json
from selfstudy.study._spent import Runs, Spent, pretrained, spent
from selfstudy.study._summary import Point

_OnTheWay = tuple[Spent, float]  # what was left to the end of the run, and the score


def learning_curves(comparison: Comparison, points: Sequence[Point]) -> list[LearningCurve]:
    """One for every row, by the protocol and with the labels by which a run was judged along training; else nothing.

    Rows without such a run have one point, their end; rows that are not judged by that protocol are judged by their own.
    """
    runs = pretrained(comparison.record)
    encoders = {str(cell["hash"]): str(cell["needs"]) for cell in comparison.record.plan}
    ways = {_key(point): _way(comparison, point, encoders) for point in points}
    found = []
    for protocol, labels in dict.fromkeys(key[1:] for key, way in ways.items() if way):
        for name, row in comparison.rows.items():
            there = [point for point in points if (point["row"], point["labels"]) == (name, labels)]
            there = [point for point in there if point["protocol"] == protocol] or [p for p in there if p["decides"]]
            if there and row.kind != "majority":
                found.append(curve_of(comparison, there[0], runs, ways[_key(there[0])]))
    return found


def curve_of(comparison: Comparison, end: Point, runs: Runs, way: Sequence[_OnTheWay] = ()) -> LearningCurve:
    """The end of a row at a label count, after the points on its way that were measured.

    What a point took is what the end took without what came between: where settings were searched, all other trials too.
    """
    row, took = comparison.rows[end["row"]], spent(comparison, end, runs)
    points = [(Spent(took.seconds - left.seconds, took.images_seen - left.images_seen), mean) for left, mean in way]
    return LearningCurve(
        row=row.name,
        entry=row.entry,
        unlabelled=row.unlabelled,
        labels=end["labels"],
        protocol=end["protocol"],
        points=[
            CurvePoint(images_seen=round(at.images_seen), seconds=at.seconds, mean=mean)
            for at, mean in [*points, (took, end["mean"])]
        ],
    )


def _way(comparison: Comparison, end: Point, encoders: Mapping[str, str]) -> list[_OnTheWay]:
    """Means over seeds and draws of the points at which every evaluation of the end was made too.

    `encoders`: what each evaluation judges, hashes both.
    """
    cells = comparison.cells_of(_key(end))
    folders = dict.fromkeys(comparison.record.folder / "cells" / encoders.get(cell, "") for cell in cells)
    lefts: dict[int, list[Spent]] = {}
    scores: dict[int, dict[str, float]] = {}
    for folder in folders:
        for step, left, values in _measured(folder / NAME, comparison.record.metric):
            lefts.setdefault(step, []).append(left)
            scores.setdefault(step, {}).update(values)
    found = []
    for step in sorted(step for step in lefts if all(cell in scores[step] for cell in cells)):
        left = Spent(
            seconds=float(np.mean([each.seconds for each in lefts[step]])),
            images_seen=float(np.mean([each.images_seen for each in lefts[step]])),
        )
        found.append((left, float(np.mean([scores[step][cell] for cell in cells]))))
    return found


def _measured(path: Path, metric: str) -> Iterator[tuple[int, Spent, dict[str, float]]]:
    """(step, what was left to the end, the metric by evaluation) of the points before the end, if the file is there.

    A run that collapsed may have ended at a step at which it kept its encoder: that is its end.
    """
    points = read_json(path)["points"] if path.is_file() else []
    assert isinstance(points, list)
    for point in points[:-1]:
        left = Spent(*(float(points[-1][name]) - float(point[name]) for name in ("seconds", "images_seen")))
        if left.images_seen > 0:
            yield int(point["step"]), left, {cell: float(found[metric]) for cell, found in point["scores"].items()}


def _key(point: Point) -> tuple[str, str, str]:
    return point["row"], point["protocol"], point["labels"]
