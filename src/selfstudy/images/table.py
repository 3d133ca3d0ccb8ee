"""table: pictures listed in a CSV, Parquet or Excel file, with columns of paths and perhaps of labels, groups, parts."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zipfile import BadZipFile

from selfstudy.errors import UserError, nearest
from selfstudy.images._imageset import Skipped
from selfstudy.images._source import PARTS, Listing, Source, class_name, expand, printable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Table(Source):
    """The last four settings name columns. Empty, group and split mean the columns called so, if there are such."""

    table: Path
    images: Path | Literal[""] = ""  # where relative paths start; empty: the table's own folder
    path: str = "path"
    label: str = "label"
    group: str = ""
    split: str = ""

    def listing(self, labelled: bool) -> Listing:
        file = expand(self.table)
        frame = _read(file)
        root = expand(self.images) if self.images else file.parent
        if not root.is_dir():
            raise UserError(f"the folder {printable(root)} of the pictures does not exist")
        paths = self._column(frame, "path", self.path)
        kept = [row for row, path in enumerate(paths) if path]
        groups = self._column(frame, "group", self.group) if self.group or "group" in frame else []
        splits = self._column(frame, "split", self.split) if self.split or "split" in frame else []
        labels = self._column(frame, "label", self.label) if labelled else []
        parts = [_part(splits[row], file, row) for row in kept] if splits else []
        groups = [groups[row] for row in kept] if groups else []
        _refuse_straddling(groups, parts, file)
        return Listing(
            pictures=[root / expand(paths[row]) for row in kept],
            labels=[class_name(labels[row]) for row in kept] if labels else (),
            groups=groups,
            parts=parts,
            skipped=[Skipped(_line(file, row), "has no path") for row, path in enumerate(paths) if not path],
        )

    def _column(self, frame: "pd.DataFrame", setting: str, column: str) -> list[str]:
        column = column or setting
        if column not in frame:
            known = nearest(column, map(str, frame))
            raise UserError(f'the table {printable(self.table)} has no column "{column}" ({setting}).{known}')
        cells = frame[column]
        return [
            "" if missing else _text(value)
            for value, missing in zip(cells.tolist(), cells.isna().tolist(), strict=True)
        ]


def _read(file: Path) -> "pd.DataFrame":
    """The table, all cells as text where the format allows it, so that "007" stays what it is."""
    import pandas as pd

    if not file.is_file():
        raise UserError(f"the table {printable(file)} {'is a folder' if file.is_dir() else 'does not exist'}")
    readers: dict[str, Callable[[], pd.DataFrame]] = {
        ".csv": lambda: _read_csv(file),
        ".tsv": lambda: _read_csv(file),
        ".txt": lambda: _read_csv(file),
        ".parquet": lambda: pd.read_parquet(file),
        ".xlsx": lambda: pd.read_excel(file, dtype=str, keep_default_na=False),
    }
    if file.suffix.lower() not in readers:
        raise UserError(f"the table {printable(file)} is of no known kind.{nearest(file.suffix.lower(), readers)}")
    try:
        frame = readers[file.suffix.lower()]()
    except ImportError:
        package = {".xlsx": "openpyxl", ".parquet": "pyarrow"}[file.suffix.lower()]
        advice = f"pip install {package}, or save the table as CSV"
        raise UserError(f"to read {printable(file)} the package {package} is needed: {advice}") from None
    except UnicodeDecodeError:
        raise UserError(f'the table {printable(file)} is not UTF-8 text; in Excel save it as "CSV UTF-8"') from None
    except pd.errors.ParserWarning:
        reason = "its rows have more cells than its first row; is a separator inside a cell without quotes?"
        raise UserError(f"the table {printable(file)} cannot be read: {reason}") from None
    except (ValueError, OSError, LookupError, BadZipFile) as error:  # the parsers' own errors are of these kinds
        raise UserError(f"the table {printable(file)} cannot be read: {printable(str(error).strip())}") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.empty:
        raise UserError(f"the table {printable(file)} has no rows")
    return frame


def _read_csv(file: Path) -> "pd.DataFrame":
    import pandas as pd

    encoding = "utf-8-sig"  # Excel marks its UTF-8
    with file.open(encoding=encoding) as lines:
        header = lines.readline()
    separator = max(",;\t", key=header.count)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # without index_col=False rows that are too long would move every cell by one column
        return pd.read_csv(
            file,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            encoding=encoding,
            index_col=False,
        )


def _text(value: object) -> str:
    """A cell as text; numbers without a trailing .0, which tables get when a cell of their column is empty."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _part(text: str, file: Path, row: int) -> str:
    """A row that belongs to no part is there to learn from."""
    if not text:
        return "train"
    if text.lower() not in PARTS:
        raise UserError(f'{_line(file, row)}: the split is "{printable(text)}".{nearest(text.lower(), PARTS)}')
    return PARTS[text.lower()]


def _refuse_straddling(groups: list[str], parts: list[str], file: Path) -> None:
    part_of: dict[str, str] = {}
    for group, part in zip(groups, parts, strict=False):  # either may be missing altogether
        if group and part_of.setdefault(group, part) != part:
            raise UserError(
                f'the table {printable(file)} has pictures of the group "{printable(group)}" in both train and test'
            )


def _line(file: Path, row: int) -> str:
    return f"{printable(file)}, row {row + 2}"  # the header is row 1
