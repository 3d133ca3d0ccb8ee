"""Trials as a study's folder tells of them: trials.csv, what all of them cost, and the run that stands for a row.

trials.csv has a line for every evaluation of every trial, and one for each trial of a search on the labels inside it. No
test score is among its columns: none was looked at.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from selfstudy.errors import UserError

if TYPE_CHECKING:
    from selfstudy.study._record import StudyRecord

FILE = "trials.csv"
PLACE = ["entry", "unlabelled", "seed", "protocol", "labels", "draw"]  # what every trial has one evaluation of
COLUMNS = (
    "study", "entry", "method", "backbone", "unlabelled", "labels", "protocol", "seed", "draw",
    "trial",  # of pretraining; 0 is the row as it is written
    "pretraining_lr", "pretraining_weight_decay", "fold", "label_trial", "lr", "weight_decay", "class_weight",
    "metric", "validation_score", "seconds", "encoder", "cell", "status", "chosen",
)  # fmt: skip


def read_trials(folder: Path, settings: Mapping[str, object]) -> pd.DataFrame:
    """One line for every evaluation in trials.csv: PLACE, cell and seconds. Empty where nothing was searched.

    Raises UserError if the file is damaged.
    """
    path, names = folder / FILE, [*PLACE, "cell", "seconds"]
    if not settings.get("tune") or not path.is_file():  # a file that an earlier call left says nothing of this study
        return pd.DataFrame(columns=names)
    words = dict.fromkeys(("entry", "protocol", "labels", "cell"), "str")
    try:
        table = pd.read_csv(path, dtype=words, keep_default_na=False, na_values={"seconds": [""]})
        return table[names].drop_duplicates([*PLACE, "cell"]).astype({"unlabelled": "float64", "seconds": "float64"})
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not a table of trials: {error}") from None


def count_all(table: pd.DataFrame, tried: pd.DataFrame) -> pd.DataFrame:
    """The results with the seconds of all trials of a place in place of the chosen one's: that is what choosing it took."""
    if tried.empty:
        return table
    spent = tried.groupby(PLACE)["seconds"].sum()
    found = spent.reindex(pd.MultiIndex.from_frame(table[PLACE])).to_numpy()
    return table.assign(seconds=np.where(np.isnan(found), table["seconds"], found))


def standing(record: "StudyRecord", entry: str, unlabelled: float, seed: int) -> int:
    """The trial whose run stands for a row and a seed: the one chosen most often at the most labels, of equal ones the first.

    By the protocol that decides for the row. Before there are scores, the first that did not fail or collapse.
    """
    runs, table = record.trials[entry, unlabelled, seed], record.table
    if len(runs) == 1:
        return next(iter(runs))
    own = table[(table["entry"] == entry) & (table["unlabelled"] == unlabelled) & table["value"].notna()]
    protocol = next((name for name in record.protocols if name in set(own["protocol"])), "")
    own = own[(own["seed"] == seed) & (own["protocol"] == protocol)].drop_duplicates("cell")
    if own.empty:
        healthy = (trial for trial, path in runs.items() if record.run_card(path)["status"] == "done")
        return next(healthy, next(iter(runs)))
    most = max(own["labels"].unique(), key=record.num_labels)
    trial_of = {cell["hash"]: cell.get("trial", 0) for cell in record.plan if cell["entry"] == entry}
    chosen = Counter(trial_of.get(cell) for cell in own.loc[own["labels"] == most, "cell"])
    return max(runs, key=lambda trial: chosen[trial])
