"""The store: decoded once, found again, grown by what is new, whole after a kill; and pages, channels and depths."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from selfstudy.encoder import Tiles
from selfstudy.errors import RunError, UserError
from selfstudy.images import _copies, _decode, _store, load

RANDOM = np.random.default_rng(0)


def noise(side: int, channels: int = 1) -> np.ndarray:
    shape = (side, side) if channels == 1 else (side, side, channels)
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def write(folder: Path, count: int, side: int = 20, channels: int = 1, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        Image.fromarray(noise(side, channels)).save(folder / f"{number:04}.png")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    found: list[Path] = []

    def spy(file: Path, recipe: object) -> object:
        found.append(file)
        return _decode.decode(file, recipe)

    monkeypatch.setattr(_store, "decode", spy)
    return found


class TestStore:
    def test_files_are_decoded_once(self, tmp_path, cache, decoded):
        """Mutations: forget stamps, or compare sizes alone."""
        folder = write(tmp_path / "p", 12)
        first = load(folder, image_size=16)
        assert len(decoded) == 12
        again = load(folder, image_size=16)
        assert len(decoded) == 12 and torch.equal(first.images[:], again.images[:])
        write(folder, 3, start=12)
        assert len(load(folder, image_size=16)) == 15 and len(decoded) == 15
        changed = folder / "0000.png"
        before = changed.stat()
        Image.fromarray(noise(20)).save(changed)
        os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
        assert len(load(folder, image_size=16)) == 15 and len(decoded) == 16

    def test_a_renamed_picture_keeps_its_pixels_and_another_recipe_gets_its_own(self, tmp_path, cache):
        folder = write(tmp_path / "p", 3)
        first = load(folder, image_size=16)
        (folder / "0000.png").rename(folder / "a.png")
        assert torch.equal(load(folder, image_size=16).images[:], first.images[:])
        [pool] = cache.glob("images/*/1.u8")
        assert pool.stat().st_size == 3 * 19**2  # read again, stored once
        load(folder, image_size=8)
        assert len(list(cache.glob("images/*"))) == 2

    def test_it_holds_what_memory_would(self, tmp_path, cache):
        """Against Pillow, picture by picture: grey and colour, small ones magnified to the common side."""
        folder = write(tmp_path / "p", 4, side=40, channels=3)
        write(folder, 4, side=40, start=4)
        write(folder, 2, side=10, start=8)
        images = load(folder, image_size=16)
        assert images.images.shape == (10, 3, 19, 19)
        for row, path in enumerate(images.paths):
            picture = Image.open(path)
            wanted = picture.resize((19, 19), Image.Resampling.BICUBIC).convert("RGB")
            np.testing.assert_array_equal(images.images[row].permute(1, 2, 0), np.asarray(wanted))
        rows = torch.tensor([9, 0, 5, 5])
        assert torch.equal(images.images[rows], images.images[:][rows])
        assert torch.equal(torch.cat(list(images.images.split(3))), images.images[:])
        part = images.select(np.array([7, 2]))
        assert torch.equal(part.images[:], images.images[torch.tensor([7, 2])])
        assert torch.equal(
            images.select(np.flatnonzero(images.images.kinds == 1)).with_channels(3).images[0],
            images.images[torch.from_numpy(np.flatnonzero(images.images.kinds == 1))][0],
        )

    def test_a_larger_picture_changes_the_common_size_of_those_before_it(self, tmp_path, cache):
        folder = write(tmp_path / "p", 2, side=10)
        assert load(folder, image_size=8).images.shape[2] == 10
        write(folder, 1, side=12, start=2)  # at most ceil(1.15 * 8) = 10 are kept
        assert load(folder, image_size=8).images.shape[2] == 10
        folder = write(tmp_path / "q", 2, side=17)
        assert load(folder, image_size=16).images.shape[2] == 17
        write(folder, 1, side=18, start=2)
        images = load(folder, image_size=16)
        assert images.images.shape[2] == 18
        small = next(row for row, path in enumerate(images.paths) if path.endswith("0000.png"))
        wanted = Image.open(folder / "0000.png").resize((18, 18), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(images.images[small][0], np.asarray(wanted))

    def test_a_killed_build_goes_on(self, tmp_path, cache):
        """SIGKILL while it decodes; the next process finds what was committed and ends with the pixels of a whole one."""
        folder = write(tmp_path / "p", 600, side=60)
        program = (
            "import sys; from selfstudy.images import _store, load\n"
            "_store._WINDOW = 16\n"
            f"load({str(folder)!r}, image_size=48)"
        )
        process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"})
        pool = None
        for _ in range(2000):
            pool = next(iter(cache.glob("images/*/1.u8")), None)
            if pool and pool.stat().st_size > 40 * 56**2:
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert pool is not None
        with pool.open("ab") as file:
            file.write(b"torn")  # pixels that the index knows nothing of
        resumed = load(folder, image_size=48)
        assert len(resumed) == 600
        for row in (0, 17, 300, 599):
            wanted = Image.open(resumed.paths[row]).resize((56, 56), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(resumed.images[row][0], np.asarray(wanted))

    def test_no_place_for_it_is_one_sentence(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "file"))
        with pytest.raises(RunError, match="name another place with the environment variable SELFSTUDY_CACHE"):
            load(write(tmp_path / "p", 2), image_size=16)

    def test_a_full_disk_keeps_what_was_stored(self, tmp_path, cache, monkeypatch):
        folder = write(tmp_path / "p", 2)
        load(folder, image_size=16)
        write(folder, 2, start=2)

        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(_store.os, "fsync", full)
            with pytest.raises(RunError, match=r"No space left on device.*make room"):
                load(folder, image_size=16)
        assert len(load(folder, image_size=16)) == 4


class TestTiles:
    def page(self, folder: Path, **options: object) -> tuple[Path, np.ndarray]:
        """A page of 5 x 4 tiles of 100 pixels, each of its own noise; the first row is blank paper."""
        folder.mkdir(parents=True, exist_ok=True)
        values = np.full((430, 540), 240, dtype=np.uint8)
        values[115:] = RANDOM.integers(0, 256, (315, 540), dtype=np.uint8)
        tifffile.imwrite(folder / "page.tif", values, **options)
        return folder, values

    def test_tiles_by_hand(self, tmp_path):
        """The grid is centred, blank tiles are left out, every tile is in the group and of the page it comes from."""
        folder, values = self.page(tmp_path / "p")
        images = load(folder, image_size=100, tiles=Tiles(side=100, most=50))
        assert len(images) == 15 and len(set(images.groups)) == len(set(images.pages)) == 1
        numbers = sorted(int(name.split(":")[1]) for name in images.ids)
        assert numbers == list(range(5, 20))
        for row, name in enumerate(images.ids):
            y, x = divmod(int(name.split(":")[1]), 5)
            wanted = values[15 + 100 * y : 115 + 100 * y, 20 + 100 * x : 120 + 100 * x]
            np.testing.assert_array_equal(images.images[row][0], wanted)

    def test_fewer_tiles_are_some_of_the_same(self, tmp_path):
        folder, _ = self.page(tmp_path / "p")
        every = load(folder, image_size=100, tiles=Tiles(side=100, most=50)).ids
        few = load(folder, image_size=100, tiles=Tiles(side=100, most=4)).ids
        assert len(few) == 4 and set(few) < set(every)

    def test_scale_is_of_the_page(self, tmp_path):
        folder, values = self.page(tmp_path / "p")
        images = load(folder, image_size=100, tiles=Tiles(side=100, scale=0.5, most=9))
        assert len(images) == 4
        name = int(images.ids[0].split(":")[1])
        y, x = divmod(name, 2)
        piece = values[15 + 200 * y : 215 + 200 * y, 70 + 200 * x : 270 + 200 * x]
        wanted = Image.fromarray(piece).resize((100, 100), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(images.images[0][0], np.asarray(wanted))

    @pytest.mark.parametrize(
        "options", [{}, {"tile": (64, 64)}, {"rowsperstrip": 7}, {"compression": "zlib", "rowsperstrip": 16}]
    )
    def test_large_pages_are_read_in_pieces_with_the_same_result(self, tmp_path, monkeypatch, options):
        """Pieces of strips and tiles against the whole page through Pillow."""
        folder, _ = self.page(tmp_path / "p", **options)
        tiles = Tiles(side=90, most=50)
        whole = load(folder, image_size=90, tiles=tiles)
        monkeypatch.setattr(_decode._tiff, "_IN_PIECES_FROM", 1)
        monkeypatch.setattr(_decode.Image, "open", None)  # nothing may ask Pillow
        monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "other"))
        pieces = load(folder, image_size=90, tiles=tiles)
        assert pieces.ids.tolist() == whole.ids.tolist() and torch.equal(pieces.images[:], whole.images[:])

    def test_blank_pages_are_set_aside_and_named(self, tmp_path):
        folder, _ = self.page(tmp_path / "p")
        Image.new("L", (400, 400), 250).save(folder / "blank.png")
        images = load(folder, image_size=64, tiles=Tiles(side=100), most_unreadable=0.5)
        [skipped] = images.skipped
        assert skipped.path.endswith("blank.png") and skipped.reason.startswith("is blank")

    def test_a_page_smaller_than_a_tile_is_one_tile(self, tmp_path):
        images = load(write(tmp_path / "p", 2, side=50), image_size=32, tiles=Tiles(side=100))
        assert len(images) == 2 and {name.split(":")[1] for name in images.ids} == {"0"}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"side": 4}, "side is 4"), ({"side": 64, "scale": 2}, "scale is 2"), ({"side": 64, "most": 0}, "most is 0"),
            ({"side": 64, "blank": 0.7}, "blank is 0.7"), ({}, "side"),
        ],
    )  # fmt: skip
    def test_impossible_tiles(self, tmp_path, values, message):
        with pytest.raises(UserError, match=message):
            load(write(tmp_path / "p", 1), image_size=16, tiles=values)

    def test_arrays_have_no_pages(self):
        with pytest.raises(UserError, match="tiles are cut from files of pages"):
            load("digits", image_size=8, tiles=Tiles(side=8))


class TestChannelsAndDepth:
    def test_five_channels_as_samples_planes_and_files(self, tmp_path):
        """One picture stored in three ways has the same channels in the same order."""
        values = RANDOM.integers(0, 256, (5, 20, 20), dtype=np.uint8)
        for name, stored, options in (
            ("planes", values, {"photometric": "minisblack", "planarconfig": "separate"}),
            (
                "samples",
                np.ascontiguousarray(np.moveaxis(values, 0, 2)),
                {"photometric": "minisblack", "planarconfig": "contig"},
            ),
        ):
            (tmp_path / name).mkdir()
            tifffile.imwrite(tmp_path / name / "x.tif", stored, **options)
            found = load(tmp_path / name, image_size=20, channels=5)
            np.testing.assert_array_equal(found.images[0], values)
        (tmp_path / "stack").mkdir()
        for channel in range(5):
            Image.fromarray(values[channel]).save(tmp_path / "stack" / f"well_w{channel + 1}.png")
            Image.fromarray(values[channel].T.copy()).save(tmp_path / "stack" / f"other_w{channel + 1}.png")
        source = {"folder": str(tmp_path / "stack"), "stack": "{picture}_w{channel}.png"}
        found = load(source, image_size=20, channels=5)
        row = next(row for row, path in enumerate(found.paths) if "well" in path)
        assert len(found) == 2
        np.testing.assert_array_equal(found.images[row], values)

    def test_levels_are_of_the_set_and_of_each_channel(self, tmp_path):
        """Two pictures, one half as bright: it stays so. Mutations: stretch each picture, one pair of levels for all."""
        grid = np.linspace(0, 4000, 400).reshape(20, 20)
        bright = np.stack([grid, grid / 10], axis=0).astype(np.uint16)
        for name, values in (("a", bright), ("b", bright // 2)):
            tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric="minisblack", planarconfig="separate")
        images = load(tmp_path, image_size=20, channels=2)
        [(low, high), (other_low, other_high)] = images.levels
        assert low <= 10 and 3900 <= high <= 4000 and other_low <= 1 and 390 <= other_high <= 400
        b, a = sorted(range(2), key=lambda row: int(images.images[row].sum()))
        expected = np.round(
            (
                (bright - np.array([low, other_low])[:, None, None])
                / np.array([high - low, other_high - other_low])[:, None, None]
            ).clip(0, 1)
            * 255
        )
        np.testing.assert_array_equal(images.images[a], expected)
        assert abs(float(images.images[b].float().mean() / images.images[a].float().mean()) - 0.5) < 0.02

    def test_pictures_kept_for_testing_decide_no_level(self, tmp_path):
        for name, most in (("a", 1000), ("b", 1000), ("z", 60000)):
            tifffile.imwrite(tmp_path / f"{name}.tif", np.linspace(0, most, 400).reshape(20, 20).astype(np.uint16))
        (tmp_path / "t.csv").write_text("path,label,split\na.tif,x,train\nb.tif,y,train\nz.tif,x,test\n")
        [(_, high)] = load(f"table:{tmp_path / 't.csv'}", image_size=20, labelled=True).levels
        assert high <= 1000

    def test_sixteen_bit_colour_that_pillow_refuses(self, tmp_path):
        values = RANDOM.integers(0, 65536, (20, 20, 3), dtype=np.uint16)
        tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb")
        found = load(tmp_path, image_size=20, levels="full").images[0].permute(1, 2, 0)
        np.testing.assert_array_equal(found, np.round(values / 65535 * 255))

    def test_floats_of_any_range(self, tmp_path):
        values = np.linspace(-3, 7, 400, dtype=np.float32).reshape(20, 20)
        tifffile.imwrite(tmp_path / "x.tif", values)
        pixels = load(tmp_path, image_size=20).images[0]
        assert pixels.min() <= 1 and pixels.max() >= 254

    def test_pictures_of_other_channels_are_set_aside(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", noise(20, 5), photometric="minisblack", planarconfig="contig")
        tifffile.imwrite(tmp_path / "b.tif", noise(20, 4), photometric="minisblack", planarconfig="contig")
        images = load(tmp_path, image_size=20, channels=5, most_unreadable=0.5)
        assert [skipped.reason for skipped in images.skipped] == ["has 4 channels instead of 5"]
        auto = load(tmp_path, image_size=20, most_unreadable=0.5)
        assert [skipped.reason for skipped in auto.skipped] == ["has 5 channels: say so with channels: 5"]
        colour = load(write(tmp_path / "grey", 2), image_size=16, channels=3)
        assert colour.channels == 3

    def test_stacks_that_do_not_fit_together(self, tmp_path):
        Image.fromarray(noise(20)).save(tmp_path / "a_1.png")
        Image.fromarray(noise(24)).save(tmp_path / "a_2.png")
        for channel in (1, 2):
            Image.fromarray(noise(20)).save(tmp_path / f"b_{channel}.png")
        Image.fromarray(noise(20)).save(tmp_path / "c_1.png")
        source = {"folder": str(tmp_path), "stack": "{picture}_{channel}.png"}
        images = load(source, image_size=16, channels=2, most_unreadable=0.7)
        assert len(images) == 1
        reasons = {Path(skipped.path).name: skipped.reason for skipped in images.skipped}
        assert reasons["a_1.png"] == "has files of different sizes"
        assert reasons["c_1.png"] == "lacks channels: it has 1 of 2"


class TestCopies:
    def picture(self, seed: int) -> Image.Image:
        """Smooth random blobs, as different as photographs are."""
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)

    def test_saved_again_shrunk_and_darkened_share_a_group(self, tmp_path):
        """Mutations: hashes alone, exact copies alone."""
        for number in range(40):
            picture = self.picture(number)
            picture.save(tmp_path / f"{number}.png")
            if number < 5:
                picture.save(tmp_path / f"{number}-again.jpg", quality=40)
                picture.resize((80, 60)).save(tmp_path / f"{number}-half.png")
                picture.point(lambda value: round(value * 0.9)).save(tmp_path / f"{number}-dark.png")
        images = load(tmp_path, image_size=48)
        found: dict[str, set[str]] = {}
        for path, group in zip(images.paths, images.groups, strict=True):
            found.setdefault(group, set()).add(Path(path).stem.split("-")[0])
        assert all(len(numbers) == 1 for numbers in found.values())  # nothing is taken for what it is not
        assert 40 <= len(found) <= 42  # of 15 copies at most two are overlooked
        assert len(set(load(tmp_path, image_size=48, near_duplicates=False).groups)) == 55

    def test_twins_in_another_set(self, tmp_path):
        for number in range(10):
            for name in ("one", "two"):
                (tmp_path / name).mkdir(exist_ok=True)
                self.picture(number + (5 if name == "two" else 0)).save(
                    tmp_path / name / f"{number}.jpg", quality=60 if name == "one" else 90
                )
        one, two = (load(tmp_path / name, image_size=48) for name in ("one", "two"))
        twins = _copies.have_twins(one.looks, one.images, two.looks, two.images)
        assert sorted(Path(path).stem for path in one.paths[twins]) == ["5", "6", "7", "8", "9"]

    def test_kin_are_not_copies(self, mnist):
        """A set in which a whole class looks alike is not made into one group, and says so."""
        cluster = np.array([0] * 60 + list(range(1, 41)))
        assert _copies.are_kin(cluster) and not _copies.are_kin(np.arange(100))
        looks = np.array([_copies.look_of(picture.numpy()) for picture in mnist.images[:600]])
        clusters = _copies.clusters(looks, mnist.images[:600])
        assert np.bincount(clusters).max() <= 3
