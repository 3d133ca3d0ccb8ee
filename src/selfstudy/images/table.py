"""table: pictures listed in a CSV, Parquet or Excel file, with columns of paths and perhaps of labels, groups, parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from selfstudy.errors import UserError, nearest
from selfstudy.images._imageset import Skipped
from selfstudy.images._names import class_name, expand, printable
from selfstudy.images._source import PARTS, Listing, Source
from selfstudy.images._tables import column_of, line_of, read_table, refuse_straddling

if TYPE_CHECKING:
    import pandas as pd

# How people mark that a picture has an attribute; -1 is what CelebA and its kin write for "has not".
_MARKS = {
    **dict.fromkeys(("1", "yes", "true", "x"), 1),
    **dict.fromkeys(("0", "-1", "no", "false"), 0),
    **dict.fromkeys(("", "?", "nan"), -1),
}


@dataclass(frozen=True, kw_only=True)
class Table(Source):
    """path, label, labels, group and split name columns; empty, the last two mean the columns called so, if there are such.

    `labels` instead of `label`: columns of attributes, any number of which a picture has. 1, yes, true or x: it has it;
    0, -1, no or false: it has not; empty or ?: unknown.
    """

    table: Path
    images: Path | Literal[""] = ""  # where relative paths start; empty: the table's own folder
    sheet: str = ""  # of an Excel file; empty: the first
    path: str = "path"
    label: str = "label"
    labels: tuple[str, ...] = ()
    group: str = ""
    split: str = ""

    def listing(self, labelled: bool) -> Listing:
        file = expand(self.table)
        frame = read_table(file, self.sheet)
        root = expand(self.images) if self.images else file.parent
        if not root.is_dir():
            raise UserError(f"the folder {printable(root)} of the pictures does not exist")
        paths = self._column(frame, "path", self.path)
        kept = [row for row, path in enumerate(paths) if path]
        groups = self._column(frame, "group", self.group) if self.group or "group" in frame else []
        splits = self._column(frame, "split", self.split) if self.split or "split" in frame else []
        labels = self._column(frame, "label", self.label) if labelled and not self.labels else []
        parts = [_part(splits[row], file, row) for row in kept] if splits else []
        groups = [groups[row] for row in kept] if groups else []
        refuse_straddling(f"the table {printable(file)}", groups, parts)
        return Listing(
            pictures=[root / expand(paths[row]) for row in kept],
            labels=[class_name(labels[row]) for row in kept] if labels else (),
            attributes=[class_name(name) for name in self.labels] if labelled else (),
            marks=self._marks(frame, kept) if labelled and self.labels else None,
            groups=groups,
            parts=parts,
            skipped=[Skipped(line_of(file, row), "has no path") for row, path in enumerate(paths) if not path],
        )

    def _marks(self, frame: "pd.DataFrame", rows: Sequence[int]) -> np.ndarray:
        """Int8 [rows, attributes]."""
        file = expand(self.table)
        columns = [self._column(frame, "labels", name) for name in self.labels]
        for name, cells in zip(self.labels, columns, strict=True):
            for row in rows:
                if cells[row].lower() not in _MARKS:
                    expected = "1, yes, true, x, 0, -1, no, false, or nothing where it is unknown"
                    raise UserError(
                        f'{line_of(file, row)}: {name} is "{printable(cells[row])}", but must be {expected}'
                    )
        return np.array([[_MARKS[cells[row].lower()] for cells in columns] for row in rows], dtype=np.int8)

    def _column(self, frame: "pd.DataFrame", setting: str, column: str) -> list[str]:
        return column_of(frame, self.table, setting, column or setting)


def _part(text: str, file: Path, row: int) -> str:
    """A row that belongs to no part is there to learn from."""
    if not text:
        return "train"
    if text.lower() not in PARTS:
        raise UserError(f'{line_of(file, row)}: the split is "{printable(text)}".{nearest(text.lower(), PARTS)}')
    return PARTS[text.lower()]
