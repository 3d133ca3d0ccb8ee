"""Scores along training: what the encoders score that runs kept on their way, in a study that names levels (`time_to`).

Each is judged as the end of its run is: by the first of the study's protocols that takes features as they are, with the
most labels, on every draw of them. Test images are only described by this. Nothing is chosen by it: no step, no row, no
setting. Rows that train on their labels count at their end alone, since a point on their way would cost a training.

cells/HASH/along.json: `protocol`, `labels`, and `points` in the order of the steps, the end of the run last. A point has
`step`, `images_seen`, `seconds` of training up to there, and `scores`: metrics by the hash of the evaluation. A study that
judges by other evaluations now (other labels, other test images) has no use for the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfstudy import catalog, files
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import Protocol
from selfstudy.study._study import Study
from selfstudy.study.plan import Cell
from selfstudy.study.settings import StudySettings
from selfstudy.training import along

NAME = "along.json"


def keep_at(settings: StudySettings) -> Sequence[float]:
    """The shares of its steps at which a run keeps its encoder; none where nobody asks how soon, or nothing could judge it."""
    return along.SHARES if settings.time_to and _judging(settings) else ()


def score_along(study: Study) -> None:
    """Judge what runs have kept whose ends are judged, and delete it. What a killed study left is found again."""
    for name, cells in _judges(study).items():
        folder = study.folder / "cells" / name
        done = [hash for hash in cells if hash in study.outcomes and study.outcomes[hash].status != "failed"]
        if len(done) < len(cells):  # still to come, or tried again by the next call
            continue
        if not (folder / NAME).is_file():
            first = next(iter(cells.values()))
            content = {"protocol": first.protocol, "labels": str(first.labels), "points": _points(study, folder, cells)}
            files.write_json(folder / NAME, content)
        along.forget(folder)


def _judging(settings: StudySettings) -> str:
    """The protocol that judges encoders along training; "" where each of the study's would have to train."""
    kinds = {name: catalog.find("evaluation", name, Protocol) for name in settings.protocols}
    return next((name for name, kind in kinds.items() if kind.needs == "features"), "")


def _judges(study: Study) -> Mapping[str, Mapping[str, Cell]]:
    """By the encoder of each run that has kept any: the evaluations that judge its end, by their hash."""
    if not keep_at(study.settings):
        return {}
    encoders = {name for name in {cell.needs for cell in study.cells} if along.kept(study.folder / "cells" / name)}
    if not encoders:
        return {}
    protocol, most = _judging(study.settings), study.most_labels
    found: dict[str, dict[str, Cell]] = {}
    for cell in study.cells:
        if cell.needs in encoders and (cell.protocol, cell.labels) == (protocol, most):
            found.setdefault(cell.needs, {})[cell.hash] = cell
    return found


def _points(study: Study, folder: Path, cells: Mapping[str, Cell]) -> list[dict[str, Any]]:
    """One for every encoder that was kept and can be judged, and one for the end."""
    points = []
    for path in along.kept(folder):
        place = path.relative_to(study.folder / "cells").as_posix()  # an encoder is found by its folder among the cells
        try:
            scores = {hash: dict(study.bench.judge(replace(cell, needs=place)).metrics) for hash, cell in cells.items()}
        except (UserError, RunError) as error:
            if isinstance(error.__cause__, OSError):  # a disk that takes no more
                raise
            study.progress.say(f"{next(iter(cells.values())).entry} is not scored at {path.name}: {error}")
            continue
        points.append({**study.bench.encoded(place)[0].provenance, "scores": scores})
    card = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    ends = {hash: dict(study.outcomes[hash].metrics) for hash in cells}
    end = {"step": card["steps"], "images_seen": card["images_seen"], "seconds": card["seconds"]}
    return [*points, {**end, "scores": ends}]
