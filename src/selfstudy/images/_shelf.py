"""The shelf: shards by number, those of the disk where they lie, those of elsewhere fetched when they are wanted.

Room    What is fetched stays below a number of bytes: the shards that were not read for longest make room for the next.
        All sets share one folder of the cache; the limit is that of whoever fetches.
Kills   A shard is renamed into its place once it is whole; what a killed process began is removed by the next.
Threads Any thread may read. A shard is fetched by one of them while those that want it too wait.
"""

import contextlib
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from selfstudy.errors import RunError, UserError
from selfstudy.images._index import Index, folder, forget, head_of, index_of, known_index, read
from selfstudy.images._names import printable
from selfstudy.images._shards import FETCH_ERRORS, cache_name, fetch, name_of, reason_of
from selfstudy.progress import Progress

_PAUSES_SECONDS = (1.0, 10.0, 60.0)  # before another attempt: servers that are busy, networks that were gone
_MOST_ATTEMPTS = 5  # at a shard that others remove again and again, for their own room


@dataclass(frozen=True, slots=True)
class Shard:
    """Where a shard lies, and how it is known wherever that is."""

    name: str  # of its file
    place: str  # path or URL, for people
    part: str
    url: str  # empty where it lies on this disk
    path: Path  # where it lies, or will lie once it is fetched
    identity: str  # under which what is found in it is remembered
    digest: str  # 12 hexadecimal digits
    head: str
    num_bytes: int


class Shelf:
    """Shards in the order of their digests, so that neither their places nor their names decide anything."""

    def __init__(self, most_bytes: int) -> None:
        self.shards: Sequence[Shard] = ()
        self.folder = folder() / "shelf"
        self._most_bytes = most_bytes  # of what is fetched
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)  # of fetching a shard
        self._books = threading.Condition()  # of all below, and of what is removed
        self._coming: dict[Path, int] = {}  # bytes of what is being fetched
        self._runner: threading.Thread | None = None

    @classmethod
    def open(cls, places: Sequence[tuple[Path | str, str]], most_bytes: int) -> "Shelf":
        """The shards at places, each with its part. Those never seen are walked, for which remote ones are fetched."""
        shelf = cls(most_bytes)
        shelf._sweep()
        found = [_known(place, part) for place, part in places]
        new = [place for (place, _), shard in zip(places, found, strict=True) if shard is None]
        with Progress(quiet=not new) as progress:
            progress.say(shelf._announcement(new))
            progress.start("walk", len(new), "shards")
            done, num_bytes = 0, 0
            for number, (place, part) in enumerate(places):
                if found[number] is None:
                    index = shelf._walk(place, num_bytes // max(1, done))
                    found[number] = _shard(place, part, index)
                    done, num_bytes = done + 1, num_bytes + index.num_bytes
                    progress.update(done, f"{num_bytes / 1e9:,.2f} GB")
            progress.finish(f"walked {done} shards, {num_bytes / 1e9:,.2f} GB")
        shelf.shards = sorted((shard for shard in found if shard), key=lambda shard: (shard.digest, shard.part))
        return shelf

    def index(self, number: int) -> Index:
        """What lies in a shard; if it is no longer remembered, the shard is walked again."""
        shard = self.shards[number]
        return known_index(shard.identity) or index_of(self._ready(shard), shard.identity)

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, from any thread. Raises RunError where it is gone, or cannot be fetched."""
        shard = self.shards[number]
        for _ in range(_MOST_ATTEMPTS):
            try:
                return read(self._ready(shard), offset, size)
            except FileNotFoundError:
                if not shard.url:
                    raise RunError(f"the shard {shard.place} is gone; {_KEPT} when it is there again") from None
            except OSError as error:
                raise RunError(f"the shard {shard.place} cannot be read ({reason_of(error)}); {_KEPT}") from None
        raise RunError(
            f"the shard {shard.place} was removed from {self.folder} each time it was fetched: give every run that streams a "
            "larger disk_gb"
        )

    def fetch(self, numbers: Iterable[int]) -> None:
        """Have shards lie on the disk, as far as there is room. Raises RunError where one cannot be fetched."""
        num_bytes = 0
        for shard in [self.shards[number] for number in numbers]:
            num_bytes += shard.num_bytes if shard.url else 0
            if num_bytes > self._most_bytes:
                return
            self._ready(shard)

    def expect(self, numbers: Iterable[int]) -> None:
        """Begin to fetch what will be wanted soon, in the background. What fails is said to whoever reads it."""
        missing = [self.shards[number] for number in numbers if self.shards[number].url]
        missing = [shard for shard in missing if not shard.path.is_file()]
        if missing and (self._runner is None or not self._runner.is_alive()):
            self._runner = threading.Thread(target=self._run_ahead, args=(missing,), daemon=True)
            self._runner.start()

    def require_room(self, at_once: int) -> None:
        """UserError if that many shards cannot lie on the shelf together: each would be fetched again and again."""
        sizes = sorted((shard.num_bytes for shard in self.shards if shard.url), reverse=True)[:at_once]
        if sum(sizes) > self._most_bytes:
            needed = f"{sum(sizes) / 1e9:.3g}"
            raise UserError(
                f"disk_gb is {self._most_bytes / 1e9:g}, but shuffling reads {len(sizes)} shards at a time, which take {needed} GB: "
                f"set disk_gb to {needed} or more, or make smaller shards"
            )

    @property
    def num_bytes(self) -> int:
        return sum(shard.num_bytes for shard in self.shards)

    def _announcement(self, new: Sequence[Path | str]) -> str:
        remote = sum(isinstance(place, str) for place in new)
        text = f"walking {len(new)} shards once, for where their pictures lie"
        if not remote:
            return text
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free / 1e9
        return (
            f"{text}; {remote} are fetched for it, of which at most {self._most_bytes / 1e9:g} GB stay in {self.folder} "
            f"({free:,.0f} GB are free)"
        )

    def _walk(self, place: Path | str, usual_bytes: int) -> Index:
        identity = _identity(place)
        if isinstance(place, Path):
            return index_of(place, identity)
        path = self.folder / cache_name(place)
        with self._locks[path]:
            try:
                if not path.is_file():
                    with self._room_for(path, usual_bytes):
                        fetch(place, self.folder)
                found = index_of(path, identity)
                self._make_room()
            except UserError:
                path.unlink(missing_ok=True)  # damaged: the next attempt fetches it anew
                raise
            except FETCH_ERRORS as error:
                raise UserError(
                    f"wds: the shard {printable(place)} cannot be fetched ({reason_of(error)}); where the pictures of others lie "
                    "is remembered"
                ) from None
        return found

    def _ready(self, shard: Shard) -> Path:
        """The file of a shard, fetched if need be."""
        if shard.url:
            with contextlib.suppress(FileNotFoundError):
                os.utime(shard.path)  # now it is the last that will be removed
                return shard.path
            with self._locks[shard.path]:
                if not shard.path.is_file():
                    self._fetch(shard)
        return shard.path

    def _fetch(self, shard: Shard) -> None:
        reason = ""
        for pause in (0.0, *_PAUSES_SECONDS):
            time.sleep(pause)
            try:
                with self._room_for(shard.path, shard.num_bytes):
                    fetch(shard.url, self.folder)
                    if shard.path.stat().st_size == shard.num_bytes and head_of(shard.path) == shard.head:
                        return
                    shard.path.unlink()
                forget(shard.identity)  # so that the next start walks it anew
                reason = "it is not what it was when it was walked"
            except FETCH_ERRORS as error:
                reason = reason_of(error)
        raise RunError(f"the shard {shard.place} cannot be fetched ({reason}); {_KEPT} when it can be had")

    def _run_ahead(self, shards: Sequence[Shard]) -> None:
        with contextlib.suppress(RunError):
            for shard in shards:
                self._ready(shard)

    @contextmanager
    def _room_for(self, path: Path, num_bytes: int) -> Iterator[None]:
        """While a shard of so many bytes is fetched: before it, others make room, and those on their way are waited for."""
        with self._books:
            while self._coming and sum(self._coming.values()) + num_bytes > self._most_bytes:
                self._books.wait()
            self._coming[path] = num_bytes
            self._remove_oldest()
        try:
            yield
        finally:
            with self._books:
                del self._coming[path]
                self._books.notify_all()

    def _make_room(self) -> None:
        with self._books:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        lying = list[tuple[int, int, Path]]()
        for path in set(self.folder.glob("*.tar")) - set(self._coming):
            with contextlib.suppress(FileNotFoundError):  # another process made room
                facts = path.stat()
                lying.append((facts.st_mtime_ns, facts.st_size, path))
        excess = sum(size for _, size, _ in lying) + sum(self._coming.values()) - self._most_bytes
        for _, size, path in sorted(lying):
            if excess <= 0:
                return
            with contextlib.suppress(PermissionError):  # Windows: it is being read
                path.unlink(missing_ok=True)
                excess -= size

    def _sweep(self) -> None:
        """Remove what killed processes began to fetch."""
        for path in self.folder.glob("*.tar.temp*"):
            process = path.suffix.removeprefix(".temp")
            if not (process.isdecimal() and psutil.pid_exists(int(process))):
                path.unlink(missing_ok=True)


_KEPT = "what was trained is kept: run the same command again"


def _identity(place: Path | str) -> str:
    if isinstance(place, str):
        return f"url {place}"
    facts = place.stat()
    return f"{printable(place.absolute())} {facts.st_size}:{facts.st_mtime_ns}"


def _known(place: Path | str, part: str) -> Shard | None:
    index = known_index(_identity(place))
    return None if index is None else _shard(place, part, index)


def _shard(place: Path | str, part: str, index: Index) -> Shard:
    url = place if isinstance(place, str) else ""
    return Shard(
        name=name_of(url) if url else printable(Path(place).name), place=printable(place), part=part, url=url,
        path=folder() / "shelf" / cache_name(url) if url else Path(place), identity=_identity(place),
        digest=index.digest, head=index.head, num_bytes=index.num_bytes,
    )  # fmt: skip
