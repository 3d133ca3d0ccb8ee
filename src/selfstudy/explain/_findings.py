"""Findings: what an analysis leaves behind, and how it lies in a folder.

What an analysis found lies in a folder under its name, and nothing of it is a pickle:

    NAME.json        {"analysis", "version", "settings", "about", "sentence", "numbers", "table", "pictures"}, written last
    NAME.csv         the table; the JSON's "table" is its name, or "" where there is none
    NAME-PICTURE.png each of the JSON's "pictures": {"name", "file", "caption", "alternative"}, in the order to show them

"sentence" is one plain sentence, "numbers" maps names to what it rests on (never NaN: what is not defined is left out),
"about" names what was explained. `saved(folder)` gives the names, `load(folder, name)` the Findings; sheets have a
transparent ground, so that they stand on light and dark pages.

In a study they lie in `cells/HASH/explain/`, HASH being the encoder's cell (of a row that trains on its labels from
scratch: its evaluation's), for seed 0 of every row; "about" holds entry, unlabelled, seed, protocol, labels and draw.
`STUDY/explain/agreement.csv` holds the agreement of all pairs of rows on the same images: columns first, second (names
of rows), method, num_images, rmse, ssim, rank, and floor_rmse, floor_ssim, floor_rank: the same three between two seeds
of the first row (empty where it has one seed). A line with first = second is that floor itself.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from selfstudy import files
from selfstudy.errors import UserError

# Columns of names in every table, so that an id or a class of digits is not read back as a number.
WORDS = ("id", "path", "label", "answer", "neighbour", "neighbour_label", "asked", "first", "second", "method", "stage")


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A small picture that shows what was found."""

    pixels: np.ndarray  # uint8 [H, W, 3], or [H, W, 4] with a transparent ground
    caption: str  # how to read it, in whole sentences
    alternative: str  # what it says, for whoever cannot see it


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What an analysis found."""

    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)  # finite: what the sentence rests on
    table: pd.DataFrame = field(default_factory=pd.DataFrame)  # numbers and names; may be empty
    pictures: Mapping[str, Picture] = field(default_factory=dict)  # by names that can be part of a file's name


def save(findings: Findings, folder: Path, name: str, how: Mapping[str, object]) -> None:
    """Write what the analysis `name` found, as the top of this file says. `how` holds version, settings and about."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for key, picture in findings.pictures.items():
        file = f"{name}-{key}.png"
        content = io.BytesIO()
        Image.fromarray(picture.pixels).save(content, format="PNG", optimize=True)
        files.write_bytes(folder / file, content.getvalue())
        pictures.append({"name": key, "file": file, "caption": picture.caption, "alternative": picture.alternative})
    table = f"{name}.csv" if len(findings.table.columns) else ""
    if table:
        files.write_text(folder / table, findings.table.to_csv(index=False, lineterminator="\n"))
    record = {
        "analysis": name, **how, "sentence": findings.sentence, "numbers": dict(findings.numbers), "table": table,
        "pictures": pictures,
    }  # fmt: skip
    files.write_json(folder / f"{name}.json", record)


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """NAME.json of a folder. UserError if it is missing or damaged."""
    path = folder / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(record, dict) or "sentence" not in record:
        raise UserError(f"{path} holds no findings of an analysis")
    return record


def load(folder: Path, name: str) -> Findings:
    """What an analysis left in a folder. Words stay words: an id of digits is not a number. UserError if it is damaged."""
    record = read_record(folder, name)
    try:
        table = _read_table(folder / record["table"]) if record["table"] else pd.DataFrame()
        pictures = {
            shown["name"]: Picture(
                pixels=np.asarray(Image.open(folder / shown["file"])),
                caption=shown["caption"], alternative=shown["alternative"],
            )
            for shown in record["pictures"]
        }  # fmt: skip
        return Findings(sentence=record["sentence"], numbers=record["numbers"], table=table, pictures=pictures)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the findings of {name} in {folder} are damaged: {error}") from None


def saved(folder: Path) -> list[str]:
    """The analyses whose findings lie in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.json"))


def _read_table(path: Path) -> pd.DataFrame:
    """A table with its words as words; a cell without a number is NaN."""
    numbers = [name for name in pd.read_csv(path, nrows=0).columns if name not in WORDS]
    words = dict.fromkeys(WORDS, str)
    return pd.read_csv(path, dtype=words, keep_default_na=False, na_values={name: [""] for name in numbers})
