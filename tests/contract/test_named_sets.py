"""Every published set in its true format on the disk, in miniature: pictures, classes, parts and groups are those of the files.

Expected pixels are taken from the bytes that were written, not through the code that is tested.
"""

import http.server
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfstudy.images import load
from selfstudy.images._file import Encoded
from selfstudy.images._load import find
from selfstudy.images._source import Listing
from tests import tiny_sets


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "cache"))


def listed(source: object, labelled: bool = True) -> Listing:
    return find(source).listing(labelled)  # type: ignore[arg-type]


def counts(listing: Listing) -> dict[str, int]:
    return {part: list(listing.parts).count(part) for part in ("train", "test", "unlabelled")}


def pixels(picture: object) -> np.ndarray:
    content = picture.read() if isinstance(picture, Encoded) else Path(str(picture)).read_bytes()
    return np.asarray(Image.open(BytesIO(content)))


def test_cifar10(tmp_path, monkeypatch):
    """Mutations: red, green and blue pixel by pixel; batches out of order; test batch among the others."""
    tiny_sets.accept(monkeypatch, tiny_sets.cifar10(tmp_path))
    listing = listed(f"cifar10:{tmp_path}")
    assert counts(listing) == {"train": 20, "test": 4, "unlabelled": 0}
    assert list(listing.labels) == [tiny_sets.CIFAR10[row % 10] for row in range(24)]
    assert (listing.pictures[5] == tiny_sets.noise(1, 4, 3072)[1].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert not listing.has_copies
    inner = listed(f"cifar10:{tmp_path / 'cifar-10-batches-py'}", labelled=False)  # the inner folder means the same
    assert (inner.pictures == listing.pictures).all()
    assert inner.labels == ()
    assert inner.parts == listing.parts  # or pretraining would see the test pictures


def test_cifar100_has_its_fine_classes(tmp_path, monkeypatch):
    tiny_sets.accept(monkeypatch, tiny_sets.cifar100(tmp_path))
    listing = listed(f"cifar100:{tmp_path}")
    assert counts(listing) == {"train": 8, "test": 8, "unlabelled": 0}
    assert list(listing.labels[:3]) == ["thing 0", "thing 7", "thing 14"]


@pytest.mark.parametrize(("source", "kind"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_and_fashion_mnist(tmp_path, monkeypatch, source, kind, packed):
    """Also from the .gz files as they are downloaded. Mutation: train and test exchanged."""
    tiny_sets.accept(monkeypatch, tiny_sets.mnist(tmp_path, kind, packed))
    listing = listed(f"{source}:{tmp_path / kind}")
    assert counts(listing) == {"train": 12, "test": 6, "unlabelled": 0}
    assert (listing.pictures[3] == tiny_sets.noise(0, 12, 28, 28)[3]).all()
    assert (listing.pictures[12] == tiny_sets.noise(1, 6, 28, 28)[0]).all()
    assert listing.labels[9] == ("9" if source == "mnist" else "Ankle boot")


def test_svhn(tmp_path, monkeypatch):
    """The label 10 is the digit 0, and `extra` has no labels. Mutations: pictures transposed; labels of `extra` read."""
    tiny_sets.accept(monkeypatch, tiny_sets.svhn(tmp_path))
    assert counts(listed(f"svhn:{tmp_path}")) == {"train": 12, "test": 6, "unlabelled": 0}
    listing = listed({"svhn": str(tmp_path), "extra": True})
    assert counts(listing) == {"train": 12, "test": 6, "unlabelled": 5}
    assert [listing.labels[row] for row in (0, 9, 10, 12, 17, 18)] == ["1", "0", "1", "1", "6", ""]
    assert (listing.pictures[4] == tiny_sets.noise(0, 32, 32, 3, 12)[..., 4]).all()


def test_stl10(tmp_path, monkeypatch):
    """Mutations: rows for columns; a fold's rows counted from 1; the unlabelled part labelled."""
    tiny_sets.accept(monkeypatch, tiny_sets.stl10(tmp_path))
    listing = listed(f"stl10:{tmp_path}")
    assert counts(listing) == {"train": 12, "test": 6, "unlabelled": 5}
    assert [listing.labels[row] for row in (0, 9, 10, 12, 17, 18, 22)] == [
        "airplane", "truck", "airplane", "airplane", "dog", "", ""
    ]  # fmt: skip
    assert len(listing.folds) == 10
    assert list(listing.folds[1]) == [1, 5, 9]
    for part, seed, size, row, place in (("train", 0, 12, 7, 7), ("test", 1, 6, 2, 14), ("unlabelled", 2, 5, 4, 22)):
        assert listing.parts[place] == part
        as_stored = tiny_sets.noise(seed, size, 3, 96, 96)[row]
        assert (pixels(listing.pictures[place]) == as_stored.transpose(2, 1, 0)).all()
    assert len({picture.name for picture in listing.pictures}) == 23
    assert listed(f"stl10:{tmp_path}", labelled=False).folds == ()


def test_stl10_end_to_end(tmp_path, monkeypatch):
    """Rows are ordered by content, and the folds go with them. Mutation: folds by position."""
    tiny_sets.accept(monkeypatch, tiny_sets.stl10(tmp_path))
    images = load(f"stl10:{tmp_path}", image_size=96, labelled=True)
    assert images.parts is not None
    assert images.labels is not None
    row_of = {name: row for row, name in enumerate(images.ids.tolist())}
    rows = [row_of[name] for name in images.folds[1]]
    assert {images.classes[images.labels[row]] for row in rows} == {tiny_sets.STL10[number] for number in (1, 5, 9)}
    assert {images.parts[row] for row in rows} == {"train"}
    unlabelled = images.parts == "unlabelled"
    assert unlabelled.sum() == 5
    assert images.labels.numpy()[unlabelled].tolist() == [-1] * 5
    place = next(row for row, path in enumerate(images.paths) if path.endswith("train_X.bin/7"))
    as_stored = tiny_sets.noise(0, 12, 3, 96, 96)[7]
    assert (images.images[place : place + 1][0].numpy() == as_stored.transpose(0, 2, 1)).all()


def test_stl10_is_compared_with_its_checksums_once(tmp_path, monkeypatch):
    """3 GB take seconds. Mutations: check at every start; never again."""
    from torchvision.datasets import stl10

    calls = []
    real = stl10.check_integrity
    tiny_sets.accept(monkeypatch, tiny_sets.stl10(tmp_path))
    monkeypatch.setattr(stl10, "check_integrity", lambda *given: calls.append(given) or real(*given))
    listed(f"stl10:{tmp_path}")
    first = len(calls)
    assert first
    listed(f"stl10:{tmp_path}")
    assert len(calls) == first
    (tmp_path / "stl10_binary" / "class_names.txt").write_text("\n".join(tiny_sets.STL10))  # another size
    listed(f"stl10:{tmp_path}")
    assert len(calls) > first


@pytest.mark.parametrize("below", ["", "celeba"])
def test_celeba(tmp_path, below):
    """Mutations: -1 as 1; validation pictures tested; the attributes of the next picture."""
    tiny_sets.celeba(tmp_path / below)
    listing = listed(f"celeba:{tmp_path}")
    assert counts(listing) == {"train": 9, "test": 3, "unlabelled": 0}
    assert list(listing.attributes) == list(tiny_sets.ATTRIBUTES)
    assert listing.labels == ()
    assert listing.marks is not None
    assert listing.marks.dtype == np.int8
    assert listing.marks.tolist() == [[row >> bit & 1 for bit in range(4)] for row in range(12)]
    assert listing.groups[0] == listing.groups[1] != listing.groups[2]
    assert not set(listing.groups[:9]) & set(listing.groups[9:])
    assert [path.name for path in listing.pictures[:2]] == ["000001.jpg", "000002.jpg"]
    blind = listed(f"celeba:{tmp_path}", labelled=False)
    assert (blind.marks, blind.attributes) == (None, ())
    assert blind.parts == listing.parts


def test_one_attribute_of_celeba_is_a_task_of_two_classes(tmp_path):
    tiny_sets.celeba(tmp_path)
    listing = listed({"celeba": str(tmp_path), "attribute": "Smiling"})
    assert list(listing.labels) == ["Smiling" if row >> 2 & 1 else "not Smiling" for row in range(12)]
    assert listing.marks is None


def test_a_person_of_celeba_is_in_one_part_only(tmp_path):
    """Mutation: leave them, or take them out of the test part."""
    tiny_sets.celeba(tmp_path)
    file = tmp_path / "identity_CelebA.txt"
    lines = file.read_text().splitlines()
    lines[0] = f"000001.jpg {lines[-1].split()[1]}"
    file.write_text("\n".join(lines))
    listing = listed(f"celeba:{tmp_path}")
    [left_out] = listing.skipped
    assert left_out.path.endswith("000001.jpg")
    assert "who is in the test part too" in left_out.reason
    assert len(listing.pictures) == len(listing.groups) == len(listing.parts) == 11
    assert listing.marks is not None
    assert listing.marks[0].tolist() == [1, 0, 0, 0]  # of the second picture now
    assert counts(listing)["test"] == 3


def test_imagenet(tmp_path):
    """Two classes are called crane. Mutations: names without WNID; val learnt from."""
    tiny_sets.imagenet(tmp_path)
    listing = listed(f"imagenet:{tmp_path}")
    assert counts(listing) == {"train": 12, "test": 6, "unlabelled": 0}
    assert sorted(set(listing.labels)) == ["crane (n02012849)", "crane (n03126707)", "tench (n01440764)"]
    for path, label in zip(listing.pictures, listing.labels, strict=True):
        assert path.parent.name in label
    assert not listing.has_copies


def test_few_labels_of_imagenet_from_a_published_list(tmp_path):
    """Mutations: unlisted pictures left out; the test part's labels lost."""
    tiny_sets.imagenet(tmp_path)
    file = tmp_path / "1percent.txt"
    file.write_text("n01440764_2.JPEG\nn03126707_0.JPEG\n")
    listing = listed({"imagenet": str(tmp_path), "labelled_list": str(file)})
    known = [path.name for path, label in zip(listing.pictures, listing.labels, strict=True) if label]
    assert known[:2] == ["n01440764_2.JPEG", "n03126707_0.JPEG"]
    assert len(known) == 2 + 6
    assert len(listing.pictures) == 18


def test_imagenet_val_without_folders_is_labelled_from_the_development_kit(tmp_path):
    """torchvision's meta file, as it makes it of the kit. Mutation: labels by the order of folders."""
    import torch

    tiny_sets.imagenet(tmp_path, val=0)
    order = [tiny_sets.WNIDS[number] for number in (2, 0, 1, 0)]
    for number in range(1, 5):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        (tmp_path / "val" / name).write_bytes(tiny_sets.encoded(number, "JPEG"))
    torch.save(({wnid: (wnid,) for wnid in order}, order), tmp_path / "meta.bin")
    listing = listed(f"imagenet:{tmp_path}")
    assert [label[-10:-1] for label in listing.labels[12:]] == order
    assert counts(listing)["test"] == 4


def test_a_subset_of_imagenet_without_val_has_no_parts(tmp_path):
    tiny_sets.imagenet(tmp_path, wnids=("cats", "dogs"))
    for path in sorted((tmp_path / "val").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / "val").rmdir()
    listing = listed(f"imagenet:{tmp_path}")
    assert listing.parts == ()
    assert set(listing.labels) == {"cats", "dogs"}


def test_clamm(tmp_path):
    """Both folders, columns by name, a fifth of every script. Mutations: columns by place; one table; no stratification."""
    tiny_sets.clamm(tmp_path)
    listing = listed(f"clamm:{tmp_path}")
    assert len(listing.pictures) == 60
    numbers = [int(path.stem[-6:]) for path in listing.pictures]
    assert sorted(numbers) == list(range(60))
    scripts = ["Caroline", "Cursiva", "Half-Uncial", "Humanistic"]
    assert list(listing.labels) == [scripts[number % 4] for number in numbers]
    tested = [label for label, part in zip(listing.labels, listing.parts, strict=True) if part == "test"]
    assert {script: tested.count(script) for script in scripts} == dict.fromkeys(scripts, 3)
    dates = listed({"clamm": str(tmp_path), "label": "date"})
    assert set(dates.labels) == {"500-1000", "1001-1100", "1101-1200"}
    assert dates.parts == listing.parts  # an encoder pretrained for scripts has seen no test page of the dates
    assert listed(f"clamm:{tmp_path}", labelled=False).parts == listing.parts


def test_the_split_of_clamm_never_changes(tmp_path):
    """Studies rest on it, and the names of files alone decide it. Mutation: another seed, stream or order."""
    tiny_sets.clamm(tmp_path, shape=(4, 4))
    listing = listed(f"clamm:{tmp_path}")
    tested = [path.stem[-2:] for path, part in zip(listing.pictures, listing.parts, strict=True) if part == "test"]
    assert sorted(tested) == ["03", "08", "12", "14", "15", "22", "24", "29", "33", "43", "45", "46"]


def test_pages_of_a_manuscript_stay_together(tmp_path):
    """A column MANUSCRIPT makes it the unit of the draw. Mutation: draw pages."""
    tiny_sets.clamm(tmp_path, pages=48, tasks=0)
    table = tmp_path / "ICDAR2017_CLaMM_Training" / "@ICDAR2017_CLaMM_Training.csv"
    lines = table.read_text().splitlines()
    grouped = [f"{line};{'MANUSCRIPT' if not row else f'MS {(row - 1) % 16}'}" for row, line in enumerate(lines)]
    table.write_text("\n".join(grouped))
    listing = listed(f"clamm:{tmp_path}")
    part_of = dict(zip(listing.groups, listing.parts, strict=True))
    assert [part_of[group] for group in listing.groups] == list(listing.parts)
    assert len(part_of) == 16
    assert counts(listing)["test"] == 12  # of each script one manuscript of three pages is nearest to a fifth of twelve


def test_pages_of_clamm_without_a_row_are_pretrained_on_only(tmp_path):
    tiny_sets.clamm(tmp_path, pages=10, tasks=10)
    (tmp_path / "ICDAR2017_CLaMM_task1_task3" / "@ICDAR2017_CLaMM_task1_task3.csv").unlink()
    listing = listed(f"clamm:{tmp_path}")
    assert counts(listing)["unlabelled"] == 10
    assert set(listing.labels[10:]) == {""}


def test_a_folder_of_product_photos_beside_a_labelled_one(tmp_path):
    """sources.md S4: one source without labels, one with; nothing but two folders is needed."""
    for number in range(8):
        path = tmp_path / "all" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tiny_sets.encoded(number, "JPEG"))
    for number in range(6):
        path = tmp_path / "labelled" / ("clutch" if number % 2 else "zaino") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny_sets.encoded(number, "JPEG"))  # six of them are among the eight
    unlabelled = load(str(tmp_path / "all"), image_size=8)
    labelled = load(str(tmp_path / "labelled"), image_size=8, labelled=True)
    assert (len(unlabelled), len(labelled)) == (8, 6)
    assert labelled.classes == ("clutch", "zaino")
    assert set(labelled.ids) < set(unlabelled.ids)  # by content, so that a test picture can be found in the pool


def test_a_table_of_attributes(tmp_path):
    """Mutations: empty as 0; -1 as 1; the order of columns in the file."""
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(tiny_sets.encoded(number, "PNG"))
    text = "path,Red,Leather,Zip\n0.png,1,yes,-1\n1.png,0,No,?\n2.png,TRUE,x,\n3.png,false,0,1\n"
    (tmp_path / "bags.csv").write_text(text)
    listing = listed({"table": str(tmp_path / "bags.csv"), "labels": ["Zip", "Red", "Leather"]})
    assert list(listing.attributes) == ["Zip", "Red", "Leather"]
    assert listing.marks is not None
    assert listing.marks.tolist() == [[0, 1, 1], [-1, 0, 0], [-1, 1, 1], [1, 0, 0]]
    assert listed({"table": str(tmp_path / "bags.csv"), "labels": ["Zip", "Red"]}, labelled=False).marks is None


def test_a_sheet_of_an_excel_file(tmp_path):
    import pandas as pd

    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(tiny_sets.encoded(number, "PNG"))
    with pd.ExcelWriter(tmp_path / "bags.xlsx") as book:
        pd.DataFrame({"note": ["not this one"]}).to_excel(book, sheet_name="Read me", index=False)
        frame = pd.DataFrame({"path": [f"{number}.png" for number in range(4)], "label": list("abab")})
        frame.to_excel(book, sheet_name="Bags", index=False)
    listing = listed({"table": str(tmp_path / "bags.xlsx"), "sheet": "Bags"})
    assert list(listing.labels) == list("abab")


def test_webdataset_shards(tmp_path):
    """Pictures are the bytes that were packed, in order, whoever reads them first. Mutations: an offset off by a block."""
    pattern = tiny_sets.webdataset(tmp_path)
    listing = listed(f"wds:{pattern}")
    assert len(listing.pictures) == 12
    assert list(listing.labels) == [str(row % 3) for row in range(12)]
    assert listing.parts == ()
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda picture: picture.read(), list(listing.pictures) * 20))
    assert read == [tiny_sets.encoded(row, "JPEG") for row in range(12)] * 20
    assert len({picture.name for picture in listing.pictures}) == 12
    by_star = listed({"wds": f"{tmp_path}/bags-*.tar", "label": "json:kind"})
    assert list(by_star.labels) == ["ab"[row % 2] for row in range(12)]
    assert listed(f"wds:{pattern}", labelled=False).labels == ()


def test_a_shard_is_indexed_once_until_it_changes(tmp_path, monkeypatch):
    """100,000 headers take seconds. Mutations: index at every start; never again; a damaged index believed."""
    pattern = tiny_sets.webdataset(tmp_path, shards=1)
    first = listed(f"wds:{pattern}")
    opened: list[object] = []
    real = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *given, **named: opened.append(given) or real(*given, **named))
    assert [picture.name for picture in listed(f"wds:{pattern}").pictures] == [p.name for p in first.pictures]
    assert not opened
    [index] = (tmp_path / "cache" / "shards" / "index").iterdir()
    index.write_text(index.read_text()[:-20])
    assert len(listed(f"wds:{pattern}").pictures) == 6
    assert len(opened) == 1
    tiny_sets.webdataset(tmp_path, shards=1, per_shard=7)
    assert len(listed(f"wds:{pattern}").pictures) == 7


def test_the_library_reads_the_same_samples_from_a_shard(tmp_path):
    """An independent reader: webdataset's own. Also long names, which tar keeps in members of their own."""
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    samples = {
        f"{'long/' * 30}{row:03d}": {"jpg": tiny_sets.encoded(row, "JPEG"), "cls": str(row).encode()}
        for row in range(5)
    }
    for number, format in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        shard = tiny_sets.shard(tmp_path / f"{number}.tar", samples, format)
        listing = listed(f"wds:{shard}")
        with shard.open("rb") as stream:
            theirs = list(group_by_keys({**member, "__url__": ""} for member in tar_file_iterator(stream)))
        assert [picture.read() for picture in listing.pictures] == [sample["jpg"] for sample in theirs]
        assert list(listing.labels) == [sample["cls"].decode() for sample in theirs]


def test_shards_of_a_test_part_and_a_picture_of_two(tmp_path):
    samples = {str(row): {"photo.jpg": tiny_sets.encoded(row, "JPEG"), "mask.png": tiny_sets.encoded(row, "PNG"),
                          "cls": b"x"} for row in range(3)}  # fmt: skip
    train, test = tiny_sets.shard(tmp_path / "a.tar", samples), tiny_sets.shard(tmp_path / "b.tar", samples)
    listing = listed({"wds": str(train), "test": str(test), "image": "photo.jpg"})
    assert counts(listing) == {"train": 3, "test": 3, "unlabelled": 0}
    assert listing.pictures[0].read() == samples["0"]["photo.jpg"]


class _Counting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and remembers what it was asked for."""

    asked: list[str] = []

    def __init__(self, *given: object, folder: Path, **named: object) -> None:
        super().__init__(*given, directory=str(folder), **named)  # type: ignore[arg-type]

    def log_message(self, format: str, *given: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path):
    """A folder on the network: the folder, its address, and what was asked of it."""
    folder = tmp_path / "served"
    folder.mkdir()
    _Counting.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: _Counting(*given, folder=folder)) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{found.server_port}", _Counting.asked
        found.shutdown()
        thread.join()


def test_remote_shards_are_fetched_once(tmp_path, server, capfd):
    """Through the library, by http and by a command. Mutations: fetch at every start; one name for two addresses."""
    folder, address, asked = server
    for name in ("one", "two"):
        tiny_sets.webdataset(folder / name, shards=1 if name == "one" else 2)
    listing = listed(f"wds:{address}/{{one,two}}/bags-000.tar")
    assert [picture.read() for picture in listing.pictures] == [tiny_sets.encoded(row, "JPEG") for row in range(6)] * 2
    assert "fetching 2 shards once" in capfd.readouterr().err
    assert len(asked) == 2
    again = listed(f"wds:{address}/{{one,two}}/bags-000.tar")
    assert len(asked) == 2
    assert [picture.name for picture in again.pictures] == [picture.name for picture in listing.pictures]
    piped = listed(f"wds:pipe:cat {folder}/two/bags-00{{0..1}}.tar")
    assert len(piped.pictures) == 12


def test_an_archive_that_was_put_there_by_hand_is_unpacked(tmp_path, monkeypatch):
    """As the error advises where there is no network. Mutation: fetch whatever lies there."""
    from torchvision.datasets import CIFAR100

    tiny_sets.cifar100(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / CIFAR100.filename, "w:gz") as archive:
        archive.add(tmp_path / "elsewhere" / CIFAR100.base_folder, CIFAR100.base_folder)
    tiny_sets.accept(monkeypatch, tmp_path / "elsewhere")
    monkeypatch.setattr(CIFAR100, "tgz_md5", tiny_sets.md5(tmp_path / "data" / CIFAR100.filename))
    assert len(listed(f"cifar100:{tmp_path / 'data'}").pictures) == 16
    (tmp_path / "data" / CIFAR100.base_folder / "meta").unlink()
    assert len(listed(f"cifar100:{tmp_path / 'data'}").pictures) == 16


def test_a_set_is_downloaded_by_torchvisions_loader(tmp_path, monkeypatch, server):
    """From another server than the real one, with its checksum, and once. Mutation: download=False."""
    from torchvision.datasets import CIFAR10

    folder, address, asked = server
    tiny_sets.cifar10(tmp_path / "packed")
    with tarfile.open(folder / CIFAR10.filename, "w:gz") as archive:
        archive.add(tmp_path / "packed" / CIFAR10.base_folder, CIFAR10.base_folder)
    tiny_sets.accept(monkeypatch, tmp_path / "packed")
    monkeypatch.setattr(CIFAR10, "tgz_md5", tiny_sets.md5(folder / CIFAR10.filename))
    monkeypatch.setattr(CIFAR10, "url", f"{address}/{CIFAR10.filename}")
    assert len(listed("cifar10").pictures) == 24
    assert (tmp_path / "cache" / "data" / "cifar10" / CIFAR10.base_folder / "test_batch").is_file()
    before = len(asked)
    assert len(listed("cifar10").pictures) == 24
    assert len(asked) == before > 0


def test_huggingface(tmp_path):
    """Parts, names of classes and groups; rows from several threads. Mutation: train and test joined in another order."""
    tiny_sets.huggingface(tmp_path / "set")
    listing = listed({"huggingface": str(tmp_path / "set"), "group": "product"})
    assert counts(listing) == {"train": 8, "test": 4, "unlabelled": 0}
    assert list(listing.labels) == ["cats", "dogs"] * 6
    assert list(listing.groups) == [f"P{row // 2}" for row in range(12)]
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda picture: picture.read(), list(listing.pictures) * 10))
    assert read == [tiny_sets.encoded(row, "PNG") for row in range(12)] * 10


def test_huggingface_sets_of_other_shapes(tmp_path):
    """One part; numbers or hidden labels; pictures as bytes; lists of classes. Mutation: -1 as the last class."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value

    kinds = ClassLabel(names=["zip", "strap", "lock"])
    rows = {"photo": [tiny_sets.encoded(row, "PNG") for row in range(4)], "kind": [0, 1, -1, 2],
            "number": [10, None, 12, 10], "parts": [[0], [1, 2], None, []]}  # fmt: skip
    features = Features({"photo": Value("binary"), "kind": kinds, "number": Value("int64"), "parts": List(kinds)})
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "one")
    place = {"huggingface": str(tmp_path / "one"), "image": "photo"}
    assert list(listed({**place, "label": "kind"}).labels) == ["zip", "strap", "", "lock"]
    assert list(listed({**place, "label": "number"}).labels) == ["10", "", "12", "10"]
    several = listed({**place, "label": "parts"})
    assert list(several.attributes) == ["zip", "strap", "lock"]
    assert several.marks is not None
    assert several.marks.tolist() == [[1, 0, 0], [0, 1, 1], [-1, -1, -1], [0, 0, 0]]
    assert several.parts == ()
    assert several.pictures[3].read() == rows["photo"][3]

    images = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    part = Dataset.from_dict({"image": [{"bytes": tiny_sets.encoded(0, "PNG")}], "label": [0]}, features=images)
    DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "two")
    assert listed(f"huggingface:{tmp_path / 'two'}").parts == ()  # a split is drawn
    chosen = listed({"huggingface": str(tmp_path / "two"), "test": "validation"})
    assert list(chosen.parts) == ["train", "test"]
