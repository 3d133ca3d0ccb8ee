"""Reading tables of any kind as text, and their columns."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from selfstudy.errors import UserError, nearest
from selfstudy.images._names import printable

if TYPE_CHECKING:
    import pandas as pd


def read_table(file: Path, sheet: str = "") -> "pd.DataFrame":
    """The table, all cells as text where the format allows it, so that "007" stays what it is. `sheet` is of Excel."""
    import pandas as pd

    if not file.is_file():
        raise UserError(f"the table {printable(file)} {'is a folder' if file.is_dir() else 'does not exist'}")
    kind = file.suffix.lower()
    if sheet and kind != ".xlsx":
        raise UserError(f'the table {printable(file)} has no sheets, but sheet is "{printable(sheet)}": leave it out')
    readers: dict[str, Callable[[], pd.DataFrame]] = {
        ".csv": lambda: _read_csv(file),
        ".tsv": lambda: _read_csv(file),
        ".txt": lambda: _read_csv(file),
        ".parquet": lambda: pd.read_parquet(file),
        ".xlsx": lambda: _read_excel(file, sheet),
    }
    if kind not in readers:
        raise UserError(f"the table {printable(file)} is of no known kind.{nearest(kind, readers)}")
    try:
        frame = readers[kind]()
    except ImportError:
        package = {".xlsx": "openpyxl", ".parquet": "pyarrow"}[kind]
        advice = f"pip install {package}, or save the table as CSV"
        raise UserError(f"to read {printable(file)} the package {package} is needed: {advice}") from None
    except UnicodeDecodeError:
        raise UserError(f'the table {printable(file)} is not UTF-8 text; in Excel save it as "CSV UTF-8"') from None
    except pd.errors.ParserWarning:
        reason = "its rows have more cells than its first row; is a separator inside a cell without quotes?"
        raise UserError(f"the table {printable(file)} cannot be read: {reason}") from None
    except UserError:
        raise
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


def _read_excel(file: Path, sheet: str) -> "pd.DataFrame":
    import pandas as pd

    with pd.ExcelFile(file) as book:
        names = [str(name) for name in book.sheet_names]
        if sheet and sheet not in names:
            raise UserError(f'the table {printable(file)} has no sheet "{printable(sheet)}".{nearest(sheet, names)}')
        return pd.read_excel(book, sheet_name=sheet or 0, dtype=str, keep_default_na=False)


def column_of(frame: "pd.DataFrame", file: Path, setting: str, column: str) -> list[str]:
    """The cells of a column as text, "" where empty; a column that is not there is refused with the nearest one."""
    if column not in frame:
        known = nearest(column, map(str, frame))
        raise UserError(f'the table {printable(file)} has no column "{column}" ({setting}).{known}')
    cells = frame[column]
    return ["" if gone else text_of(value) for value, gone in zip(cells.tolist(), cells.isna().tolist(), strict=True)]


def text_of(value: object) -> str:
    """A cell as text; numbers without a trailing .0, which tables get when a cell of their column is empty."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def line_of(file: Path, row: int) -> str:
    """The place of a row, counted from 0, for people: the header is row 1."""
    return f"{printable(file)}, row {row + 2}"


def refuse_straddling(name: str, groups: Sequence[str], parts: Sequence[str]) -> None:
    """Raise UserError if a group has pictures to learn from and pictures to test. Either may be missing altogether."""
    part_of: dict[str, str] = {}
    for group, part in zip(groups, parts, strict=False):
        if group and part != "unlabelled" and part_of.setdefault(group, part) != part:
            raise UserError(f'{name} has pictures of the group "{printable(group)}" in both train and test')
