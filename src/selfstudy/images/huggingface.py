"""huggingface: a set of the Hugging Face library `datasets`, in the folder that its `save_to_disk` wrote.

Source  Lhoest et al., EMNLP 2021. A DatasetDict's names are its parts: train, validation (learnt from), test, unlabelled.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from selfstudy.errors import UserError, nearest
from selfstudy.images._file import Encoded
from selfstudy.images._names import class_name, expand, printable
from selfstudy.images._source import PARTS, Listing, Source
from selfstudy.images._tables import refuse_straddling, text_of

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Huggingface(Source):
    """`huggingface:FOLDER`. The column of pictures is of the kind Image or binary; lists of classes become attributes."""

    huggingface: Path
    image: str = "image"
    label: str = "label"
    group: str = ""  # a column: product, person, page; empty: none
    test: str = "test"  # the part that tests, such as validation; a split is drawn if there is no part of this name

    def listing(self, labelled: bool) -> Listing:
        folder = expand(self.huggingface)
        sets = _load(folder)
        for dataset in sets.values():
            for setting in ("image", "group") + (("label",) if labelled else ()):
                self._check_column(dataset, setting)
        parts = [part for name, dataset in sets.items() for part in [self._part(name)] * len(dataset)]
        pictures = [
            picture for name, dataset in sets.items() for picture in _pictures(folder, name, dataset, self.image)
        ]
        groups = [text for dataset in sets.values() for text in _texts(dataset, self.group)] if self.group else []
        refuse_straddling(f"the set in {printable(folder)}", groups, parts)
        names, marks = self._marks(list(sets.values())) if labelled else ((), None)
        labels = (
            [text for dataset in sets.values() for text in _texts(dataset, self.label)]
            if labelled and not names
            else ()
        )
        return Listing(
            pictures=pictures,
            labels=labels,
            attributes=names,
            marks=marks,
            groups=groups,
            parts=parts if "test" in parts else (),
        )

    def _check_column(self, dataset: "Dataset", setting: str) -> None:
        column = {"image": self.image, "label": self.label, "group": self.group}[setting]
        if column not in dataset.column_names and (column or setting != "group"):
            place, known = printable(self.huggingface), nearest(column, dataset.column_names)
            raise UserError(f'the set in {place} has no column "{printable(column)}" ({setting}).{known}')

    def _part(self, name: str) -> str:
        if name == self.test:
            return "test"
        word = name.lower()
        if word and word not in PARTS:
            raise UserError(
                f'the set in {printable(self.huggingface)} has a part "{printable(name)}".{nearest(word, PARTS)}'
            )
        if not word:
            return "train"
        return "unlabelled" if PARTS[word] == "test" else PARTS[word]  # another part tests

    def _marks(self, sets: Sequence["Dataset"]) -> tuple[list[str], np.ndarray | None]:
        """The attributes, and int8 [N, A], of a column of lists of classes; else nothing."""
        from datasets import ClassLabel, List

        kind = sets[0].features[self.label]
        if not isinstance(kind, List) or not isinstance(kind.feature, ClassLabel):
            return [], None
        inner = kind.feature
        rows = [row for dataset in sets for row in dataset[self.label][:]]
        marks = np.zeros((len(rows), len(inner.names)), dtype=np.int8)
        for position, row in enumerate(rows):
            marks[position, row or []] = 1
            if row is None:
                marks[position] = -1
        return [class_name(name) for name in inner.names], marks


def _load(folder: Path) -> Mapping[str, "Dataset"]:
    """Its parts by name; one without a name if it has none."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError:
        advice = 'pip install "selfstudy[huggingface]"'
        raise UserError(f"to read {printable(folder)} the package datasets is needed: {advice}") from None
    if not folder.is_dir():
        raise UserError(f"the folder {printable(folder)} {'is a file' if folder.exists() else 'does not exist'}")
    try:
        found = load_from_disk(os.fspath(folder))
    except FileNotFoundError:
        raise UserError(
            f"{printable(folder)} is no whole folder of `save_to_disk`: a file is missing; for a folder of pictures write its path"
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise UserError(
            f"the set in {printable(folder)} is damaged ({reason}): write it again with `save_to_disk`"
        ) from None
    return found if isinstance(found, DatasetDict) else {"": found}


def _pictures(folder: Path, part: str, dataset: "Dataset", column: str) -> list[Encoded]:
    from datasets import Image, Value

    kind = dataset.features[column]
    if isinstance(kind, Image):
        dataset = dataset.cast_column(column, Image(decode=False))
    elif not (isinstance(kind, Value) and kind.dtype in ("binary", "large_binary")):
        raise UserError(
            f'the column "{column}" of the set in {printable(folder)} is of the kind {type(kind).__name__}, but must hold pictures: '
            "cast it to Image() and save it again"
        )
    facts = [os.stat(file["filename"]) for file in dataset.cache_files]
    stamp = " ".join(f"{fact.st_size}:{fact.st_mtime_ns}" for fact in facts)
    reader = _Reader(dataset.select_columns([column]), column)
    place = printable(folder.absolute() / part)
    return [Encoded(name=f"{place}/{row}", stamp=stamp, read=partial(reader.read, row)) for row in range(len(dataset))]


class _Reader:
    """One row at a time: the library does not promise that a set may be read from several threads."""

    def __init__(self, dataset: "Dataset", column: str) -> None:
        self._dataset, self._column, self._lock = dataset, column, Lock()

    def read(self, row: int) -> bytes:
        with self._lock:
            value = self._dataset[row][self._column]
        if isinstance(value, dict):
            value = (
                value["bytes"] if value["bytes"] is not None or not value["path"] else Path(value["path"]).read_bytes()
            )
        return value or b""  # a row without a picture is reported as an empty file


def _texts(dataset: "Dataset", column: str) -> list[str]:
    """A column as text: the names of classes, "" where missing or -1, which marks hidden labels of published tests."""
    from datasets import ClassLabel, Value

    kind, values = dataset.features[column], dataset[column][:]
    if isinstance(kind, ClassLabel):
        return ["" if value is None or value < 0 else class_name(kind.int2str(value)) for value in values]
    if not isinstance(kind, Value) or "binary" in kind.dtype:
        raise UserError(
            f'the column "{column}" is of the kind {type(kind).__name__}, but must hold classes, text or numbers'
        )
    return ["" if value is None else class_name(text_of(value)) for value in values]
