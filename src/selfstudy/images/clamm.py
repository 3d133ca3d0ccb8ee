"""clamm: CLaMM, pages of medieval Latin manuscripts in 12 types of script and 15 periods, as grey TIFF files with tables.

Source  Cloppet et al., ICDAR 2017 competition on the classification of medieval handwritings in Latin script: 3,540 pages to
        train with, 2,000 of its tasks 1 and 3, from https://clamm.irht.cnrs.fr. Tables: FILENAME;SCRIPT_TYPE;DATE_TYPE.
How     All tables and pictures below the folder are one set. 70 % of the pages of every script are to train with, 10 % to
        validate and 20 % to test, drawn by the names of files with seed 42. Choices are made by cross-validation here, so
        the validation pages are learnt from. The script decides the draw even if dates are asked for: an encoder
        pretrained for one task has then not seen the test pages of the other.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfstudy.errors import UserError
from selfstudy.images._decode import SUFFIXES
from selfstudy.images._names import class_name, expand, printable
from selfstudy.images._source import Listing, Source
from selfstudy.images._tables import column_of, read_table
from selfstudy.images._units import priorities
from selfstudy.rng import Rng

_TEST_SHARE, _SEED = 0.2, 42
# The competition's codes, 1 and up, in its own order.
_SCRIPTS = (
    "Caroline", "Cursiva", "Half-Uncial", "Humanistic", "Humanistic Cursive", "Hybrida", "Praegothica", "Semihybrida",
    "Semitextualis", "Southern Textualis", "Textualis", "Uncial",
)  # fmt: skip
_PERIODS = (
    "500-1000", "1001-1100", "1101-1200", "1201-1250", "1251-1300", "1301-1350", "1351-1400", "1401-1425", "1426-1450",
    "1451-1475", "1476-1500", "1501-1525", "1526-1550", "1551-1575", "1576-1600",
)  # fmt: skip
_COLUMNS = {"script": "SCRIPT_TYPE", "date": "DATE_TYPE"}


@dataclass(frozen=True, slots=True)
class _Page:
    path: Path
    name: str  # as the table writes it
    script: str
    label: str
    group: str  # "" if a page is a group of its own


@dataclass(frozen=True, kw_only=True)
class Clamm(Source):
    """`clamm:FOLDER`. Pictures that no table names have no label, and are only ever pretrained on."""

    clamm: Path
    label: Literal["script", "date"] = "script"
    group: str = ""  # a column that names the manuscript, whose pages then stay in one part; empty: MANUSCRIPT if there

    def listing(self, labelled: bool) -> Listing:
        root = expand(self.clamm)
        if not root.is_dir():
            raise UserError(f"the folder {printable(root)} {'is a file' if root.exists() else 'does not exist'}")
        pictures, tables = _find(root)
        if not tables:
            raise UserError(
                f"no table below {printable(root)} begins with FILENAME;SCRIPT_TYPE;DATE_TYPE: put the CSV files of "
                "https://clamm.irht.cnrs.fr beside the pages"
            )
        pages: dict[Path, _Page] = {}
        for table in tables:
            for page in self._pages(table, _index(pictures)):
                known = pages.setdefault(page.path, page)
                if (known.script, known.label) != (page.script, page.label):
                    raise UserError(
                        f"{printable(table)} gives {printable(page.path)} another class than a table before it"
                    )
        named = list(pages.values())
        others = [path for path in pictures if path not in pages]
        tested = _draw_test(named)
        return Listing(
            pictures=[page.path for page in named] + others,
            labels=[page.label for page in named] + [""] * len(others) if labelled else (),
            groups=[page.group for page in named] + [""] * len(others),
            parts=["test" if _unit(page) in tested else "train" for page in named] + ["unlabelled"] * len(others),
        )

    def _pages(self, table: Path, pictures: dict[str, list[Path]]) -> Iterator[_Page]:
        frame = read_table(table)
        names = column_of(frame, table, "file", "FILENAME")
        scripts = column_of(frame, table, "label", "SCRIPT_TYPE")
        labels = column_of(frame, table, "label", _COLUMNS[self.label])
        group = self.group or ("MANUSCRIPT" if "MANUSCRIPT" in frame else "")
        groups = column_of(frame, table, "group", group) if group else [""] * len(names)
        words = _SCRIPTS if self.label == "script" else _PERIODS
        for name, script, label, group in zip(names, scripts, labels, groups, strict=True):
            if name:
                yield _Page(_path(name, table, pictures), name, script, _in_words(label, words), group)


def _find(root: Path) -> tuple[list[Path], list[Path]]:
    """Pictures and the competition's tables below the folder, both sorted."""
    pictures, tables = list[Path](), list[Path]()
    for folder, _, files in os.walk(root):
        for file in files:
            path = Path(folder, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                pictures.append(path)
            elif path.suffix.lower() == ".csv":
                with path.open(encoding="utf-8-sig", errors="replace") as lines:
                    header = lines.readline()
                if "FILENAME" in header and "SCRIPT_TYPE" in header:
                    tables.append(path)
    return sorted(pictures), sorted(tables)


def _index(pictures: Sequence[Path]) -> dict[str, list[Path]]:
    """Pictures by name, and by name without suffix, in small letters."""
    found = defaultdict[str, list[Path]](list)
    for path in pictures:
        found[path.name.lower()].append(path)
        found[path.stem.lower()].append(path)
    return found


def _path(name: str, table: Path, pictures: dict[str, list[Path]]) -> Path:
    """Where the page lies: beside its table or below, else wherever there is just one of that name."""
    found = pictures.get(name.lower()) or pictures.get(Path(name).stem.lower(), [])
    near = [path for path in found if path.is_relative_to(table.parent)]
    beside = [path for path in near if path.parent == table.parent]
    for candidates in (beside, near, found):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            places = " and ".join(printable(path) for path in candidates[:2])
            raise UserError(f"{printable(table)} names {printable(name)}, which is both {places}: keep one of them")
    return table.parent / name  # it will be reported as missing when it is read


def _in_words(code: str, words: Sequence[str]) -> str:
    return words[int(code) - 1] if code.isdecimal() and 1 <= int(code) <= len(words) else class_name(code)


def _unit(page: _Page) -> tuple[str, str]:
    return (page.group, "") if page.group else ("", page.name)


def _draw_test(pages: Sequence[_Page]) -> set[tuple[str, str]]:
    """The units of the test part: of every script those whose names draw the lowest numbers, until the share is full."""
    sizes = defaultdict[str, dict[tuple[str, str], int]](lambda: defaultdict(int))
    script_of: dict[tuple[str, str], str] = {}  # a manuscript of several scripts counts for the first by name
    for page in sorted(pages, key=lambda page: page.name):
        sizes[script_of.setdefault(_unit(page), page.script)][_unit(page)] += 1
    tested: set[tuple[str, str]] = set()
    for units in sizes.values():
        names = sorted(units)
        numbers = priorities([group or name for group, name in names], Rng.from_seed(_SEED).fork("clamm"))
        missing = max(round(_TEST_SHARE * sum(units.values())), 1 if len(units) > 1 else 0)
        for unit in [names[position] for position in numbers.argsort(kind="stable")]:
            if missing > 0 and abs(missing - units[unit]) < missing:
                tested.add(unit)
                missing -= units[unit]
    return tested
