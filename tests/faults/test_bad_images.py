"""Files, folders, tables and words that are wrong: each is skipped with a reason, or refused in one sentence."""

import io
import os
import random
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from selfstudy.errors import UserError
from selfstudy.images import load, split
from selfstudy.rng import Rng


def picture(seed: int, side: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def encoded(kind: str, seed: int = 0, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    picture(seed, side).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder with 4 pictures of 2 classes."""
    for number in range(4):
        path = tmp_path / "good" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded("PNG", number))
    return tmp_path / "good"


def reason(good: Path, name: str, content: bytes, **options: object) -> str:
    """Why the bytes cannot be used."""
    (good / "a" / name).write_bytes(content)
    images = load(good, image_size=16, most_unreadable=0.5, **options)
    assert len(images) == 4
    [skipped] = images.skipped
    assert skipped.path == str(good / "a" / name)
    return skipped.reason


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims a size."""
    content = bytearray(encoded("PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.jpg", b"", "is empty (0 bytes)"),
        ("x.png", b"this is no picture", "is none of JPEG, PNG"),
        ("x.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is none of JPEG, PNG"),
        ("x.gif", encoded("PCX"), "is none of JPEG, PNG"),  # for some formats Pillow would run other programs
        ("x.jpg", encoded("JPEG")[:-60], "is damaged or cut short"),
        ("x.png", encoded("PNG")[:-60], "is damaged or cut short"),
        ("x.png", png_header(50_000, 50_000), "has too many pixels"),
        ("x.png", png_header(0, 10), "is none of"),
    ],
)
def test_an_unreadable_file_is_skipped_with_its_reason(good, name, content, expected):
    """Mutation: set LOAD_TRUNCATED_IMAGES, or leave out the reason."""
    assert reason(good, name, content).startswith(expected)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.filterwarnings("error")
def test_a_large_scan_is_no_bomb(tmp_path):
    """90 million pixels: Pillow warns, but a scan may be so large. Mutation: let the warning through."""
    Image.new("1", (9500, 9500), 1).save(tmp_path / "x.png")
    assert load(tmp_path, image_size=16).images[:].unique().tolist() == [255]


def test_numbers_that_are_no_grey_levels_are_refused(good):
    for values, expected in (
        (np.full((4, 4), 3.5, dtype=np.float32), "has grey values from 3.5 to 3.5; expected 0 to 1"),
        (np.full((4, 4), np.nan, dtype=np.float32), "has grey values from nan to nan; expected 0 to 1"),
        (np.full((4, 4), 70000, dtype=np.int32), "has grey values from 70000 to 70000; expected 0 to 65535"),
        (np.full((4, 4), -1, dtype=np.int32), "has grey values from -1 to -1; expected 0 to 65535"),
    ):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "TIFF")
        assert reason(good, "x.tif", buffer.getvalue(), levels="full") == expected
    buffer = io.BytesIO()
    Image.new("LAB", (4, 4)).save(buffer, "TIFF")
    assert reason(good, "x.tif", buffer.getvalue()) == "has pixels of the kind LAB, which cannot be read as colours"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TGA", "PPM", "AVIF", "JPEG2000"])
def test_damage_never_ends_the_run(tmp_path, kind):
    """Bytes overwritten at random: read or skipped, nothing else. Mutation: catch OSError alone."""
    dice = random.Random(kind)
    good = encoded(kind, side=24)
    for number in range(60):
        content = bytearray(good)
        for _ in range(dice.randint(1, 10)):
            content[dice.randrange(min(len(content), 400))] = dice.randrange(256)
        (tmp_path / f"{number}.png").write_bytes(content)
    (tmp_path / "good.png").write_bytes(good)
    images = load(tmp_path, image_size=16, most_unreadable=1.0)
    assert len(images) + len(images.skipped) == 61
    assert all(len(skipped.reason) > 10 and "\n" not in skipped.reason for skipped in images.skipped)


def test_more_unreadable_files_than_allowed_are_an_error(good):
    """1 of 20 is allowed, 2 of 21 are not. Mutation: >= for >."""
    for number in range(4, 19):
        (good / "a" / f"{number}.png").write_bytes(encoded("PNG", number))
    (good / "b" / "broken.png").write_bytes(b"")
    assert len(load(good, image_size=16).skipped) == 1
    (good / "b" / "also broken.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"2 of the 21 pictures of .* more than most_unreadable=0.05 .*also broken.png is empty"
    ):
        load(good, image_size=16)
    assert len(load(good, image_size=16, most_unreadable=0.1).skipped) == 2


def test_nothing_readable_is_an_error_whatever_is_allowed(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 1 pictures of .* can be read; the first: .*x.png is empty"):
        load(tmp_path, image_size=16, most_unreadable=1.0)


def test_other_files_are_counted_not_read(good):
    for name in ("notes.txt", ".hidden.png", "Thumbs.db", "no suffix"):
        (good / name).write_bytes(encoded("PNG"))
    (good / ".cache").mkdir()
    (good / ".cache" / "x.png").write_bytes(encoded("PNG", 9))
    images = load(good, image_size=16)
    assert len(images) == 4
    assert images.ignored == 5
    assert images.skipped == ()


def test_a_folder_named_like_a_picture(good):
    (good / "c.jpg").mkdir()
    (good / "c.jpg" / "x.png").write_bytes(encoded("PNG", 9))
    images = load(good, image_size=16, labelled=True)
    assert images.classes == ("a", "b", "c.jpg")
    assert images.skipped == ()


def test_empty_places(tmp_path):
    with pytest.raises(UserError, match="holds no file"):
        load(tmp_path, image_size=16)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"holds no picture among its 1 files; pictures end in .*\.jpg"):
        load(tmp_path, image_size=16)


def test_labels_that_are_not_there(good):
    with pytest.raises(UserError, match='has only one class, "a"'):
        for path in (good / "b").iterdir():
            path.unlink()
        load(good, image_size=16, labelled=True)
    with pytest.raises(UserError, match="has no sub-folders to be classes"):
        load(good / "a", image_size=16, labelled=True)


def test_a_picture_outside_every_class_has_no_label(good):
    (good / "x.png").write_bytes(encoded("PNG", 9))
    images = load(good, image_size=16, labelled=True)
    assert sorted(images.labels.tolist()) == [-1, 0, 0, 1, 1]


def test_folders_named_like_parts_are_no_classes(tmp_path):
    """Mutation: take the first folder for the class, which makes a study tell train from test."""
    for number, part in enumerate(("train", "val", "Test")):
        for position, name in enumerate(("cats", "dogs")):
            path = tmp_path / part / name / "x.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded("PNG", 2 * number + position))
    images = load(tmp_path, image_size=16, labelled=True)
    assert images.classes == ("cats", "dogs")
    assert sorted(images.parts.tolist()) == ["test"] * 2 + ["train"] * 4
    found = split(images, test=0.5, rng=Rng.from_seed(0))
    assert all("Test" in path for path in images.paths[found.test_rows])


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_and_loops(good):
    """A picture is found once, under its real name. Mutation: os.walk with followlinks."""
    (good / "a" / "loop").symlink_to(good, target_is_directory=True)
    for name in ("0 link", "z link"):  # the first and the last of its folder
        (good / name).symlink_to(good / "b", target_is_directory=True)
    (good / "elsewhere").symlink_to(good / "nowhere.png")
    (good / "broken.png").symlink_to(good / "nowhere.png")
    images = load(good, image_size=16, labelled=True, most_unreadable=0.5)
    assert len(images) == 4
    assert images.classes == ("a", "b")
    assert [(Path(skipped.path).name, skipped.reason) for skipped in images.skipped] == [
        ("broken.png", "does not exist")
    ]
    assert images.ignored == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_is_not_waited_for(good):
    os.mkfifo(good / "pipe.png")
    [skipped] = load(good, image_size=16, most_unreadable=0.5).skipped
    assert skipped.reason == "is not a file"


@pytest.mark.skipif(sys.platform != "linux", reason="only there are names just bytes")
def test_names_that_are_hard_to_print(tmp_path):
    for number, name in enumerate((b"caf\xe9", "日本".encode(), b"two\nlines", b"tab\t")):
        os.makedirs(os.path.join(os.fsencode(tmp_path), name))
        with open(os.path.join(os.fsencode(tmp_path), name, name + b".png"), "wb") as file:
            file.write(encoded("PNG", number))
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\n.png"), "wb"):
        pass
    images = load(tmp_path, image_size=16, labelled=True, most_unreadable=0.5)
    assert set(images.classes) == {"caf\\udce9", "日本", "two\\nlines", "tab\\t"}
    assert images.skipped[0].path == str(tmp_path / "\\udcff\\n.png")
    ("".join([*images.paths, *images.classes, images.skipped[0].path])).encode("utf-8")
    assert len(images.fingerprint) == 32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnst5k", 'there is no data source and no folder "mnst5k". Did you mean "mnist5k"?'),
        ("tabel:x.csv", 'there is no data source and no folder "tabel:x.csv". Did you mean "table"?'),
        ("somewhere/else", "the folder somewhere/else does not exist"),
        ("~nobody-of-that-name/x", "the folder ~nobody-of-that-name/x does not exist"),
        ("folder:nowhere", "the folder nowhere does not exist"),
        (Path("nowhere"), "the folder nowhere does not exist"),
        (" ", "data is empty. Valid: celeba, cifar10,"),
        ("x" * 5000, "there is no data source and no folder"),
        ("table:nowhere.csv", "the table nowhere.csv does not exist"),
        ({"label": "Kind"}, "data has the settings label, but must name exactly one source: "),
        ({"folder": "a", "table": "b"}, "data has the settings folder, table, but must name exactly one source"),
        ({"table": "x.csv", "splitt": "Part"}, 'data: there is no setting "splitt". Did you mean "split"?'),
        ({"table": "x.csv", "label": 3}, "data: label is 3, but"),
    ],
)
def test_words_that_name_no_source(source, message):
    with pytest.raises(UserError) as caught:
        load(source, image_size=16)
    assert message in str(caught.value)


def test_a_file_is_no_folder(good):
    with pytest.raises(UserError, match=r"0\.png is a file: for a table write table:FILE"):
        load(str(good / "a" / "0.png"), image_size=16)
    with pytest.raises(UserError, match=r"0\.png is a file"):
        load(f"folder:{good / 'a' / '0.png'}", image_size=16)


def test_an_image_size_below_one_is_refused(good):
    with pytest.raises(UserError, match="image_size is 0, but must be at least 1"):
        load(good, image_size=0)


def table(good: Path, text: str, encoding: str = "utf-8") -> Path:
    (good / "table.csv").write_text(text, encoding=encoding)
    return good / "table.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_in_every_dialect(good, separator, encoding):
    """Labels stay as written: NA is a name. Mutation: let pandas find missing values."""
    rows = [["File", " Kind", "Product", "Part"], ["a/0.png", "007", "P1", "train"], ["b/1.png", "NA", "P2", "Test"],
            ["a/2.png", '"7, or; so"', "", "val"], ["b/3.png", "", "P2", "test"], ["", "007", "P3", ""]]  # fmt: skip
    if separator == "\t":
        rows[3][1] = '"7, or; so"'
    path = table(good, "\n".join(separator.join(row) for row in rows) + "\n", encoding)
    source = {"table": str(path), "path": "File", "label": "Kind", "group": "Product", "split": "Part"}
    images = load(source, image_size=16, labelled=True, most_unreadable=0.5)
    assert images.classes == ("007", "7, or; so", "NA")
    by_name = {Path(path).name: row for row, path in enumerate(images.paths)}
    labels = [images.labels[by_name[f"{number}.png"]].item() for number in range(4)]
    assert labels == [0, 2, 1, -1]
    assert [images.parts[by_name[f"{number}.png"]] for number in range(4)] == ["train", "test", "train", "test"]
    assert images.groups[by_name["1.png"]] == images.groups[by_name["3.png"]] == "P2"
    assert images.groups[by_name["2.png"]] == images.ids[by_name["2.png"]]
    [skipped] = images.skipped
    assert skipped.path == f"{path}, row 6"
    assert skipped.reason == "has no path"


def test_a_column_of_numbers_stays_as_written(good):
    path = table(good, "path,label\na/0.png,007\nb/1.png,7\n")
    assert load(f"table:{path}", image_size=16, labelled=True).classes == ("007", "7")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("File,Kind\na/0.png,x\n", {}, 'has no column "path" (path). Valid: File, Kind.'),
        ("path,Kind\na/0.png,x\n", {"label": "Kidn"}, 'has no column "Kidn" (label). Did you mean "Kind"?'),
        ("path,label\na/0.png,x\n", {"group": "Page"}, 'has no column "Page" (group).'),
        ("path,label,split\na/0.png,x,tset\n", {}, 'row 2: the split is "tset". Did you mean "test"?'),
        ("path,label\n", {}, "has no rows"),
        ("", {}, "cannot be read: No columns to parse from file"),
        ('path,label\n"a/0.png,x\n', {}, "cannot be read: "),
        ("path,label\na/0.png,x\nb/1.png,x\n", {}, 'has only one class, "x"'),
        ("path,label\na/0.png,\nb/1.png,\n", {}, "has no labels"),
        ("path,label\nnowhere.png,x\n", {}, "none of the 1 pictures"),
        ("path,label\na/0.png,x\n", {"images": "nowhere"}, "the folder nowhere of the pictures does not exist"),
        (
            "path,label,group,split\na/0.png,x,g,train\nb/1.png,y,g,test\n",
            {},
            'has pictures of the group "g" in both train and test',
        ),
    ],
)
def test_tables_that_are_wrong(good, text, settings, message):
    with pytest.raises(UserError) as caught:
        load({"table": table(good, text), **settings}, image_size=16, labelled=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_utf8(good):
    path = table(good, "path,label\na/0.png,café\n", encoding="latin-1")
    with pytest.raises(UserError, match='is not UTF-8 text; in Excel save it as "CSV UTF-8"'):
        load(f"table:{path}", image_size=16, labelled=True)


@pytest.mark.parametrize("rows", ["a/0.png,x, old\nb/1.png,y, new\n", "a/0.png,x\nb/1.png,y, new\n"])
def test_rows_longer_than_the_header_are_refused(good, rows):
    """Left to itself pandas takes the first column for row names, and every label moves by one."""
    path = table(good, f"path,label\n{rows}")
    with pytest.raises(UserError, match=r"table.csv cannot be read: .*(more cells than|Expected 2 fields in line 3)"):
        load(f"table:{path}", image_size=16, labelled=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems word these otherwise")
def test_paths_in_a_table_that_lead_nowhere(good):
    text = f"path,label\na/0.png,x\nb/1.png,y\na,x\nnowhere.png,y\n{'long' * 500}.png,y\n"
    images = load(f"table:{table(good, text)}", image_size=16, labelled=True, most_unreadable=0.6)
    assert [skipped.reason for skipped in images.skipped] == [
        "is a folder",
        "does not exist",
        "cannot be read: File name too long",
    ]


@pytest.mark.parametrize(("name", "package"), [("t.xlsx", "openpyxl"), ("t.parquet", "pyarrow")])
def test_tables_of_other_kinds(good, name, package):
    """Read if the package is there (a column with an empty cell is no longer of whole numbers); else it is named."""
    import pandas as pd

    path = good / name
    frame = pd.DataFrame({"path": ["a/0.png", "b/1.png", "a/2.png"], "label": [1, 2, None]})
    try:
        frame.to_excel(path, index=False) if name == "t.xlsx" else frame.to_parquet(path)
    except ImportError:
        path.write_bytes(b"anything")
        with pytest.raises(UserError, match=f"the package {package} is needed: pip install {package}"):
            load(f"table:{path}", image_size=16, labelled=True)
    else:
        assert load(f"table:{path}", image_size=16, labelled=True).classes == ("1", "2")
        path.write_bytes(b"anything")
        with pytest.raises(UserError, match="cannot be read"):
            load(f"table:{path}", image_size=16, labelled=True)


def test_a_table_of_no_known_kind(good):
    (good / "t.ods").write_bytes(b"x")
    with pytest.raises(UserError, match=r"t.ods is of no known kind"):
        load(f"table:{good / 't.ods'}", image_size=16)
