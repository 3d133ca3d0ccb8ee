"""StudyRecord: what a study folder holds, read once. Unfinished studies and failed cells are welcome.

T test images, in the order of splits.json. A cell is one evaluation; a run is one pretraining.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from selfstudy import config
from selfstudy.errors import UserError
from selfstudy.study._trials import count_all, read_trials, standing

Kind = Literal["majority", "untrained", "supervised", "learned"]

BASELINES: Mapping[str, Kind] = {"majority": "majority", "random": "untrained", "supervised": "supervised"}
COLUMNS: Mapping[str, str] = {  # of results.csv; labels are words, such as "10" and "all"
    "study": "str", "entry": "str", "method": "str", "backbone": "str", "weights": "str", "unlabelled": "float64",
    "labels": "str", "protocol": "str", "seed": "int64", "draw": "int64", "split": "str", "metric": "str",
    "value": "float64", "seconds": "float64", "cell": "str", "status": "str",
}  # fmt: skip
RunKey = tuple[str, float, int]  # (entry, unlabelled, seed)


@dataclass(frozen=True, order=True)
class Row:
    """One row of the study: an entry pretrained on one fraction of the unlabelled images."""

    name: str  # the entry's name; with the fraction where the study varies it
    entry: str
    unlabelled: float
    kind: Kind


class Gap(TypedDict):
    """Evaluations of a row at a label count that the plan holds and that have no score."""

    row: str
    labels: str
    planned: int
    failed: int  # of those without a score; the others are still to come
    to_come: int


@dataclass(frozen=True, eq=False)
class StudyRecord:
    """A study folder in memory; predictions and training curves are read when asked for."""

    folder: Path
    settings: Mapping[str, object]  # study.yaml
    table: pd.DataFrame  # results.csv, columns COLUMNS, one row per number; no value where a cell failed
    tried: pd.DataFrame  # trials.csv, one row per evaluation; the seconds in `table` are those of all trials
    classes: tuple[str, ...]
    num_train: int  # images (pages where images are tiles) that labels may be drawn from
    fold_size: int  # images of a published draw of labels; 0 where there are none
    test_labels: np.ndarray  # int64 [T] of classes, or [T, A] of attributes: 1 has it, 0 not, -1 unknown
    test_groups: np.ndarray  # str [T]
    plan: tuple[Mapping[str, object], ...]  # the cells of plan.json, done or not
    rounds: (
        np.ndarray
    )  # int64 [R, T]: in cross-validation the fold of each image in the rounds, draw by draw; else R = 0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a study folder. Raises UserError if it is none, or if a file in it is damaged."""
        if not (folder / "study.yaml").is_file():
            raise UserError(f"{folder} is not a study folder: it holds no study.yaml")
        for name in ("splits.json", "plan.json"):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} holds a study that has not begun, as there is no {name} yet; run it with `selfstudy study` first"
                )
        splits, plan = folder / "splits.json", folder / "plan.json"
        settings = config.read_yaml(folder / "study.yaml")
        tried = read_trials(folder, settings)
        return cls(
            folder=folder,
            settings=settings,
            table=count_all(_read_table(folder / "results.csv"), tried),
            tried=tried,
            classes=tuple(str(name) for name in _read_list(splits, "classes")),
            num_train=int(str(read_json(splits).get("num_labelled", len(_read_list(splits, "train"))))),
            fold_size=int(str(read_json(splits).get("fold_size", 0))),
            test_labels=np.asarray(_read_list(splits, "test_labels"), dtype=np.int64),
            test_groups=np.asarray(_read_list(splits, "test_groups"), dtype=str),
            plan=tuple(_read_list(plan, "cells")),
            rounds=np.asarray(read_json(splits).get("rounds", []), dtype=np.int64),
        )

    @property
    def num_folds(self) -> int:
        """Of each round of cross-validation; 0 where there is one test part."""
        return int(self.rounds.max()) + 1 if self.rounds.size else 0

    @cached_property
    def unit(self) -> Literal["image", "page"]:
        """What has a label and is tested: an image, or a page of which the images are tiles."""
        return "page" if read_json(self.folder / "splits.json").get("test_pages") else "image"

    @property
    def multi_label(self) -> bool:
        """Whether an image has any number of attributes rather than one class: test_labels is then [T, A]."""
        return self.test_labels.ndim == 2

    @property
    def num_trials(self) -> int:
        """Of the settings of every row; 1 where the study searched none."""
        tune = self.settings.get("tune", {})
        return int(tune.get("trials", 1)) if isinstance(tune, Mapping) else 1

    @cached_property
    def trials(self) -> Mapping[RunKey, Mapping[int, Path]]:
        """The folders of all pretraining runs that have begun, by the number of the trial.

        An untrained encoder is a run of no steps.
        """
        found: dict[RunKey, dict[int, Path]] = {}
        for cell in self.plan:
            path = self.folder / "cells" / str(cell["hash"])
            if cell["kind"] == "pretrain" and (path / "run.json").is_file():
                found.setdefault(_run_key(cell), {})[int(str(cell.get("trial", 0)))] = path
        return found

    @cached_property
    def runs(self) -> Mapping[RunKey, Path]:
        """The run that stands for each row and seed: its only one, or that of the trial chosen most often."""
        return {key: trials[standing(self, *key)] for key, trials in self.trials.items()}

    @cached_property
    def metric(self) -> str:
        """The metric that decides: the study's, or by the balance of the test classes (macro_f1 above 2:1)."""
        metric = str(self.settings.get("metric", "by_balance"))
        if metric != "by_balance":
            return metric
        if self.multi_label:
            return "macro_auc"  # which no threshold and no balance decides
        counts = np.bincount(self.test_labels)
        return "macro_f1" if counts.max() > 2 * counts[counts > 0].min() else "accuracy"

    @property
    def margin(self) -> float:
        """Differences inside it do not matter to the user; 0.01 is one point."""
        return float(self.settings.get("margin", 0.01))  # type: ignore[arg-type]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label counts, fewest first."""
        found = [str(labels) for labels in _as_list(self.settings.get("labels", []))]
        found += [labels for labels in self.table["labels"].unique() if labels not in found]
        return tuple(sorted(found, key=self.num_labels))

    def num_labels(self, labels: str) -> float:
        """About how many labelled images "10" (per class), "0.1", "total:200", "fold" or "all" stand for."""
        if labels == "all":
            return float(self.num_train)
        if labels == "fold":
            return float(max(1, self.fold_size))
        if labels.startswith("total:"):
            return float(labels.removeprefix("total:"))
        return float(labels) * (len(self.classes) if labels.isdigit() else self.num_train)

    @cached_property
    def entries(self) -> Mapping[str, str]:
        """The method of every row that the study asks for, by the row's name, in the order of the study file."""
        backbone = self.settings.get("backbone", "")
        several = [str(name) for name in backbone] if isinstance(backbone, list) else []
        asked = [
            pair for item in _as_list(self.settings.get("methods", [])) for pair in _names_and_methods(item, several)
        ]
        extended = self.table[["entry", "method"]].drop_duplicates().itertuples(index=False, name=None)
        return {**dict(asked), **dict(extended)}

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows with results, in the order of the study file."""
        rows = []
        for entry, method in self.entries.items():
            fractions = sorted(self.table.loc[self.table["entry"] == entry, "unlabelled"].unique().tolist())
            rows += [
                Row(_row_name(entry, fraction, len(fractions)), entry, fraction, _kind(method))
                for fraction in fractions
            ]
        return tuple(rows)

    @property
    def rows_without_results(self) -> tuple[Row, ...]:
        """The rows that the study asks for and that have no score yet, or whose pretraining failed."""
        there = {row.entry for row in self.rows}
        return tuple(
            Row(entry, entry, 1.0, _kind(method)) for entry, method in self.entries.items() if entry not in there
        )

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of frozen features; the first one decides."""
        return tuple(str(name) for name in _as_list(self.settings.get("protocols", [])))

    def protocol(self, row: Row) -> str:
        """The protocol a row is judged by: the study's first if the row has it, else the row's own."""
        own = list(self.table.loc[self.of(row), "protocol"].unique())
        return next((name for name in self.protocols if name in own), own[0])

    def of(self, row: Row) -> pd.Series:
        """Which lines of the table belong to a row, bool."""
        return (self.table["entry"] == row.entry) & (self.table["unlabelled"] == row.unlabelled)

    def backbone(self, row: Row) -> str:
        """The encoder's name; "none" for a row without one."""
        return str(self.table.loc[self.of(row), "backbone"].iloc[0])

    def scores_of(self, row: Row) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
        """((protocol, labels), the deciding metric of its cells): columns seed, draw, value, seconds, cell, status.

        By protocol, then fewest labels first; no failed cells, and nothing where no cell has a score.
        """
        table = self.table[self.of(row)]
        protocols = table["protocol"].unique().tolist()
        table = table[(table["metric"] == self.metric) & (table["split"] == "test") & table["value"].notna()]
        by_place = dict(iter(table.groupby(["protocol", "labels"], sort=False)))
        for protocol in protocols:
            for labels in self.labels:
                if (protocol, labels) in by_place:
                    found = by_place[protocol, labels][["seed", "draw", "value", "seconds", "cell", "status"]]
                    yield (protocol, labels), found.reset_index(drop=True)

    def scores(self, row: Row, protocol: str, labels: str) -> pd.DataFrame:
        """The deciding metric of a row's cells: columns seed, draw, value, seconds, cell, status. No failed cells."""
        table = self.table[self.of(row)]
        table = table[(table["protocol"] == protocol) & (table["labels"] == labels) & (table["metric"] == self.metric)]
        table = table[(table["split"] == "test") & table["value"].notna()]
        return table[["seed", "draw", "value", "seconds", "cell", "status"]].reset_index(drop=True)

    def evaluation(self, cell: str) -> dict[str, Any]:
        """The scores.json of an evaluation; nothing where it is missing."""
        path = self.folder / "cells" / cell / "scores.json"
        return read_json(path) if path.is_file() else {}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What is missing, in the order of the rows and of the label counts."""
        scored = set(self.table.loc[self.table["value"].notna(), "cell"])
        done = {*self.table["cell"], *self.tried["cell"]}
        places: dict[tuple[str, str], dict[tuple[object, ...], list[object]]] = {}
        for cell in self.plan:  # every trial of a row has a cell at a place, and one of them is the score
            if cell["kind"] == "evaluate":
                place = tuple(cell[name] for name in ("unlabelled", "seed", "protocol", "draw"))
                group = places.setdefault((str(cell["entry"]), str(cell["labels"])), {})
                group.setdefault(place, []).append(cell["hash"])
        gaps = []
        for row, labels in itertools.product(self.entries, self.labels):
            cells = list(places.get((row, labels), {}).values())
            to_come = sum(not done.issuperset(trials) for trials in cells)
            failed = sum(done.issuperset(trials) and scored.isdisjoint(trials) for trials in cells)
            if to_come or failed:
                gaps.append(Gap(row=row, labels=labels, planned=len(cells), failed=failed, to_come=to_come))
        return tuple(gaps)

    def predictions(self, cell: str) -> np.ndarray:
        """Class per test image, int64 [T], or attributes, int64 [T, A], as the cell predicted them.

        Raises UserError if the file is missing or damaged.
        """
        return self._answers(cell, "predictions")

    def probabilities(self, cell: str) -> np.ndarray:
        """Of every class or attribute, float32 [T, K]. Raises UserError as `predictions` does."""
        return self._answers(cell, "probabilities")

    def answers(self, cell: str) -> np.ndarray:
        """What the metrics score: predictions of classes, probabilities of attributes."""
        return self.probabilities(cell) if self.multi_label else self.predictions(cell)

    def _answers(self, cell: str, name: str) -> np.ndarray:
        path = self.folder / "cells" / cell / "predictions.safetensors"
        try:
            answers = safetensors.numpy.load_file(path)[name]
        except (OSError, KeyError, safetensors.SafetensorError):
            raise UserError(
                f"{path} is missing or damaged; delete the folder {path.parent.name} and run the study again"
            ) from None
        if len(answers) != len(self.test_labels):
            raise UserError(
                f"{path} holds {len(answers)} predictions, but the study tests on {len(self.test_labels)} images"
            )
        return answers

    def run_card(self, path: Path) -> dict[str, object]:
        """The run.json of a run folder."""
        return read_json(path / "run.json")

    def trial_cards(self, row: "Row") -> list[dict[str, object]]:
        """The run.json of every pretraining of a row: all seeds, all trials."""
        runs = [trials for key, trials in self.trials.items() if key[:2] == (row.entry, row.unlabelled)]
        return [self.run_card(path) for trials in runs for path in trials.values()]

    def metrics(self, path: Path) -> pd.DataFrame:
        """The training curves of a run folder, one row per logged step; empty if nothing was logged."""
        log = path / "metrics.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        return pd.DataFrame(
            [json.loads(line) for line in lines if line.endswith("}")]
        )  # a killed run may leave half a line


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file. Raises UserError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold an object, but holds {type(content).__name__}")
    return content


def _read_list(path: Path, name: str) -> list[Any]:
    """One list of a JSON file. Raises UserError if it has none of that name."""
    found = read_json(path).get(name)
    if not isinstance(found, list):
        raise UserError(
            f"{path} has no list of {name}, so it was not written by a version of selfstudy that this one can read"
        )
    return found


def _read_table(path: Path) -> pd.DataFrame:
    """results.csv with fixed dtypes; an empty table before the first result."""
    if not path.is_file():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    words = {name: kind for name, kind in COLUMNS.items() if kind == "str"}
    try:
        table = pd.read_csv(
            path, dtype=words, keep_default_na=False, na_values={"value": [""], "seconds": [""], "unlabelled": [""]}
        )
        table["unlabelled"] = table["unlabelled"].astype("float64").fillna(1.0)
        return table[list(COLUMNS)].astype(COLUMNS)
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not a table of results: {error}") from None


def _run_key(cell: Mapping[str, object]) -> RunKey:
    return str(cell["entry"]), float(str(cell["unlabelled"])), int(str(cell["seed"]))


def _names_and_methods(item: object, backbones: Sequence[str]) -> list[tuple[str, str]]:
    """Of a row in `methods:`, where it is `simclr` or `simclr: {as: name}`; with several backbones one for each."""
    [(method, values)] = item.items() if isinstance(item, Mapping) else [(item, {})]
    method, values = Path(str(method)).stem, values or {}
    name = str(values.get("as", method))
    if not backbones or method in ("majority", "pretrained") or "backbone" in values:
        return [(name, method)]
    return [(f"{name} {backbone}", method) for backbone in backbones]


def _row_name(entry: str, unlabelled: float, num_fractions: int) -> str:
    return f"{entry} on {100 * unlabelled:g} % of the images" if num_fractions > 1 else entry


def _kind(method: str) -> Kind:
    return BASELINES.get(method, "learned")


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]
