"""stl10: STL-10, colour photographs of 96 x 96 pixels: 100,000 unlabelled, 5,000 to learn from, 8,000 to test.

Source  Coates, Lee, Ng, AISTATS 2011. Fetched (2.5 GB) and compared with its checksums by torchvision.
How     torchvision's loader takes 3 GB of memory. Here each picture is read from its place in the file when it is wanted,
        and files that were once found to be as published are not compared again until their size or time changes.
Folds   The published protocol: ten draws of 1,000 of the labelled pictures; the mean over them is what papers report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from selfstudy.errors import UserError
from selfstudy.images._file import Encoded
from selfstudy.images._names import printable
from selfstudy.images._published import Place, Published, obtain, remembered, root_of
from selfstudy.images._source import Listing, Source

_SIDE = 96  # pixels
_BYTES = 3 * _SIDE * _SIDE
_PARTS = {"train": "train", "test": "test", "unlabeled": "unlabelled"}  # as the files say it, as we do


@dataclass(frozen=True, kw_only=True)
class Stl10(Source):
    """`stl10`, or `stl10:FOLDER` with `stl10_binary` or `stl10_binary.tar.gz` in it. The three parts are official."""

    stl10: Place = ""

    def listing(self, labelled: bool) -> Listing:
        folder = self._obtain()
        pictures, parts = list[Encoded](), list[str]()
        for name, part in _PARTS.items():
            found = _pictures(folder / f"{name}_X.bin")
            pictures += found
            parts += [part] * len(found)
        labels = _labels(folder, parts) if labelled else ()
        folds = _folds(folder / "fold_indices.txt", parts.count("train")) if labelled else ()
        return Listing(pictures=pictures, labels=labels, parts=parts, folds=folds, has_copies=False)

    def _obtain(self) -> Path:
        from torchvision.datasets import STL10

        root = root_of(self.stl10, "stl10", STL10.base_folder)
        folder = root / STL10.base_folder
        checksums = dict([*STL10.train_list, *STL10.test_list])
        published = Published(
            name="stl10",
            folder=folder,
            files={**checksums, STL10.class_names_file: "", STL10.folds_list_file: ""},
            archives={STL10.filename: STL10.url},
            put_into=root,
        )

        def check() -> None:
            STL10(root, split="test", download=True)  # fetches, and keeps silent about files that are still wrong
            STL10(root, split="test")

        obtain(published, lambda: remembered([folder / file for file in published.files], check))
        return folder


def _pictures(path: Path) -> list[Encoded]:
    """The pictures of a file in order; each costs a seek when it is read."""
    facts = path.stat()
    if facts.st_size % _BYTES:
        raise UserError(
            f"{printable(path)} is cut short: {facts.st_size} bytes are no multiple of {_BYTES}; unpack it again"
        )
    place, stamp = printable(path.absolute()), f"{facts.st_size}:{facts.st_mtime_ns}"
    return [
        Encoded(name=f"{place}/{position}", stamp=stamp, read=partial(_read, path, position))
        for position in range(facts.st_size // _BYTES)
    ]


def _read(path: Path, position: int) -> bytes:
    """A picture as a PPM file, which is its pixels behind a line of text."""
    with path.open("rb") as file:
        file.seek(position * _BYTES)
        planes = np.frombuffer(file.read(_BYTES), dtype=np.uint8).reshape(3, _SIDE, _SIDE)
    return f"P6 {_SIDE} {_SIDE} 255\n".encode() + planes.transpose(2, 1, 0).tobytes()  # they lie column by column


def _labels(folder: Path, parts: Sequence[str]) -> list[str]:
    classes = (folder / "class_names.txt").read_text(encoding="utf-8").split()
    labels = list[str]()
    for part in ("train", "test"):
        path = folder / f"{part}_y.bin"
        numbers = np.fromfile(path, dtype=np.uint8)  # 1 to 10
        if len(numbers) != parts.count(part) or not ((numbers >= 1) & (numbers <= len(classes))).all():
            expected = f"{parts.count(part)} numbers from 1 to {len(classes)}"
            raise UserError(f"{printable(path)} does not hold {expected}, one for each picture; unpack it again")
        labels += [classes[number - 1] for number in numbers.tolist()]
    return labels + [""] * parts.count("unlabelled")


def _folds(path: Path, num_train: int) -> list[list[int]]:
    """The rows of each published draw; the labelled pictures come first in the listing."""
    lines = path.read_text(encoding="utf-8").splitlines()
    folds = [[int(word) for word in line.split() if word.isdigit()] for line in lines if line.strip()]
    if not folds or any(not fold or max(fold) >= num_train for fold in folds):
        raise UserError(f"{printable(path)} does not hold lines of numbers below {num_train}; unpack it again")
    return folds
