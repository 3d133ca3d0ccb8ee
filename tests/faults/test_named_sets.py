"""Published sets with something wrong: one sentence names the file and the remedy, and nothing is taken for what it is not."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from selfstudy.errors import UserError
from selfstudy.images import load
from selfstudy.images._load import find
from tests import tiny_sets


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "cache"))


def complaint(source: object, labelled: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        find(source).listing(labelled)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    return text


def cut(path: Path, kept: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "write", "file", "archive", "folder"),
    [
        ("cifar10", tiny_sets.cifar10, "cifar-10-batches-py/data_batch_3", "cifar-10-python.tar.gz", "."),
        ("cifar100", tiny_sets.cifar100, "cifar-100-python/meta", "cifar-100-python.tar.gz", "."),
        ("stl10", tiny_sets.stl10, "stl10_binary/unlabeled_X.bin", "stl10_binary.tar.gz", "."),
        ("svhn", tiny_sets.svhn, "test_32x32.mat", "test_32x32.mat", "."),
    ],
)
@pytest.mark.parametrize("harm", [Path.unlink, cut, flip])
def test_a_file_that_is_not_as_published(tmp_path, monkeypatch, name, write, file, archive, folder, harm):
    """A checksum is compared, a missing file is fetched, and there is no network. Mutation: skip the checksum."""
    tiny_sets.accept(monkeypatch, write(tmp_path / "data"))
    assert len(find(f"{name}:{tmp_path / 'data'}").listing(True).pictures)
    harm(tmp_path / "data" / file)
    problem = "is missing" if harm is Path.unlink else "is not the published file (its MD5 differs)"
    text = complaint(f"{name}:{tmp_path / 'data'}")
    assert text.startswith(f"{name}: {tmp_path / 'data' / file} {problem} and could not be fetched (")
    assert "Connection refused" in text or harm is not Path.unlink
    assert f"127.0.0.1:9/{archive} as {archive} into {(tmp_path / 'data' / folder)}" in text


@pytest.mark.parametrize(
    ("name", "kind", "harm", "expected"),
    [
        ("mnist", "MNIST", Path.unlink, "train-labels-idx1-ubyte is missing and could not be fetched ("),
        ("mnist", "MNIST", cut, "MNIST/raw cannot be read ("),
        ("fashionmnist", "FashionMNIST", lambda path: path.write_bytes(b""), "FashionMNIST/raw cannot be read ("),
    ],
)
def test_files_of_mnist(tmp_path, monkeypatch, name, kind, harm, expected):
    tiny_sets.accept(monkeypatch, tiny_sets.mnist(tmp_path, kind))
    harm(tmp_path / kind / "raw" / "train-labels-idx1-ubyte")
    text = complaint(f"{name}:{tmp_path}")
    assert text.startswith(f"{name}: ")
    assert expected in text
    assert "as train-labels-idx1-ubyte.gz and http" in text
    assert text.endswith(f"into {tmp_path / kind / 'raw'}")


def test_a_download_that_is_not_the_published_file(tmp_path, monkeypatch):
    """By hand into the right place, but another file. Mutation: unpack what is there."""
    tiny_sets.accept(monkeypatch, tiny_sets.mnist(tmp_path, packed=True))
    (tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"another"))
    assert "t10k-images-idx3-ubyte is missing and could not be fetched" in complaint(f"mnist:{tmp_path}")


def test_places_of_published_sets(tmp_path):
    assert complaint("cifar10:nowhere") == (
        "the folder nowhere does not exist: make it, and cifar10 is fetched into it, or write cifar10"
    )
    (tmp_path / "file").write_text("x")
    assert "is a file: make it" in complaint(f"svhn:{tmp_path / 'file'}")
    with pytest.raises(UserError, match=r'data: there is no setting "extras"\. Did you mean "extra"'):
        find({"svhn": "", "extras": True})


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("train_y.bin", bytes([1] * 11), "train_y.bin does not hold 12 numbers from 1 to 10"),
        ("test_y.bin", bytes([11] * 6), "test_y.bin does not hold 6 numbers from 1 to 10"),
        ("unlabeled_X.bin", bytes(1000), "unlabeled_X.bin is cut short: 1000 bytes are no multiple of 27648"),
        ("fold_indices.txt", b"0 1 12\n", "fold_indices.txt does not hold lines of numbers below 12"),
        ("fold_indices.txt", b"", "fold_indices.txt does not hold lines of numbers below 12"),
    ],
)
def test_files_of_stl10_that_contradict_each_other(tmp_path, monkeypatch, file, content, expected):
    tiny_sets.stl10(tmp_path)
    (tmp_path / "stl10_binary" / file).write_bytes(content)
    tiny_sets.accept(monkeypatch, tmp_path)
    text = complaint(f"stl10:{tmp_path}")
    assert expected in text
    assert text.endswith("unpack it again")


def edit(path: Path, change: Callable[[list[str]], object]) -> None:
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("list_attr_celeba.txt", lambda lines: lines.__setitem__(3, "000002.jpg  1 -1"), "is damaged or cut short"),
        ("list_attr_celeba.txt", lambda lines: lines.__setitem__(3, "000002.jpg 1 0 -1 1"), "000002.jpg has values other than -1 and 1"),
        ("list_attr_celeba.txt", lambda lines: lines.pop(), "has no line for 000012.jpg"),
        ("list_attr_celeba.txt", lambda lines: lines.clear(), "is damaged or cut short"),
        ("list_attr_celeba.txt", lambda lines: lines.append(lines[-1]), "lists 000012.jpg twice"),
        ("identity_CelebA.txt", lambda lines: lines.pop(0), "has no line for 000001.jpg"),
        ("identity_CelebA.txt", lambda lines: lines.__setitem__(0, "000001.jpg x"), "is damaged or cut short"),
        ("list_eval_partition.txt", lambda lines: lines.__setitem__(2, "000003.jpg 3"), "000003.jpg is in part 3, but must be in 0, 1 or 2"),
        ("list_eval_partition.txt", lambda lines: lines.clear(), "list_eval_partition.txt lists no pictures"),
    ],
)  # fmt: skip
def test_files_of_celeba(tmp_path, file, change, expected):
    tiny_sets.celeba(tmp_path)
    edit(tmp_path / file, change)
    text = complaint(f"celeba:{tmp_path}")
    assert str(tmp_path / file) in text
    assert expected in text


def test_parts_of_celeba_that_are_missing(tmp_path):
    tiny_sets.celeba(tmp_path)
    with pytest.raises(UserError, match=r'has no attribute "Smilling"\. Did you mean "Smiling"'):
        find({"celeba": str(tmp_path), "attribute": "Smilling"}).listing(True)
    (tmp_path / "identity_CelebA.txt").unlink()
    assert "identity_CelebA.txt is missing: get it from https://mmlab.ie.cuhk.edu.hk" in complaint(f"celeba:{tmp_path}")
    (tmp_path / "img_align_celeba").rename(tmp_path / "elsewhere")
    assert "has no folder img_align_celeba of pictures: get img_align_celeba.zip" in complaint(f"celeba:{tmp_path}")
    (tmp_path / "img_align_celeba.zip").write_bytes(b"x")
    assert complaint(f"celeba:{tmp_path}").endswith("has no folder img_align_celeba of pictures: unpack it there")


def test_a_picture_of_celeba_that_is_missing_is_skipped_with_its_attributes(tmp_path):
    """Mutation: rows of attributes by position among the pictures that could be read."""
    tiny_sets.celeba(tmp_path)
    (tmp_path / "img_align_celeba" / "000004.jpg").unlink()
    images = load(f"celeba:{tmp_path}", image_size=8, labelled=True, most_unreadable=0.1)
    assert [Path(skipped.path).name for skipped in images.skipped] == ["000004.jpg"]
    assert images.labels is not None
    for path, marks in zip(images.paths, images.labels.tolist(), strict=True):
        assert marks == [int(Path(path).stem) - 1 >> bit & 1 for bit in range(4)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("n01440764_9.JPEG\nn01440764_1.JPEG\n", "names 1 files that are not in train, the first n01440764_9.JPEG"),
        ("\n", "is empty"),
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe\x00", "cannot be read: it is no text"),
    ],
)
def test_lists_of_labelled_pictures(tmp_path, content, expected):
    tiny_sets.imagenet(tmp_path)
    file = tmp_path / "1percent.txt"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in complaint({"imagenet": str(tmp_path), "labelled_list": str(file)})


def test_folders_of_imagenet(tmp_path):
    (tmp_path / "train").mkdir()
    assert "train holds no picture in folders of classes" in complaint(f"imagenet:{tmp_path}")
    (tmp_path / "train" / "x.JPEG").write_bytes(b"x")
    assert "x.JPEG lies in no folder of a class: expected" in complaint(f"imagenet:{tmp_path}")
    assert "the folder nowhere/train does not exist: expected FOLDER/train/WNID" in complaint("imagenet:nowhere")


def test_a_flat_val_of_imagenet_needs_the_development_kit(tmp_path):
    import torch

    tiny_sets.imagenet(tmp_path, val=0)
    for number in (1, 3):
        (tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(tiny_sets.encoded(number, "JPEG"))
    text = complaint(f"imagenet:{tmp_path}")
    assert "ILSVRC2012_devkit_t12.tar.gz is missing or damaged: put ILSVRC2012_devkit_t12.tar.gz from" in text
    assert f"or sort them into {tmp_path}/val/WNID" in text
    assert len(find(f"imagenet:{tmp_path}").listing(False).pictures) == 14  # labels stay unread
    torch.save(({}, ["n01440764"] * 2), tmp_path / "meta.bin")
    assert "ILSVRC2012_val_00000001.JPEG, are not numbered 1 to 2" in complaint(f"imagenet:{tmp_path}")


def test_tables_of_clamm(tmp_path):
    tiny_sets.clamm(tmp_path, pages=8, tasks=4)
    training = tmp_path / "ICDAR2017_CLaMM_Training"
    table = training / "@ICDAR2017_CLaMM_Training.csv"
    text = table.read_text()
    table.write_text(text.replace("DATE_TYPE", "DATE"))
    assert 'has no column "DATE_TYPE" (label). Did you mean "DATE"?' in complaint(
        {"clamm": str(tmp_path), "label": "date"}
    )
    assert 'has no column "MS" (group).' in complaint({"clamm": str(tmp_path), "group": "MS"})
    table.write_text(text + "IRHT_P_000000.tif;9;1\n")
    assert "IRHT_P_000000.tif another class than a table before it" in complaint(f"clamm:{tmp_path}")
    table.write_text(text)
    for name in ("a", "b"):
        (training / name).mkdir()
        (training / name / "IRHT_P_000003.TIF").write_bytes(tiny_sets.encoded(3, "TIFF"))
    (training / "IRHT_P_000003.tif").unlink()
    assert "names IRHT_P_000003.tif, which is both" in complaint(f"clamm:{tmp_path}")
    with pytest.raises(UserError, match="data: label is 'scribe', but"):
        find({"clamm": str(tmp_path), "label": "scribe"})


def test_a_folder_without_the_tables_of_clamm(tmp_path):
    (tmp_path / "other.csv").write_text("path;label\n")
    assert "no table below" in complaint(f"clamm:{tmp_path}")
    assert "begins with FILENAME;SCRIPT_TYPE;DATE_TYPE: put the CSV files of" in complaint(f"clamm:{tmp_path}")
    assert "does not exist" in complaint(f"clamm:{tmp_path / 'nowhere'}")


def test_a_page_of_clamm_that_is_missing_is_named(tmp_path):
    tiny_sets.clamm(tmp_path, pages=8, tasks=0, scripts=2)
    page = tmp_path / "ICDAR2017_CLaMM_Training" / "IRHT_P_000002.tif"
    page.unlink()
    images = load(f"clamm:{tmp_path}", image_size=8, labelled=True, most_unreadable=0.2)
    assert [(skipped.path, skipped.reason) for skipped in images.skipped] == [(str(page), "does not exist")]


@pytest.mark.parametrize(
    ("table", "settings", "expected"),
    [
        ("path,A,B\nx.png,1,maybe\n", {"labels": ["A", "B"]}, 'row 2: B is "maybe", but must be 1, yes, true, x, 0,'),
        ("path,Zip,B\nx.png,1,0\n", {"labels": ["Zipp", "B"]}, 'has no column "Zipp" (labels). Did you mean "Zip"?'),
        ("path,label\nx.png,1\n", {"sheet": "Bags"}, 'has no sheets, but sheet is "Bags": leave it out'),
    ],
)
def test_tables_of_attributes(tmp_path, table, settings, expected):
    (tmp_path / "t.csv").write_text(table)
    assert expected in complaint({"table": str(tmp_path / "t.csv"), **settings})


def test_a_sheet_that_is_not_there(tmp_path):
    import pandas as pd

    pd.DataFrame({"path": ["x.png"], "label": ["a"]}).to_excel(tmp_path / "t.xlsx", sheet_name="Bags", index=False)
    expected = 'has no sheet "Bag". Did you mean "Bags"?'
    assert expected in complaint({"table": str(tmp_path / "t.xlsx"), "sheet": "Bag"})


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    tiny_sets.webdataset(tmp_path, shards=1)
    return tmp_path / "bags-000.tar"


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.5])
def test_a_shard_that_is_cut_short(shard, kept):
    cut(shard, kept)
    text = complaint(f"wds:{shard}")
    assert text.startswith(f"the shard {shard} is damaged or cut short (")
    assert text.endswith("delete it, then fetch or make it again")


def test_a_shard_with_a_damaged_header(shard):
    """tarfile takes it for the end, and all that follows would be lost. Mutation: trust it."""
    with tarfile.open(shard) as archive:
        third = archive.getmembers()[3]
    content = bytearray(shard.read_bytes())
    content[third.offset + 150] ^= 3  # its checksum
    shard.write_bytes(bytes(content))
    assert f"after byte {third.offset} no file begins" in complaint(f"wds:{shard}")


def test_every_cut_of_a_shard_is_seen(tmp_path):
    """All lengths, in steps of half a block; at the end of a member nothing can be seen. Mutation: trust tarfile."""
    whole = tiny_sets.shard(
        tmp_path / "a.tar", {str(row): {"jpg": bytes(700), "cls": b"1"} for row in range(3)}
    ).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        ends = {found.offset_data + -(-found.size // 512) * 512 for found in archive.getmembers()}
    for length in range(256, max(ends), 256):
        (tmp_path / "a.tar").write_bytes(whole[:length])
        if length not in ends:
            complaint(f"wds:{tmp_path / 'a.tar'}")


def test_shards_that_are_none(tmp_path, shard):
    assert complaint(f"wds:{tmp_path}/nowhere.tar") == f"wds: the shard {tmp_path}/nowhere.tar does not exist"
    assert "bags-00?.tat does not exist" in complaint(f"wds:{tmp_path}/bags-00?.tat")
    assert "is a folder: write FOLDER/*.tar" in complaint(f"wds:{tmp_path}")
    assert "cannot be expanded" in complaint(f"wds:{tmp_path}/bags-{{000..")
    (tmp_path / "empty.tar").write_bytes(b"")
    assert "empty.tar is empty (0 bytes)" in complaint(f"wds:{tmp_path}/empty.tar")
    tiny_sets.shard(tmp_path / "nothing.tar", {})
    assert "nothing.tar is empty: fetch or make it again" in complaint(f"wds:{tmp_path}/nothing.tar")
    (tmp_path / "packed.tar").write_bytes(gzip.compress(shard.read_bytes()))
    assert "is compressed as a whole: unpack it to a plain .tar" in complaint(f"wds:{tmp_path}/packed.tar")
    (tmp_path / "text.tar").write_text("a page that says 404" * 100)
    assert "text.tar is damaged or cut short" in complaint(f"wds:{tmp_path}/text.tar")


def test_a_remote_shard_that_is_not_there(tmp_path):
    """Refused at once, and nothing stays behind that would pass for a shard. Mutation: keep what came."""
    text = complaint(f"wds:pipe:cat {tmp_path}/nowhere.tar 2>/dev/null")
    assert "cannot be fetched (" in text
    assert not [path for path in (tmp_path / "cache" / "shards").iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"label": "class"}, 'has a label in "class" (label). Did you mean "cls"?'),
        ({"label": "json:knd"}, 'has a label in "json:knd" (label).'),
        ({"label": "json"}, "0000.json holds the fields kind, product: name one, such as label: json:kind"),
        ({"label": "cls:kind"}, "0000.cls holds the fields : name one"),
        ({"image": "png"}, "hold no pictures, but the members cls, jpg, json"),
    ],
)
def test_members_of_shards(shard, settings, expected):
    assert expected in complaint({"wds": str(shard), **settings})


def test_a_sample_with_two_pictures(tmp_path):
    tiny_sets.shard(tmp_path / "a.tar", {"0": {"jpg": b"x", "png": b"y"}})
    assert "a.tar/0 has the pictures jpg and png: say which with the setting image" in complaint(
        f"wds:{tmp_path}/a.tar"
    )


def test_a_sample_without_a_picture_is_skipped(tmp_path):
    samples = {str(row): {"jpg": tiny_sets.encoded(row, "JPEG"), "cls": b"ab"[row % 2 :][:1]} for row in range(6)}
    del samples["3"]["jpg"]
    images = load(
        f"wds:{tiny_sets.shard(tmp_path / 'a.tar', samples)}", image_size=8, labelled=True, most_unreadable=0.2
    )
    assert [skipped.reason for skipped in images.skipped] == ["has no picture among its members"]
    assert len(images) == 5


def test_sets_of_huggingface(tmp_path):
    tiny_sets.huggingface(tmp_path / "set")
    place = str(tmp_path / "set")
    assert 'has no column "imag" (image). Did you mean "image"?' in complaint({"huggingface": place, "image": "imag"})
    assert 'has no column "kind" (label).' in complaint({"huggingface": place, "label": "kind"})
    assert 'has no column "page" (group).' in complaint({"huggingface": place, "group": "page"})
    text = complaint({"huggingface": place, "image": "label"})
    assert "is of the kind ClassLabel, but must hold pictures: cast it to Image()" in text
    assert "of the kind Image, but must hold classes, text or numbers" in complaint(
        {"huggingface": place, "label": "image"}
    )
    assert "the folder nowhere does not exist" in complaint("huggingface:nowhere")
    assert "is no whole folder of `save_to_disk`: a file is missing" in complaint(f"huggingface:{tmp_path}")
    flawed = next((tmp_path / "set" / "train").glob("*.arrow"))
    cut(flawed, 0.3)
    assert "is damaged (" in complaint(f"huggingface:{place}")
    flawed.unlink()
    assert "a file is missing" in complaint(f"huggingface:{place}")


def test_parts_and_groups_of_huggingface(tmp_path):
    from datasets import Dataset, DatasetDict

    part = Dataset.from_dict({"image": [b"x"], "label": ["a"], "page": ["p1"]})
    DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "leak")
    text = complaint({"huggingface": str(tmp_path / "leak"), "group": "page"})
    assert 'has pictures of the group "p1" in both train and test' in text
    DatasetDict({"train": part, "tset": part}).save_to_disk(tmp_path / "typo")
    assert 'has a part "tset". Did you mean "test"?' in complaint(f"huggingface:{tmp_path / 'typo'}")


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("huggingface", "datasets", "huggingface"), ("wds", "webdataset", "webdataset")]
)
def test_a_package_that_is_not_there(tmp_path, monkeypatch, name, module, extra):
    import sys

    for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    assert complaint(f"{name}:{tmp_path}").endswith(f'the package {module} is needed: pip install "selfstudy[{extra}]"')
