"""What the two CIFAR sets have in common, and the two MNIST sets: one archive format each, read by torchvision."""

from typing import TYPE_CHECKING

import numpy as np

from selfstudy.images._published import Place, Published, listing_of, obtain, root_of
from selfstudy.images._source import Listing

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10, MNIST


def batches(loader: "type[CIFAR10]", name: str, place: Place, labelled: bool) -> Listing:
    """A CIFAR set; every file is compared with its checksum."""
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    root = root_of(place, name, loader.base_folder)
    meta = (loader.meta["filename"], loader.meta["md5"])
    published = Published(
        name=name,
        folder=root / loader.base_folder,
        files=dict([*loader.train_list, *loader.test_list, meta]),
        archives={loader.filename: loader.url},
        put_into=root,
    )

    def load() -> "list[CIFAR10]":
        if not check_integrity(published.folder / meta[0], meta[1]):  # the loader fetches for the other files only
            download_and_extract_archive(loader.url, root, filename=loader.filename, md5=loader.tgz_md5)
        return [loader(root, train=part, download=True) for part in (True, False)]

    train, test = obtain(published, load)
    return listing_of(
        [
            (part, found.data, [found.classes[target] for target in found.targets])
            for part, found in (("train", train), ("test", test))
        ],
        labelled,
    )


def idx_files(loader: "type[MNIST]", name: str, place: Place, classes: list[str], labelled: bool) -> Listing:
    """A set in the four files of MNIST; `classes` names target i. The fetched .gz files are compared with checksums."""
    inner = f"{loader.__name__}/raw"
    root = root_of(place, name, inner)
    published = Published(
        name=name,
        folder=root / inner,
        files={file.removesuffix(".gz"): "" for file, _ in loader.resources},
        archives={file: f"{loader.mirrors[0]}{file}" for file, _ in loader.resources},
        put_into=root / inner,
    )
    train, test = obtain(published, lambda: [loader(root, train=part, download=True) for part in (True, False)])
    return listing_of(
        [
            (part, np.asarray(found.data), [classes[target] for target in found.targets.tolist()])
            for part, found in (("train", train), ("test", test))
        ],
        labelled,
    )
