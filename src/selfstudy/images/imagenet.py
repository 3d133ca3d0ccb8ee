"""imagenet: ImageNet or a subset of it, in folders train/WNID/NAME.JPEG and val/WNID/NAME.JPEG; `val` is the test part.

Source  Russakovsky et al., IJCV 2015. It cannot be fetched without an account: put the unpacked folders in one place.
How     Classes are named as timm names them. A `val` of files without folders, as the archive unpacks, is labelled from the
        development kit, through torchvision. `labelled_list` keeps the labels of few training pictures: the lists of 1 % and
        10 % that semi-supervised papers share (Chen et al., SimCLR, NeurIPS 2020) are text files of file names.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfstudy.errors import UserError
from selfstudy.images._decode import SUFFIXES
from selfstudy.images._names import class_name, expand, printable
from selfstudy.images._source import Listing, Source

_KIT = "ILSVRC2012_devkit_t12.tar.gz"


@dataclass(frozen=True, kw_only=True)
class Imagenet(Source):
    """`imagenet:FOLDER`. Without a folder `val` there is no test part, and a split is drawn."""

    imagenet: Path
    labelled_list: Path | Literal[""] = ""  # names of the training pictures whose labels are known; empty: all

    def listing(self, labelled: bool) -> Listing:
        root = expand(self.imagenet)
        train, ignored, loose = _walk(root / "train")
        if loose:
            raise UserError(
                f"{printable(loose[0])} lies in no folder of a class: expected {printable(root)}/train/WNID/NAME.JPEG"
            )
        test, more, flat = _walk(root / "val") if (root / "val").is_dir() else ([], 0, [])
        labels = list[str]()
        if labelled:
            names = [path.parent.name for path in train + test]
            labels = _keep(train, names, expand(self.labelled_list)) if self.labelled_list else names
            labels = _in_words(labels + (_flat_labels(root, flat) if flat else []))
        test += flat
        return Listing(
            pictures=train + test,
            labels=labels,
            parts=["train"] * len(train) + ["test"] * len(test) if test else (),
            has_copies=False,
            ignored=ignored + more,
        )


def _walk(folder: Path) -> tuple[list[Path], int, list[Path]]:
    """Pictures in folders of classes, the number of other files, and pictures that lie in no such folder; sorted."""
    if not folder.is_dir():
        raise UserError(
            f"the folder {printable(folder)} does not exist: expected FOLDER/train/WNID/NAME.JPEG, FOLDER/val/…"
        )
    pictures, loose, ignored = list[Path](), list[Path](), 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        found = pictures if entry.is_dir() else loose
        files = sorted(os.listdir(entry.path)) if entry.is_dir() else [""]
        kept = [name for name in files if os.path.splitext(name or entry.name)[1].lower() in SUFFIXES]
        found += [Path(entry.path, name) for name in kept]
        ignored += len(files) - len(kept)
    if not pictures and not loose:
        raise UserError(
            f"the folder {printable(folder)} holds no picture in folders of classes: expected WNID/NAME.JPEG"
        )
    return pictures, ignored, loose


def _flat_labels(root: Path, files: Sequence[Path]) -> list[str]:
    """The WNIDs of files named ILSVRC2012_val_00000001.JPEG, …, from the development kit."""
    from torchvision.datasets.imagenet import META_FILE, load_meta_file, parse_devkit_archive

    advice = (
        f"put {_KIT} from https://image-net.org into {printable(root)}, or sort them into {printable(root)}/val/WNID"
    )
    try:
        if not (root / META_FILE).is_file():
            parse_devkit_archive(root)
        wnids: list[str] = load_meta_file(root)[1]
        return [wnids[int(path.stem.rpartition("_")[2]) - 1] for path in files]
    except (RuntimeError, OSError) as error:
        reason = (
            f"{printable(root / _KIT)} is missing or damaged" if isinstance(error, RuntimeError) else printable(error)
        )
        raise UserError(
            f"the pictures in {printable(root)}/val lie in no folders of classes, and {reason}: {advice}"
        ) from None
    except (ValueError, IndexError):
        names = f"such as {printable(files[0].name)}" if files else "there"
        raise UserError(
            f"the pictures in {printable(root)}/val, {names}, are not numbered 1 to {len(wnids)}: {advice}"
        ) from None


def _keep(train: Sequence[Path], labels: list[str], file: Path) -> list[str]:
    """The labels, but those of training pictures that `file` does not name are empty."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"the labelled_list {printable(file)} cannot be read: {reason}") from None
    listed = {line.replace("\\", "/").rpartition("/")[2] for line in lines if line}
    unknown = listed - {path.name for path in train}
    if unknown or not listed:
        problem = (
            f"names {len(unknown)} files that are not in train, the first {printable(min(unknown))}"
            if unknown
            else "is empty"
        )
        raise UserError(
            f"the labelled_list {printable(file)} {problem}; expected one name such as {train[0].name} a line"
        )
    return [label if row >= len(train) or train[row].name in listed else "" for row, label in enumerate(labels)]


def _in_words(labels: Sequence[str]) -> list[str]:
    """ "n01440764" to "tench (n01440764)": WordNet has words of several meanings. Folders of other names stay."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    known = set(info.label_names())
    words = {
        wnid: f"{info.label_name_to_description(wnid).partition(',')[0]} ({wnid})"
        if wnid in known
        else class_name(wnid)
        for wnid in set(labels)
    }
    return [words[wnid] for wnid in labels]
