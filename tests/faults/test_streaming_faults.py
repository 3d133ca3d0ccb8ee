"""Streaming that goes wrong: one sentence, and what was trained is kept."""

import shutil
from pathlib import Path

import pytest
import torch

from selfstudy.errors import RunError, UserError
from selfstudy.images import ImageSet, _shelf, load
from selfstudy.progress import Progress
from selfstudy.training import pretrain, resolve
from tests import tiny_sets


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSTUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_shelf, "_PAUSES_SECONDS", (0.0,))


def streamed(pattern: object, reading: dict | None = None, **settings: object) -> ImageSet:
    return load({"wds": str(pattern), "stream": True, **settings}, **{"image_size": 8, **(reading or {})})


def complaint(pattern: object, reading: dict | None = None, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        streamed(pattern, reading, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_settings_that_do_not_go_together(tmp_path):
    pattern = tiny_sets.webdataset(tmp_path)
    assert "is streamed: leave out tiles or stream" in complaint(pattern, {"tiles": {"side": 8}})
    assert "disk_gb is 3, but only streamed shards leave the disk again" in complaint(pattern, stream=False, disk_gb=3)
    assert "disk_gb is 0" in complaint(pattern, disk_gb=0)
    assert 'there is no setting "streams". Did you mean "stream"?' in complaint(pattern, streams=True)
    assert "does not exist" in complaint(f"{tmp_path}/nowhere.tar")
    with pytest.raises(UserError, match="only one class"):
        one = tiny_sets.shard(tmp_path / "one.tar", {str(row): {"jpg": tiny_sets.encoded(row, "JPEG"), "cls": b"x"} for row in range(3)})  # fmt: skip
        streamed(one, {"labelled": True})


def test_a_disk_that_holds_too_few_shards(tmp_path):
    """They would be fetched again for every batch. Mutation: only look when it is full."""
    tiny_sets.webdataset(tmp_path, shards=4)
    text = complaint(f"pipe:cat {tmp_path}/bags-00{{0..3}}.tar", disk_gb=1e-5)
    assert text.startswith("disk_gb is 1e-05, but shuffling reads 4 shards at a time, which take ")
    assert "or more, or make smaller shards" in text
    assert len(streamed(f"{tmp_path}/bags-*.tar", disk_gb=1e-5)) == 24  # nothing is fetched, nothing is too much


def test_a_set_of_rubbish_is_refused_at_once(tmp_path):
    tiny_sets.shard(tmp_path / "a.tar", {str(row): {"jpg": b"not a picture"} for row in range(5)})
    text = complaint(tmp_path / "a.tar")
    assert text.startswith(f"5 of the 5 pictures of wds:{tmp_path}/a.tar that were read cannot be decoded")
    assert f"the first: {tmp_path}/a.tar/0.jpg is none of JPEG" in text
    tiny_sets.shard(tmp_path / "b.tar", {str(row): {"txt": b"not a picture"} for row in range(5)})
    assert "hold no pictures, but the members txt" in complaint(tmp_path / "b.tar")


def test_too_many_that_cannot_be_decoded(tmp_path, monkeypatch):
    """Beyond the sample that was looked at. Mutations: never count; count only distinct ones; stop at the first."""
    from selfstudy.images import _stream

    monkeypatch.setattr(_stream, "SAMPLE", 16)
    samples = {}
    for row in range(256):
        bad = row % 4 == 3 and row % 17 != 0  # every 17th is looked at first
        samples[f"{row:04d}"] = {"jpg": b"x" if bad else tiny_sets.encoded(row, "JPEG", 8)}
    tiny_sets.shard(tmp_path / "a.tar", samples)
    images = streamed(tmp_path / "a.tar", {"most_unreadable": 0.1})
    rows = torch.arange(256)
    images.images[rows[:24]]
    with pytest.raises(
        RunError, match=r"\d+ of the \d+ pictures .* more than most_unreadable=0.1 allows; the first: .*/0003.jpg"
    ):
        for part in rows.split(32):
            images.images[part]
    assert len(images.skipped) >= 8


def run(images: ImageSet, folder: Path) -> bytes:
    own = {"batch_size": 8, "images_seen": 96, "backbone": "conv4", "views": ["flip"]}
    settings = resolve("simclr", own, images.card, "test")
    pretrain(
        settings, images, folder, progress=Progress(quiet=True), device=torch.device("cpu"), checkpoint_seconds=0.0
    )
    return (folder / "encoder.safetensors").read_bytes()


@pytest.mark.parametrize("prefix", ["", "pipe:cat "])
def test_a_shard_that_goes_away_while_training(tmp_path, monkeypatch, prefix):
    """One sentence, a checkpoint, and the bits of an undisturbed run once it is back. Mutation: replace its pictures."""
    tiny_sets.webdataset(tmp_path / "far", shards=4)
    pattern = f"{prefix}{tmp_path}/far/bags-00{{0..3}}.tar"
    whole = run(streamed(pattern), tmp_path / "whole")
    images, reads = streamed(pattern), []
    shelf = type(images.images.source.shelf)
    real = shelf.read

    def read(self: object, *given: int) -> bytes:
        reads.append(given)
        if len(reads) == 90 and (tmp_path / "far").is_dir():
            (tmp_path / "far").rename(tmp_path / "away")
            shutil.rmtree(tmp_path / "cache" / "shards" / "shelf", ignore_errors=True)
        return real(self, *given)

    monkeypatch.setattr(shelf, "read", read)
    with pytest.raises(RunError) as caught:
        run(images, tmp_path / "broken")
    assert str(caught.value).startswith(f"the shard {prefix}{tmp_path}/far/bags-00")
    assert "what was trained is kept: run the same command again when it" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "broken" / "checkpoint").glob("step-*"))
    (tmp_path / "away").rename(tmp_path / "far")
    assert run(streamed(pattern), tmp_path / "broken") == whole


def test_a_remote_shard_that_changed(tmp_path):
    """It is not what the places of its pictures were found in. Mutations: trust the name; remember the old places."""
    tiny_sets.webdataset(tmp_path / "far", shards=1)
    pattern = f"pipe:cat {tmp_path}/far/bags-000.tar"
    images = streamed(pattern)
    tiny_sets.webdataset(tmp_path / "far", shards=1, per_shard=7)
    shutil.rmtree(tmp_path / "cache" / "shards" / "shelf")
    with pytest.raises(RunError, match=r"cannot be fetched \(it is not what it was when it was walked\)"):
        images.images[0]
    assert not list((tmp_path / "cache" / "shards" / "shelf").glob("*.tar"))
    assert len(streamed(pattern)) == 7


def test_a_remote_shard_that_is_not_there_or_damaged(tmp_path):
    tiny_sets.webdataset(tmp_path, shards=1)
    text = complaint(f"pipe:cat {tmp_path}/nowhere.tar 2>/dev/null")
    assert "cannot be fetched (" in text and "where the pictures of others lie is remembered" in text
    shard = tmp_path / "bags-000.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    assert "is damaged or cut short" in complaint(f"pipe:cat {shard}")
    assert not list((tmp_path / "cache" / "shards" / "shelf").glob("*.tar*"))
    tiny_sets.webdataset(tmp_path, shards=1)
    assert len(streamed(f"pipe:cat {shard}")) == 6
