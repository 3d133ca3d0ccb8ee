"""The store: every file is decoded once, and later runs read its pixels where they lie on the disk.

Place   One folder for each recipe (size, fit, tiles, channels, levels), shared by all sources: in it `index.sqlite`, and
        `1.u8`, `3.u8`, … with the pictures of as many channels (_pixels.py).
Keys    Pictures are found by their content. Names, with size and time of the file, only say which content lies there, so
        renamed and copied files are read but not decoded again, and unchanged ones are not even opened.
Kills   Pixels are written before the index says so. What a killed process wrote beyond the index is written over.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from platformdirs import user_cache_path

from selfstudy.errors import RunError
from selfstudy.images._copies import look_of
from selfstudy.images._decode import decode, quietly
from selfstudy.images._file import Encoded, File, Stack
from selfstudy.images._imageset import Skipped
from selfstudy.images._pixels import Pool, StoredPixels
from selfstudy.images._squares import Picture, Recipe, magnified
from selfstudy.progress import Progress

_VERSION = 1  # raised when decoding gives other pixels
_WINDOW = 256  # files decoded between two commits at most: what a kill can lose
_WINDOW_BYTES = 32 * 2**20  # of pixels decoded between two commits, about: bounds the memory
_SCHEMA = """
create table if not exists files (name blob primary key, stamp text not null, content text not null) without rowid;
create table if not exists pictures (
    content text not null, tile integer not null, side integer not null, channels integer not null, slot integer not null,
    look integer not null, original integer not null, primary key (content, tile, side)
) without rowid;
"""


Entry = tuple[str, int, int, np.ndarray]  # content, tile, pixels a side before it was magnified, uint8 [C, S, S]


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a picture lies."""

    content: str
    tile: int
    channels: int
    slot: int
    side: int  # pixels a side, before it is magnified to the side of its set
    look: int  # 64 bits, see _copies.py


def place() -> Path:
    """The folder of all stores: $SELFSTUDY_CACHE, or the user's cache."""
    named = os.environ.get("SELFSTUDY_CACHE")
    return (Path(named).expanduser() if named else user_cache_path("selfstudy")) / "images"


class Store:
    """One recipe's store. Use it as a context manager: meanwhile no other process writes to it."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self.recipe = recipe
        text = json.dumps([_VERSION, asdict(recipe)], sort_keys=True)
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Store":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(FileLock(self.folder / ".lock"))
            self._index = self._stack.enter_context(contextlib.closing(sqlite3.connect(self.folder / "index.sqlite")))
            self._index.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            self._stack.close()
            raise RunError(
                f"the store of pictures in {self.folder} cannot be used ({error}); name another place with the environment "
                "variable SELFSTUDY_CACHE"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, files: Sequence[File], progress: Progress) -> list[list[Stored] | Skipped]:
        """The pictures of every file in order, or why it cannot be used. What is not in the store is decoded into it.

        Raises RunError if the disk takes no more; what was stored is kept.
        """
        known = {name: (stamp, content) for name, stamp, content in self._index.execute("select * from files")}
        pictures = self._pictures()
        found: list[list[Stored] | Skipped] = [[]] * len(files)
        work = []
        for row, file in enumerate(files):
            stamp, content = known.get(_key(file), ("", ""))
            if stamp and stamp == _stamp(file) and content in pictures:
                found[row] = pictures[content]
            else:
                work.append((row, file))
        if work:
            progress.say(self._announcement(len(work), len(files)))
            contents = self._decode_all(work, set(pictures), progress)
            pictures = self._pictures()
            for (row, _), content in zip(work, contents, strict=True):
                found[row] = content if isinstance(content, Skipped) else pictures[content]
        return found

    def pixels(self, rows: Sequence[Stored], image_size: int) -> StoredPixels:
        """The pictures as one array: as large as the largest of them, at least `image_size`."""
        side = max(image_size, *(row.side for row in rows))
        moved = self._magnify([row for row in rows if row.side != side], side)
        slots = np.array([moved.get((row.content, row.tile), row.slot) for row in rows], dtype=np.int64)
        kinds = np.array([row.channels for row in rows], dtype=np.int64)
        pools = {kind: self._pool(kind) for kind in np.unique(kinds).tolist()}
        return StoredPixels(pools, kinds, slots, int(kinds.max()), side)

    def _announcement(self, num_new: int, num_all: int) -> str:
        megabytes, free = math.ceil(self._most_bytes_a_file * num_new / 1e6), shutil.disk_usage(self.folder).free / 1e9
        of_all = f" of {num_all:,}" if num_new < num_all else ""
        which = f"{num_new:,}{of_all} file{'' if num_all == 1 else 's'}"
        return f"decoding {which} once, into at most {megabytes:,} MB of {self.folder} ({free:,.0f} GB are free)"

    def _decode_all(
        self, work: Sequence[tuple[int, File]], stored: set[str], progress: Progress
    ) -> list[str | Skipped]:
        """The content of every file, or why it cannot be used. Failures are not remembered: the cause may go away."""
        progress.start("decode", len(work), "files")
        contents: list[str | Skipped] = []
        size = min(_WINDOW, max(2 * torch.get_num_threads(), _WINDOW_BYTES // self._most_bytes_a_file))
        with quietly(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for start in range(0, len(work), size):
                window = [file for _, file in work[start : start + size]]
                stamps = [_stamp(file) for file in window]  # before they are read: a later change is then seen
                results = list(threads.map(self._decode, window))
                found = [result if isinstance(result, Skipped) else result[0] for result in results]
                names = [
                    (_key(file), stamp, content)
                    for file, stamp, content in zip(window, stamps, found, strict=True)
                    if not isinstance(content, Skipped)
                ]
                fresh = dict(
                    result for result in results if not isinstance(result, Skipped) and result[0] not in stored
                )
                self._write(_entries(fresh), names)
                stored |= set(fresh)
                contents += found
                progress.update(len(contents))
        progress.finish("")
        return contents

    def _decode(self, file: File) -> tuple[str, list[Picture]] | Skipped:
        return decode(file, self.recipe)

    def _write(self, entries: Sequence[Entry], names: Sequence[tuple[bytes, str, str]] = ()) -> None:
        """Pixels first, then the index in one transaction; `names` are rows of the table of files."""
        try:
            for channels in sorted({len(pixels) for *_, pixels in entries}):
                of_kind = [entry for entry in entries if len(entry[-1]) == channels]
                query = "select coalesce(max(slot) + 1, 0) from pictures where channels = ?"
                [(slot,)] = self._index.execute(query, (channels,))
                path, size = self._pool_path(channels), self._slot_bytes(channels)
                with path.open("r+b" if path.exists() else "w+b") as pool:
                    pool.seek(slot * size)
                    for content, tile, original, pixels in of_kind:
                        pool.write(pixels.tobytes().ljust(size, b"\0"))
                        values = (content, tile, pixels.shape[1], channels, slot, look_of(pixels), original)
                        self._index.execute("insert or replace into pictures values (?, ?, ?, ?, ?, ?, ?)", values)
                        slot += 1
                    pool.flush()
                    os.fsync(pool.fileno())
            self._index.executemany("insert or replace into files values (?, ?, ?)", names)
            self._index.commit()
        except (OSError, sqlite3.Error) as error:
            self._index.rollback()
            raise RunError(
                f"cannot write the store of pictures in {self.folder}: {error}. What was decoded before is kept; make room, or "
                "name another place with the environment variable SELFSTUDY_CACHE, and run the same command again"
            ) from error

    def _pictures(self) -> dict[str, list[Stored]]:
        """What is stored of every content, tile by tile, as large as it was decoded."""
        found: dict[str, list[Stored]] = {}
        query = "select content, tile, channels, slot, side, look from pictures where side = original order by content, tile"
        for row in self._index.execute(query):
            found.setdefault(row[0], []).append(Stored(*row))
        return found

    def _magnify(self, rows: Sequence[Stored], side: int) -> dict[tuple[str, int], int]:
        """The slots of pictures that had to be magnified to `side`, by content and tile."""
        query = "select content, tile, slot from pictures where side = ? and original != side"
        known = {(content, tile): slot for content, tile, slot in self._index.execute(query, (side,))}
        missing = {(row.content, row.tile): row for row in rows if (row.content, row.tile) not in known}
        if not missing:
            return known
        small = list(missing.values())
        size = max(1, _WINDOW_BYTES // self._slot_bytes(max(row.channels for row in small)))
        for start in range(0, len(small), size):
            self._write([self._magnified(row, side) for row in small[start : start + size]])
        return {(content, tile): slot for content, tile, slot in self._index.execute(query, (side,))}

    def _magnified(self, row: Stored, side: int) -> Entry:
        values = self._pool(row.channels).read(np.array([row.slot]), row.channels * row.side**2)
        pixels = values.reshape(row.channels, row.side, row.side)
        picture = pixels[0] if row.channels == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2))
        return row.content, row.tile, row.side, magnified(picture, side)

    def _pool(self, channels: int) -> Pool:
        return Pool(self._pool_path(channels), self._slot_bytes(channels))

    @property
    def _most_bytes_a_file(self) -> int:
        """What the pictures of one file take at most, if they are colour where nobody says."""
        return self._slot_bytes(self.recipe.channels or 3) * (self.recipe.tiles.most if self.recipe.tiles else 1)

    def _pool_path(self, channels: int) -> Path:
        return self.folder / f"{channels}.u8"

    def _slot_bytes(self, channels: int) -> int:
        return channels * self.recipe.most**2


def _entries(fresh: Mapping[str, Sequence[Picture]]) -> list[Entry]:
    return [
        (content, picture.tile, len(picture.pixels), magnified(picture.pixels, len(picture.pixels)))
        for content, pictures in fresh.items()
        for picture in pictures
    ]


def _key(file: File) -> bytes:
    match file:
        case Encoded():
            return b"\0" + file.name.encode("utf-8", "surrogateescape")
        case Stack():
            return b"\0".join(os.fsencode(os.path.abspath(path)) for path in file.files)
        case Path():
            return os.fsencode(os.path.abspath(file))


def _stamp(file: File) -> str:
    """Changes when the file does; "" where it cannot be asked."""
    if isinstance(file, Encoded):
        return file.stamp
    try:
        facts = [path.stat() for path in (file.files if isinstance(file, Stack) else (file,))]
    except (OSError, ValueError):  # a name with a zero byte
        return ""
    return " ".join(f"{fact.st_size}:{fact.st_mtime_ns}" for fact in facts)
