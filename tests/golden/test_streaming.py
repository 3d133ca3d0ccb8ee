"""Streaming: pictures decoded from their shards as they are wanted, in an order that reads few shards at a time."""

import contextlib
import io
import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selfstudy.errors import RunError, UserError
from selfstudy.images import ImageSet, _order, _shelf, _stream, channel_statistics, load
from selfstudy.images._shards import cache_name
from selfstudy.images.wds import Wds
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study.material import gather
from selfstudy.study.run import run
from selfstudy.study.settings import validate
from selfstudy.training import Data, _ahead, optimizer, pretrain, resolve
from tests import tiny_sets

SIDE = 10  # pixels a side of what is stored at an image size of 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer of two shards, for sets that a real one would hold as a whole."""
    monkeypatch.setattr(_order, "_BUFFER_ROWS", 2)
    monkeypatch.setattr(_order, "_BUFFER_SHARDS", 2)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are fetched from now on."""
    found: list[str] = []

    def spy(url: str, into: Path) -> None:
        found.append(url)
        real(url, into)

    real = _shelf.fetch
    monkeypatch.setattr(_shelf, "fetch", spy)
    return found


def mixed(root: Path, shards: int = 4, per_shard: int = 6) -> Path:
    """Shards of colour and grey pictures, one of them smaller than what is stored; three classes."""
    for number in range(shards):
        samples = {}
        for row in range(number * per_shard, (number + 1) * per_shard):
            kind, side = ("png", 6) if row == 7 else ("jpg", 16 + row % 3)
            content = tiny_sets.encoded(row, "PNG" if kind == "png" else "JPEG", side)
            samples[f"{row:04d}"] = {kind: content, "cls": str(row % 3).encode()}
        tiny_sets.shard(root / f"bags-{number:03d}.tar", samples)
    return root


def streamed(pattern: object, **settings: object) -> ImageSet:
    own = {"labelled": settings.pop("labelled", False), "image_size": 8, **settings.pop("reading", {})}
    return load({"wds": str(pattern), "stream": True, **settings}, **own)


def by_member(images: ImageSet) -> dict[str, int]:
    return {"/".join(str(path).split("/")[-2:]): row for row, path in enumerate(images.paths)}


class TestPixels:
    def test_they_are_the_stores(self, tmp_path):
        """Mutations: another side, no magnifying, an offset off by a block, labels in another order."""
        root = mixed(tmp_path / "a")
        ours = streamed(f"{root}/bags-00{{0..2}}.tar", labelled=True, test=f"{root}/bags-003.tar")
        theirs = load(
            {"wds": f"{root}/bags-00{{0..2}}.tar", "test": f"{root}/bags-003.tar"}, labelled=True, image_size=8
        )
        assert ours.images.shape == theirs.images.shape == (24, 3, SIDE, SIDE)
        rows, others = by_member(ours), by_member(theirs)
        assert rows.keys() == others.keys() and len(rows) == 24
        for name, row in rows.items():
            assert torch.equal(ours.images[row], theirs.images[others[name]]), name
            assert ours.labels[row] == theirs.labels[others[name]]
            assert ours.parts[row] == theirs.parts[others[name]]
        assert ours.classes == theirs.classes == ("0", "1", "2")
        assert ours.skipped == []

    def test_they_are_read_like_an_array(self, tmp_path):
        images = streamed(f"{mixed(tmp_path)}/*.tar")
        whole = images.images[:]
        rows = torch.tensor([9, 0, 5, 5])
        assert torch.equal(images.images[rows], whole[rows])
        assert torch.equal(torch.cat(list(images.images.split(5))), whole)
        part = images.select(np.array([7, 2])).select(np.array([1]))
        assert torch.equal(part.images[:], whole[2:3])
        assert part.shards.tolist() == images.shards[[2]].tolist()
        batch = images.at(torch.tensor([3, 1]))
        assert torch.equal(batch.images, whole[[3, 1]])
        assert len(images.images[torch.empty(0, dtype=torch.int64)]) == 0
        grey = images.with_channels(1)
        assert grey.images[:].shape == (24, 1, SIDE, SIDE)
        assert grey.with_channels(3).channels == 3

    def test_a_sample_decides_between_grey_and_colour(self, tmp_path, monkeypatch):
        """Mutations: leave the kind of each picture; look at the first shard alone."""
        root = tmp_path
        for number in range(4):
            samples = {str(row): {"jpg": tiny_sets.encoded(10 * number + row, "JPEG")} for row in range(4)}
            if number < 3:
                samples = {key: {"png": _grey(sample["jpg"])} for key, sample in samples.items()}
            tiny_sets.shard(root / f"{number}.tar", samples)
        assert streamed(f"{root}/[012].tar").channels == 1
        images = streamed(f"{root}/*.tar")
        assert images.channels == 3
        stored = load(f"wds:{root}/*.tar", image_size=8)
        others = by_member(stored)
        for name, row in by_member(images).items():
            assert torch.equal(images.images[row], stored.images[others[name]])
        assert "taken to be of 3 channels" in images.notes[0] and "near-duplicates" in images.notes[0]
        assert streamed(f"{root}/*.tar", reading={"channels": 1}).images[:].shape[1] == 1

    def test_colour_that_the_sample_did_not_show_becomes_grey(self, tmp_path, monkeypatch):
        """Mutation: decode each picture to channels of its own."""
        monkeypatch.setattr(_stream, "SAMPLE", 1)  # the first
        colour = {str(row): tiny_sets.encoded(row, "JPEG") for row in range(4)}
        samples = {key: {"png": content if int(key) else _grey(content)} for key, content in colour.items()}
        shard = tiny_sets.shard(tmp_path / "a.tar", samples)
        images = streamed(shard)
        stored = load(f"wds:{shard}", image_size=8, channels=1)
        others = by_member(stored)
        assert images.channels == 1
        for name, row in by_member(images).items():
            assert torch.equal(images.images[row], stored.images[others[name]])

    def test_statistics_are_of_a_sample_and_read_once(self, tmp_path, monkeypatch):
        images = streamed(f"{mixed(tmp_path)}/*.tar")
        rows = np.arange(len(images))
        found = channel_statistics(images, rows)
        values = images.images[:].double() / 255
        assert found[0] == pytest.approx(values.mean((0, 2, 3)).tolist())
        assert found[1] == pytest.approx(values.std((0, 2, 3), correction=0).tolist())
        before = images.images.damage.num_read
        assert channel_statistics(images, rows) == found
        assert images.images.damage.num_read == before
        assert channel_statistics(images, rows[:3]) != found
        chosen = _order.spread(np.repeat(np.arange(100), 50), np.arange(1, 5000, 2), 64)
        assert len(chosen) == 64 and len(np.unique(chosen // 50)) == 8 and (chosen % 2 == 1).all()


def _grey(content: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("L").save(buffer, "PNG")
    return buffer.getvalue()


class TestIds:
    def test_moving_and_renaming_shards_changes_nothing(self, tmp_path):
        """Nor does fetching them. Mutations: path, time or name of the file in an id; shards in the pattern's order."""
        root = mixed(tmp_path / "a")
        first = streamed(f"{root}/*.tar", labelled=True)
        assert len(set(first.ids.tolist())) == 24 and first.ids.tolist() == sorted(first.ids.tolist())
        assert all(len(name) == 20 for name in first.ids.tolist())
        (tmp_path / "b").mkdir()
        for number in range(4):
            shutil.copyfile(root / f"bags-00{number}.tar", tmp_path / "b" / f"{9 - number}.tar")
        shutil.rmtree(root)
        moved = streamed(f"{tmp_path}/b/*.tar", labelled=True)
        piped = streamed(f"pipe:cat {tmp_path}/b/{{6..9}}.tar", labelled=True)
        for again in (moved, piped):
            assert again.fingerprint == first.fingerprint
            assert torch.equal(again.images[:], moved.images[:])
            assert torch.equal(again.order(Rng(1)), first.order(Rng(1)))
            assert channel_statistics(again, np.arange(24)) == channel_statistics(moved, np.arange(24))

    def test_other_shards_have_other_ids(self, tmp_path):
        """Equal names, offsets and sizes, but other pictures, as in train/000.tar and test/000.tar of raw pixels."""
        for seed, name in ((0, "train"), (1, "test")):
            samples = {str(row): {"bmp": tiny_sets.encoded(10 * seed + row, "BMP")} for row in range(5)}
            tiny_sets.shard(tmp_path / name / "000.tar", samples)
        images = streamed(f"{tmp_path}/{{train,test}}/000.tar")
        assert len(set(images.ids.tolist())) == len(set(images.groups.tolist())) == 10

    def test_a_shard_that_lies_there_twice_is_one_group_each(self, tmp_path):
        root = mixed(tmp_path / "a", shards=1)
        shutil.copyfile(root / "bags-000.tar", root / "copy.tar")
        images = streamed(f"{root}/*.tar")
        assert len(set(images.ids.tolist())) == 12 and len(set(images.groups.tolist())) == 6
        assert sorted(name.endswith("-2") for name in images.ids.tolist()) == [False] * 6 + [True] * 6


class TestOrder:
    SHARDS = np.repeat(np.arange(60), 20)

    def order(self, seed: int = 0) -> np.ndarray:
        return _order.order_of(self.SHARDS, Rng.from_seed(seed)).numpy()

    @pytest.fixture(autouse=True)
    def _buffer(self, monkeypatch):
        monkeypatch.setattr(_order, "_BUFFER_ROWS", 64)
        monkeypatch.setattr(_order, "_BUFFER_SHARDS", 6)

    def test_it_is_a_permutation_that_the_seed_decides(self):
        assert np.array_equal(np.sort(self.order()), np.arange(1200))
        assert np.array_equal(self.order(), self.order())
        assert not np.array_equal(self.order(), self.order(1))

    def test_it_stays_within_the_buffer(self):
        """Mutations: twice the reach, no order of shards, rows beyond the ends left where they were."""
        order = self.order()
        of_rank = self.SHARDS[order]
        shards = list(dict.fromkeys(of_rank.tolist()))
        assert shards != sorted(shards)
        # The stream that is shuffled: the shards in their order, each with its rows in order.
        shards = Rng.from_seed(0).fork("shards").permutation(60)
        stream = np.concatenate([np.flatnonzero(shard == self.SHARDS) for shard in shards.tolist()])
        position = np.empty(1200, dtype=np.int64)
        position[stream] = np.arange(1200)
        assert 50 < np.abs(position[order] - np.arange(1200)).max() <= 6 * 20 / 2 + 20
        at_once = [len(np.unique(of_rank[start : start + 30])) for start in range(0, 1200, 30)]
        assert max(at_once) <= _order.shards_at_once(self.SHARDS) == 6 + 3
        assert min(at_once) >= 3  # at both ends too

    def test_the_first_and_the_last_batch_are_as_mixed_as_any(self, monkeypatch):
        """They come from half a buffer, evenly. Mutation: leave rows that were moved beyond the ends where they are."""
        monkeypatch.setattr(_order, "_BUFFER_SHARDS", 30)
        for seed in range(3):
            shards = Rng.from_seed(seed).fork("shards").permutation(60).tolist()
            place = {shard: position for position, shard in enumerate(shards)}
            of_rank = [place[shard] for shard in self.SHARDS[self.order(seed)].tolist()]
            assert np.mean(of_rank[:20]) > 4.5 and np.mean(of_rank[-20:]) < 59 - 4.5  # 7.5 and 51.5 are expected

    def test_rows_of_a_shard_are_mixed_with_others_all_along(self):
        """In every batch no shard has more than a few times its share. Mutation: shards one after the other."""
        of_rank = self.SHARDS[self.order()]
        for start in range(0, 1200, 20):
            assert np.bincount(of_rank[start : start + 20]).max() <= 12
        assert (np.diff(self.order()) == 1).mean() < 0.1

    def test_a_set_no_larger_than_the_buffer_is_shuffled_as_any_other(self):
        few = np.repeat(np.arange(6), 20)
        assert torch.equal(_order.order_of(few, Rng(3)), Rng(3).permutation(120))
        assert _order.shards_at_once(few) == 6

    def test_an_epoch_of_training_follows_it(self, tmp_path, near):
        images = streamed(f"{mixed(tmp_path)}/*.tar")
        data = Data(images, {}, Rng.from_seed(0))
        epochs = [torch.cat([data.batch(6 * epoch + step, 4).index for step in range(6)]) for epoch in range(3)]
        for number, epoch in enumerate(epochs):
            assert torch.equal(epoch, _order.order_of(images.shards, Rng.from_seed(0).fork("order", number)))
        assert not torch.equal(epochs[0], epochs[1])


class TestTraining:
    def run(self, images: ImageSet, folder: Path) -> bytes:
        own = {"batch_size": 8, "images_seen": 80, "backbone": "conv4", "views": ["flip"]}
        settings = resolve("simclr", own, images.card, "test")
        pretrain(settings, images, folder, progress=Progress(quiet=True), device=torch.device("cpu"))
        return (folder / "encoder.safetensors").read_bytes()

    def test_it_ends_in_the_bits_of_memory_interrupted_or_not_read_ahead_or_not(self, tmp_path, near, monkeypatch):
        """Mutations: a batch given twice or for another step; an order that goes on from where a process began."""
        images = streamed(f"{mixed(tmp_path / 's', shards=5)}/*.tar")
        from dataclasses import replace

        whole = self.run(replace(images, images=images.images[:]), tmp_path / "memory")
        assert self.run(images, tmp_path / "streamed") == whole
        real = Data.batch

        def broken(data: Data, step: int, *given: int) -> object:
            if step == 6:
                raise KeyboardInterrupt
            return real(data, step, *given)

        monkeypatch.setattr(Data, "batch", broken)
        with pytest.raises(KeyboardInterrupt):
            self.run(images, tmp_path / "resumed")
        assert list((tmp_path / "resumed" / "checkpoint").glob("step-*"))
        monkeypatch.setattr(Data, "batch", real)
        assert self.run(images, tmp_path / "resumed") == whole
        monkeypatch.setattr(_ahead, "BATCHES_AHEAD", 0)
        assert self.run(images, tmp_path / "at once") == whole

    def test_the_next_batches_are_read_meanwhile_and_no_more(self):
        """Mutations: read when asked; read on beyond the end; begin a batch twice."""
        asked: list[int] = []

        def reading(step: int):
            return lambda: asked.append(step) or step

        ahead = _ahead.Ahead()
        assert ahead.get(0, 5, reading) == 0
        _until(lambda: asked == [0, 1, 2])
        time.sleep(0.02)
        assert asked == [0, 1, 2]
        assert [ahead.get(step, 5, reading) for step in range(1, 5)] == [1, 2, 3, 4]
        assert asked == [0, 1, 2, 3, 4]
        assert ahead.get(2, 5, reading) == 2  # as after a batch that had to be left out
        ahead.close()

    def test_closing_ends_the_thread_and_failures_come_where_they_are_asked_for(self):
        def reading(step: int):
            def read():
                if step == 1:
                    raise RunError("the shard is gone")
                return step

            return read

        before = readers()
        ahead = _ahead.Ahead()
        assert ahead.get(0, 3, reading) == 0
        with pytest.raises(RunError, match="is gone"):
            ahead.get(1, 3, reading)
        assert ahead.get(2, 3, reading) == 2
        assert len(readers() - before) == 1
        ahead.close()
        _until(lambda: not readers() - before)

    def test_what_fails_ends_the_reading(self, tmp_path, monkeypatch):
        """Mutation: close only at the end of a training that went well."""
        images = streamed(f"{mixed(tmp_path)}/*.tar")
        before = readers()
        monkeypatch.setattr(optimizer, "set_rates", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            self.run(images, tmp_path / "run")
        _until(lambda: not readers() - before)


def readers() -> set[threading.Thread]:
    """The threads that read ahead; a process has others, which come and go."""
    return {thread for thread in threading.enumerate() if thread.name == _ahead.THREAD}


def _until(done, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestDamage:
    @pytest.fixture
    def root(self, tmp_path) -> Path:
        """The fourth picture of the second shard cannot be decoded, and the last of all."""
        for number in range(3):
            rows = range(6 * number, 6 * number + 6)
            samples = {
                f"{row:04d}": {"jpg": tiny_sets.encoded(row, "JPEG"), "cls": str(row % 2).encode()} for row in rows
            }
            if number == 1:
                samples["0009"]["jpg"] = b"not a picture, but as long as one" * 10
            tiny_sets.shard(tmp_path / f"{number}.tar", samples)
        return tmp_path

    def test_the_next_picture_stands_in_and_the_damage_is_reported(self, root):
        """Mutations: a random stand-in; one of rows that were left out, such as tested ones; report it twice."""
        images = streamed(f"{root}/*.tar", reading={"most_unreadable": 0.5})
        row_of = by_member(images)
        bad, following, later = (row_of[f"1.tar/00{number}.jpg"] for number in ("09", "10", "11"))
        assert torch.equal(images.images[bad], images.images[following])
        assert not torch.equal(images.images[following], images.images[later])
        part = images.select(np.array([row for row in range(18) if row != following]))
        for _ in range(2):
            assert torch.equal(part.images[list(part.ids).index(images.ids[bad])], images.images[later])
        [skipped] = images.skipped
        assert part.skipped is images.skipped
        assert skipped.path == f"{root}/1.tar/0009.jpg"
        assert skipped.reason.startswith("is none of JPEG")

    def test_in_a_set_with_labels_no_other_picture_stands_in(self, root):
        images = streamed(f"{root}/*.tar", labelled=True, reading={"most_unreadable": 0.5})
        bad = by_member(images)["1.tar/0009.jpg"]
        assert (images.images[bad] == 128).all()
        assert images.labels[bad] == 1

    def test_the_last_picture_is_followed_by_the_first(self, tmp_path):
        samples = {str(row): {"jpg": tiny_sets.encoded(row, "JPEG") if row < 3 else b"x"} for row in range(4)}
        tiny_sets.shard(tmp_path / "a.tar", samples)
        images = streamed(tmp_path / "a.tar", reading={"most_unreadable": 0.5})
        assert torch.equal(images.images[3], images.images[0])


class TestShelf:
    def remote(self, tmp_path: Path, shards: int = 8) -> tuple[str, float]:
        """The pattern of shards that a command fetches, and the GB that hold five of them."""
        root = mixed(tmp_path / "far", shards=shards)
        sizes = sorted(path.stat().st_size for path in root.glob("*.tar"))
        return f"pipe:cat {root}/bags-{{000..{shards - 1:03d}}}.tar", sum(sizes[-5:]) / 1e9

    def used(self, cache: Path) -> int:
        found = 0
        for path in (cache / "shards" / "shelf").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the next is being fetched
                found += path.stat().st_size
        return found

    def test_it_stays_below_its_size_and_holds_what_was_used_last(self, tmp_path, cache, near, fetched):
        """Mutations: remove the newest; forget what is on its way; never look again once it is full."""
        pattern, disk_gb = self.remote(tmp_path)
        images = streamed(pattern, disk_gb=disk_gb)
        assert len(fetched) <= 8 + 2 * 8  # walked, then a sample for levels and for colours
        there = streamed(f"{tmp_path}/far/*.tar")
        fetched.clear()
        for part in torch.arange(48).split(3):  # from the first shard to the last
            assert torch.equal(images.images[part], there.images[part])
            assert 0 < self.used(cache) <= disk_gb * 1e9
        assert len(fetched) == len(set(fetched)) <= 8
        fetched.clear()
        images.images[torch.arange(30, 48)]
        assert not fetched
        oldest = min(number for number in range(8) if images.images.source.shelf.shards[number].path.is_file())
        images.images[6 * oldest]
        images.images[0]  # makes room by another than the one that was just read
        assert len(fetched) == 1
        images.images[6 * oldest]
        assert len(fetched) == 1
        data = Data(images, {}, Rng.from_seed(0))
        for step in range(2 * 12):
            batch = data.batch(step, 4, 24)
            assert torch.equal(batch.images, there.images[batch.index])
            assert self.used(cache) <= disk_gb * 1e9
        data.close()

    def test_shards_are_walked_once_and_labels_are_remembered(self, tmp_path, cache, fetched, capfd):
        """A later start knows all without a byte fetched. Mutations: walk at every start; read labels at every start."""
        pattern, disk_gb = self.remote(tmp_path)
        first = Wds(wds=pattern, stream=True, disk_gb=disk_gb).listing(True)
        text = capfd.readouterr().err
        assert "walking 8 shards once" in text and "8 are fetched for it, of which at most" in text
        shutil.rmtree(cache / "shards" / "shelf")
        fetched.clear()
        again = Wds(wds=pattern, stream=True, disk_gb=disk_gb).listing(True)
        assert not fetched and not capfd.readouterr().err
        assert again.labels == first.labels == [str(int(name[-8:-4]) % 3) for name in first.pictures.names]
        assert again.pictures.ids.tolist() == first.pictures.ids.tolist()

    def test_the_next_shard_is_fetched_before_it_is_wanted(self, tmp_path, cache, near, fetched):
        """Mutation: fetch when read."""
        pattern, disk_gb = self.remote(tmp_path)
        images = streamed(pattern, disk_gb=disk_gb)
        shutil.rmtree(cache / "shards" / "shelf")
        fetched.clear()
        images.expect(torch.arange(12, 18))
        _until(lambda: fetched and (cache / "shards" / "shelf" / cache_name(fetched[0])).is_file())
        [url] = fetched
        assert url == images.images.source.shelf.shards[images.shards[12]].url
        images.images[12:18]
        assert len(fetched) == 1

    def test_many_threads_fetch_a_shard_once(self, tmp_path, cache, fetched):
        """Mutation: no lock."""
        pattern, _ = self.remote(tmp_path, shards=2)
        images = streamed(pattern)
        shutil.rmtree(cache / "shards" / "shelf")
        fetched.clear()
        shelf, found = images.images.source.shelf, list[bytes]()
        threads = [threading.Thread(target=lambda: found.append(shelf.read(0, 0, 512))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(fetched) == 1 and len(set(found)) == 1 and len(found) == 8

    def test_what_a_killed_process_began_is_removed(self, tmp_path, cache):
        import os

        folder = cache / "shards" / "shelf"
        folder.mkdir(parents=True)
        for process in (2**22 + 1, os.getpid()):  # above the largest that Linux gives; and one that lives
            (folder / f"x.tar.temp{process}").write_bytes(b"begun")
        streamed(self.remote(tmp_path, shards=2)[0])
        assert [path.name for path in folder.glob("*.temp*")] == [f"x.tar.temp{os.getpid()}"]

    def test_a_shard_that_another_process_removed_is_fetched_again(self, tmp_path, cache, fetched):
        pattern, _ = self.remote(tmp_path, shards=2)
        images = streamed(pattern)
        before = images.images[:]
        fetched.clear()
        shutil.rmtree(cache / "shards" / "shelf")
        assert torch.equal(images.images[:], before)
        assert len(fetched) == 2


def digits_in_shards(root: Path) -> str:
    """Scikit-learn's digits, 300 of them, in five shards; one is damaged."""
    from sklearn.datasets import load_digits

    pictures, targets = load_digits(return_X_y=True)
    for number in range(5):
        samples = {}
        for row in range(60 * number, 60 * number + 60):
            buffer = io.BytesIO()
            Image.fromarray((pictures[row].reshape(8, 8) * 15).astype(np.uint8)).save(buffer, "PNG")
            content = b"not a picture" if row == 100 else buffer.getvalue()
            samples[f"{row:04d}"] = {"png": content, "cls": str(targets[row]).encode()}
        tiny_sets.shard(root / f"digits-{number}.tar", samples)
    return f"{root}/digits-{{0..4}}.tar"


TINY = {
    "name": "tiny", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1, "budget": {"images_seen": 320},
    "methods": ["random", {"simclr": {"batch_size": 64}}], "labels": [2], "draws": 1, "seeds": 1, "protocols": ["linear"],
    "metric": "accuracy",
}  # fmt: skip


@pytest.mark.parametrize("labelled", [False, True])
def test_a_study_of_streamed_images(tmp_path, monkeypatch, labelled):
    """To the end, with labels from elsewhere and with labels from the shards; the same command computes nothing twice.

    Mutation: report the damage that was known before the training alone.
    """
    monkeypatch.setattr(_stream, "SAMPLE", 1)
    source = {"wds": digits_in_shards(tmp_path / "shards"), "stream": True}
    data = source if labelled else {"labelled": {"wds": source["wds"]}, "unlabelled": source}
    settings = validate({**TINY, "data": data}, "test")
    finished = run(settings, tmp_path / "study", progress=Progress(quiet=True))
    assert finished.failures == () and finished.num_computed == finished.num_cells
    if not labelled:
        assert run(settings, tmp_path / "study", progress=Progress(quiet=True)).num_computed == 0
    splits = json.loads((tmp_path / "study" / "splits.json").read_text(encoding="utf-8"))
    assert "are streamed and known by their places" in splits["notes"][0]
    assert [Path(found["path"]).name for found in splits["skipped"]] == ["0100.png"]
    if labelled:
        return
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "study").glob("cells/*/run.json")]
    for skipped in [card["data"]["skipped"] for card in cards if card["method"] == "simclr"]:
        assert [Path(found["path"]).name for found in skipped] == ["0100.png"]


def test_tested_pictures_of_the_same_shards_are_kept_from_pretraining(tmp_path):
    """Where both sets are streamed. Mutation: ids that hold the set's name, or the part."""
    source = {"wds": digits_in_shards(tmp_path / "shards"), "stream": True}
    settings = validate({**TINY, "data": {"labelled": source, "unlabelled": source}}, "test")
    material = gather(settings, None)
    tested = set(material.images.ids[material.split.test_rows].tolist())
    assert len(tested) == 60 and not tested & set(material.pool.ids.tolist())
    assert len(material.pool) == 240 == len(material.excluded) * 4


def test_the_command_line_takes_the_settings_of_a_source(tmp_path, capsys):
    from selfstudy import cli

    pattern = digits_in_shards(tmp_path / "shards")
    words = [
        "image_size=8",
        "backbone=conv4",
        "images_seen=64",
        "batch_size=32",
        "--out",
        str(tmp_path / "run"),
        "--json",
    ]
    assert cli.run(["pretrain", "simclr", f'data={{wds: "{pattern}", stream: true}}', *words]) == 0
    assert (tmp_path / "run" / "encoder.safetensors").is_file()
    assert cli.run(["pretrain", "simclr", f"data={{wds: {pattern}, stream: true}}", *words]) == 2
    assert 'put what holds braces or commas into quotes, as in {wds: "PATTERN"}' in capsys.readouterr().err.replace(
        "\n", " "
    )


def test_the_whole_set_is_no_more_than_places(tmp_path):
    """What is in memory of pictures is what was asked for. Mutation: keep what was decoded."""
    images = streamed(f"{mixed(tmp_path)}/*.tar")
    with pytest.raises(UserError, match="the images have 3 channels, but the encoder takes 5"):
        images.with_channels(5)
    fields = vars(images.images).values()
    assert not [value for value in fields if isinstance(value, torch.Tensor)]
