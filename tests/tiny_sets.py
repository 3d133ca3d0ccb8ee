"""Published sets in miniature, in the very format in which they lie on the disk: one function each, which writes one.

`accept` lets torchvision's loaders take such files for the published ones: their checksums are replaced, not skipped.
"""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
ATTRIBUTES = ("5_o_Clock_Shadow", "Male", "Smiling", "Young")
WNIDS = ("n01440764", "n02012849", "n03126707")  # tench, crane the bird, crane the machine


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def cifar10(root: Path, per_batch: int = 4) -> Path:
    """Five batches to learn from and one to test, each a pickle; label of row i: i mod 10."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for number, name in enumerate(names):
        labels = [(number * per_batch + row) % 10 for row in range(per_batch)]
        _pickle(folder / name, {"data": noise(number, per_batch, 3072), "labels": labels, "batch_label": name})
    _pickle(folder / "batches.meta", {"label_names": list(CIFAR10), "num_cases_per_batch": per_batch})
    return root


def cifar100(root: Path, size: int = 8) -> Path:
    """One file to learn from and one to test, with fine and coarse labels."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for number, name in enumerate(("train", "test")):
        fine = [(7 * row) % 100 for row in range(size)]
        content = {
            "data": noise(number, size, 3072),
            "fine_labels": fine,
            "coarse_labels": [label // 5 for label in fine],
        }
        _pickle(folder / name, content)
    _pickle(
        folder / "meta", {"fine_label_names": [f"thing {number}" for number in range(100)], "coarse_label_names": []}
    )
    return root


def _pickle(path: Path, content: Mapping[str, object]) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))  # the published ones are of Python 2


def mnist(root: Path, kind: str = "MNIST", packed: bool = False, train: int = 12, test: int = 6) -> Path:
    """The four idx files, as downloaded if `packed`. Label of row i: i mod 10."""
    folder = root / kind / "raw"
    folder.mkdir(parents=True)
    for seed, (name, size) in enumerate((("train", train), ("t10k", test))):
        images, labels = noise(seed, size, 28, 28), (np.arange(size) % 10).astype(np.uint8)
        _idx(folder / f"{name}-images-idx3-ubyte", images, packed)
        _idx(folder / f"{name}-labels-idx1-ubyte", labels, packed)
    return root


def _idx(path: Path, values: np.ndarray, packed: bool) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = header + values.tobytes()
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, mtime=0))
    else:
        path.write_bytes(content)


def svhn(root: Path, sizes: Mapping[str, int] | None = None) -> Path:
    """MATLAB files of [32, 32, 3, N]; the digit 0 is labelled 10. Label of row i: i mod 10 + 1."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, (name, size) in enumerate((sizes or {"train": 12, "test": 6, "extra": 5}).items()):
        values = {"X": noise(seed, 32, 32, 3, size), "y": (np.arange(size) % 10 + 1).astype(np.uint8)[:, None]}
        scipy.io.savemat(root / f"{name}_32x32.mat", values, do_compression=True)
    return root


def stl10(root: Path, train: int = 12, test: int = 6, unlabelled: int = 5) -> Path:
    """Raw bytes, column by column; labels from 1. Label of row i: i mod 10 + 1. Ten folds of a quarter each."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    for seed, (name, size) in enumerate((("train", train), ("test", test), ("unlabeled", unlabelled))):
        (folder / f"{name}_X.bin").write_bytes(noise(seed, size, 3, 96, 96).tobytes())
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes((np.arange(size) % 10 + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(STL10) + "\n")
    folds = [" ".join(str(row) for row in range(train) if row % 4 == fold % 4) for fold in range(10)]
    (folder / "fold_indices.txt").write_text(" \n".join(folds) + " \n")  # the published lines end in a space
    return root


def celeba(root: Path, size: int = 12, shape: tuple[int, int] = (22, 18)) -> Path:
    """The last quarter tests. Two pictures each of a person; picture i has attribute a if bit a of i is set."""
    pictures = root / "img_align_celeba"
    pictures.mkdir(parents=True)
    names = [f"{number + 1:06d}.jpg" for number in range(size)]
    for number, name in enumerate(names):
        Image.fromarray(noise(number, *shape, 3)).save(pictures / name)
    test, valid = size - size // 4, size - size // 2
    parts = [2 if row >= test else 1 if row >= valid else 0 for row in range(size)]
    people = [1000 + row // 2 + 500 * (part == 2) for row, part in enumerate(parts)]
    marks = [["-1", "1"][row >> bit & 1] for row in range(size) for bit in range(len(ATTRIBUTES))]
    width = len(ATTRIBUTES)
    lines = [
        f"{name} {' '.join(f'{mark:>2}' for mark in marks[row * width :][:width])}" for row, name in enumerate(names)
    ]
    _lines(root / "list_attr_celeba.txt", [str(size), " ".join(ATTRIBUTES) + " ", *lines])
    _lines(root / "list_eval_partition.txt", [f"{name} {part}" for name, part in zip(names, parts, strict=True)])
    _lines(root / "identity_CelebA.txt", [f"{name} {person}" for name, person in zip(names, people, strict=True)])
    return root


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def imagenet(root: Path, train: int = 4, val: int = 2, wnids: Sequence[str] = WNIDS) -> Path:
    """So many pictures of each class, `val` in folders of classes too."""
    seed = 0
    for part, size in (("train", train), ("val", val)):
        for wnid in wnids:
            folder = root / part / wnid
            folder.mkdir(parents=True)
            for number in range(size):
                seed += 1
                name = f"{wnid}_{number}.JPEG" if part == "train" else f"ILSVRC2012_val_{seed:08d}.JPEG"
                Image.fromarray(noise(seed, 20, 24, 3)).save(folder / name, "JPEG")
    return root


def clamm(root: Path, pages: int = 40, tasks: int = 20, scripts: int = 4, shape: tuple[int, int] = (60, 40)) -> Path:
    """Two folders of grey TIFF pages, each with its table; the second table counts its lines, as the published one does."""
    for folder, first, size in (
        ("ICDAR2017_CLaMM_Training", 0, pages),
        ("ICDAR2017_CLaMM_task1_task3", pages, tasks),
    ):
        if not size:
            continue
        (root / folder).mkdir(parents=True)
        counted = first > 0
        lines = ["ID;FILENAME;SCRIPT_TYPE;DATE_TYPE" if counted else "FILENAME;SCRIPT_TYPE;DATE_TYPE"]
        for number in range(first, first + size):
            script, date = number % scripts + 1, number % 3 + 1
            name = f"IRHT_P_{number:06d}.tif"
            page = noise(number, *shape) // 4 + np.uint8(40 * script)
            Image.fromarray(page).save(root / folder / name, compression="tiff_lzw")
            lines.append(f"{number - first};{name};{script};{date}" if counted else f"{name};{script};{date}")
        (root / folder / f"@{folder}.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return root


def shard(path: Path, samples: Mapping[str, Mapping[str, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    """A WebDataset shard: KEY.KIND for every sample and member."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for key, members in samples.items():
            for kind, content in members.items():
                facts = tarfile.TarInfo(f"{key}.{kind}")
                facts.size = len(content)
                archive.addfile(facts, io.BytesIO(content))
    return path


def webdataset(root: Path, shards: int = 2, per_shard: int = 6) -> str:
    """The pattern of shards with a picture, a class and a JSON object in each sample."""
    for number in range(shards):
        samples = {}
        for row in range(number * per_shard, (number + 1) * per_shard):
            facts = {"kind": "ab"[row % 2], "product": row // 2}
            samples[f"{row:04d}"] = {
                "jpg": encoded(row, "JPEG"), "cls": str(row % 3).encode(), "json": json.dumps(facts).encode()
            }  # fmt: skip
        shard(root / f"bags-{number:03d}.tar", samples)
    return f"{root}/bags-{{000..{shards - 1:03d}}}.tar"


def huggingface(root: Path, train: int = 8, test: int = 4) -> Path:
    """A DatasetDict with the columns image, label and product."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

    features = Features({"image": Image(), "label": ClassLabel(names=["cats", "dogs"]), "product": Value("string")})
    parts = {}
    for part, first, size in (("train", 0, train), ("test", train, test)):
        rows = range(first, first + size)
        columns = {
            "image": [{"bytes": encoded(row, "PNG"), "path": None} for row in rows],
            "label": [row % 2 for row in rows],
            "product": [f"P{row // 2}" for row in rows],
        }
        parts[part] = Dataset.from_dict(columns, features=features)
    DatasetDict(parts).save_to_disk(root)
    return root


def encoded(seed: int, kind: str, side: int = 16) -> bytes:
    """A colour picture as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(noise(seed, side, side, 3)).save(buffer, kind)
    return buffer.getvalue()


def accept(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Make what lies in `root` what torchvision's loaders expect, and their addresses ones that nobody answers at."""
    from torchvision import datasets

    unreachable = "http://127.0.0.1:9"
    for loader in (datasets.CIFAR10, datasets.CIFAR100, datasets.STL10):
        folder = root / loader.base_folder
        for name in ("train_list", "test_list"):
            files = [[file, md5(folder / file)] for file, _ in getattr(loader, name)]
            monkeypatch.setattr(loader, name, files)
        monkeypatch.setattr(loader, "url", f"{unreachable}/{loader.filename}")
        monkeypatch.setattr(loader, "tgz_md5", md5(root / loader.filename))
        if loader is not datasets.STL10:
            monkeypatch.setattr(loader, "meta", {**loader.meta, "md5": md5(folder / loader.meta["filename"])})
    for loader in (datasets.MNIST, datasets.FashionMNIST):
        folder = root / loader.__name__ / "raw"
        monkeypatch.setattr(loader, "resources", [(file, md5(folder / file)) for file, _ in loader.resources])
        monkeypatch.setattr(loader, "mirrors", [f"{unreachable}/"])
    files = {
        name: [f"{unreachable}/{file}", file, md5(root / file)]
        for name, (_, file, _) in datasets.SVHN.split_list.items()
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", files)


def md5(path: Path) -> str:
    """The checksum of a file; of a missing one what no file has."""
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "0" * 32
