"""celeba: CelebA, 202,599 photographs of the faces of 10,177 people, each with 40 attributes that it has or has not.

Source  Liu et al., ICCV 2015; its split: 162,770 to learn from, 19,867 to validate with, 19,962 to test. The makers' terms
        and host allow no fetching: put the files into one folder.
How     A person is a group. The parts are meant to share nobody; should a file have someone in two, the pictures of this
        person that are not in the test part are left out and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selfstudy.errors import UserError, nearest
from selfstudy.images._imageset import Skipped
from selfstudy.images._names import expand, printable
from selfstudy.images._source import Listing, Source

if TYPE_CHECKING:
    import pandas as pd

_PICTURES = "img_align_celeba"
_PARTS = {0: "train", 1: "train", 2: "test"}  # choices are made by cross-validation: the validation part is learnt from
_HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


@dataclass(frozen=True, kw_only=True)
class Celeba(Source):
    """`celeba:FOLDER`, with the folder img_align_celeba and the three text files in it, or in `celeba` below it."""

    celeba: Path
    attribute: str = ""  # one attribute makes a task of two classes, such as Smiling; empty: all 40 at once

    def listing(self, labelled: bool) -> Listing:
        folder = self._folder()
        parts = _read(folder / "list_eval_partition.txt", ["part"])
        people = _read(folder / "identity_CelebA.txt", ["person"], parts.index)["person"]
        part_of = parts["part"].map(_PARTS)
        if part_of.isna().any():
            place = f"{printable(folder / 'list_eval_partition.txt')}: {part_of.index[part_of.isna()][0]}"
            raise UserError(f"{place} is in part {parts['part'][part_of.isna()].iloc[0]}, but must be in 0, 1 or 2")
        shared = people.isin(people[part_of == "test"]) & (part_of != "test")
        kept = parts.index[~shared]
        marks = self._marks(folder, kept) if labelled else None
        return Listing(
            pictures=[folder / _PICTURES / name for name in kept],
            labels=self._classes(marks) if marks is not None and self.attribute else (),
            attributes=list(marks.columns) if marks is not None and not self.attribute else (),
            marks=marks.to_numpy(np.int8) if marks is not None and not self.attribute else None,
            groups=[f"person {number}" for number in people[kept]],
            parts=part_of[kept].tolist(),
            has_copies=False,
            skipped=[
                Skipped(str(folder / _PICTURES / name), f"shows person {people[name]}, who is in the test part too")
                for name in parts.index[shared]
            ],
        )

    def _folder(self) -> Path:
        root = expand(self.celeba)
        folder = root / "celeba" if (root / "celeba").is_dir() else root
        if not (folder / _PICTURES).is_dir():
            archive = folder / f"{_PICTURES}.zip"
            advice = "unpack it there" if archive.is_file() else f"get {archive.name} from {_HOME} and unpack it there"
            raise UserError(f"the folder {printable(folder)} has no folder {_PICTURES} of pictures: {advice}")
        return folder

    def _marks(self, folder: Path, names: "pd.Index") -> "pd.DataFrame":
        """1 where a picture has an attribute, 0 where not; -1 in the file."""
        file = folder / "list_attr_celeba.txt"
        values = _read(file, [], names)
        if self.attribute and self.attribute not in values:
            known = nearest(self.attribute, map(str, values))
            raise UserError(f'{printable(file)} has no attribute "{printable(self.attribute)}".{known}')
        wrong = values.index[~values.isin([-1, 1]).all(axis=1)]
        if len(wrong):
            raise UserError(
                f"{printable(file)}: {wrong[0]} has values other than -1 and 1; get the file again from {_HOME}"
            )
        return (values + 1) // 2

    def _classes(self, marks: "pd.DataFrame") -> list[str]:
        return [self.attribute if has else f"not {self.attribute}" for has in marks[self.attribute]]


def _read(file: Path, columns: Sequence[str], names: "pd.Index | None" = None) -> "pd.DataFrame":
    """Whole numbers by picture, in the order of `names` if given. Without `columns` two lines of header name them."""
    import pandas as pd

    if not file.is_file():
        raise UserError(f"{printable(file)} is missing: get it from {_HOME}")
    try:
        if columns:
            frame = pd.read_csv(
                file, sep=r"\s+", header=None, names=["name", *columns], index_col=0, dtype={"name": str}
            )
        else:
            frame = pd.read_csv(file, sep=r"\s+", skiprows=1, index_col=0)
        frame = frame.astype(np.int64)
    except (ValueError, OSError) as error:  # the parser's own errors are ValueErrors
        reason = printable(str(error).strip())
        raise UserError(f"{printable(file)} is damaged or cut short ({reason}); get it again from {_HOME}") from None
    if frame.empty or frame.index.has_duplicates:
        problem = "lists no pictures" if frame.empty else f"lists {frame.index[frame.index.duplicated()][0]} twice"
        raise UserError(f"{printable(file)} {problem}; get it again from {_HOME}")
    if names is None:
        return frame
    missing = names.difference(frame.index)
    if len(missing):
        raise UserError(f"{printable(file)} has no line for {missing[0]}; get it again from {_HOME}")
    return frame.loc[names]
