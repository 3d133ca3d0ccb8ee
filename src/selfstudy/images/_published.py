"""Published sets that torchvision loads: where they lie, and one sentence when they are not there or not as published.

torchvision's own loaders fetch what is missing and compare it with the published checksums. Nothing is fetched when
the files are there; an archive that was put into the folder by hand is unpacked rather than fetched.
"""

import contextlib
import hashlib
import socket
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from filelock import FileLock

from selfstudy.errors import UserError
from selfstudy.images import _store
from selfstudy.images._names import expand, printable
from selfstudy.images._source import Listing

Place = Path | Literal[""]  # empty: a folder of the user's cache
Loaded = TypeVar("Loaded")

_PATIENCE_SECONDS = 30.0  # without an answer: behind some firewalls a connection is never refused
# What torchvision's loaders raise for a missing network, a wrong checksum, or files that contradict their own headers.
_FAILURES = (
    OSError,
    HTTPException,
    RuntimeError,
    AssertionError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    zlib.error,
    tarfile.TarError,
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A set as its makers publish it."""

    name: str  # of the source
    folder: Path  # where the files lie
    files: Mapping[str, str]  # the files in it, each with its MD5; empty where none is published
    archives: Mapping[str, str]  # what is fetched: name of the file, URL
    put_into: Path  # the folder of the archives


def cache_folder() -> Path:
    """Where selfstudy keeps what can be fetched or made again: $SELFSTUDY_CACHE, or the user's cache."""
    return _store.place().parent


def root_of(place: Place, name: str, inner: str) -> Path:
    """The folder to give to torchvision, which looks for `inner` in it; who names the inner folder is understood too."""
    if not place:
        return cache_folder() / "data" / name
    root = expand(place)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise UserError(
            f"the folder {printable(root)} {problem}: make it, and {name} is fetched into it, or write {name}"
        )
    parts = Path(inner).parts
    for depth in range(len(parts), 0, -1):
        if root.parts[-depth:] == parts[:depth]:
            return root.parents[depth - 1]
    return root


def obtain(published: Published, load: Callable[[], Loaded]) -> Loaded:
    """What torchvision's loader `load` gives. One process at a time fetches; the others wait for it."""
    try:
        if all((published.folder / file).is_file() for file in published.files):
            with _impatience():
                return load()
        published.put_into.mkdir(parents=True, exist_ok=True)
        with FileLock(published.put_into / f".{published.name}.lock"), _impatience():
            return load()
    except _FAILURES as error:
        raise UserError(_explain(published, error)) from None


@contextlib.contextmanager
def _impatience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _explain(published: Published, error: BaseException) -> str:
    """Which file is wrong, and what to put where."""
    from torchvision.datasets.utils import check_integrity

    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = printable(lines[-1])
    advice = " and ".join(f"{url} as {file}" for file, url in published.archives.items())
    for file, checksum in published.files.items():
        path = published.folder / file
        if not path.is_file():
            problem = "is missing"
        elif checksum and not check_integrity(path, checksum):
            problem = "is not the published file (its MD5 differs)"
        else:
            continue
        return (
            f"{published.name}: {printable(path)} {problem} and could not be fetched ({reason}): "
            f"put {advice} into {printable(published.put_into)}"
        )
    return (
        f"{published.name}: the files in {printable(published.folder)} cannot be read ({reason}): "
        f"delete them and put {advice} into {printable(published.put_into)}"
    )


def listing_of(parts: Sequence[tuple[str, np.ndarray, Sequence[str]]], labelled: bool) -> Listing:
    """One listing of parts: the name of each, its pictures as uint8 [N, H, W] or [N, H, W, 3], and their labels."""
    return Listing(
        pictures=np.concatenate([pictures for _, pictures, _ in parts]),
        labels=[label for _, _, labels in parts for label in labels] if labelled else (),
        parts=[part for part, pictures, _ in parts for _ in range(len(pictures))],
        has_copies=False,
    )


def remembered(files: Sequence[Path], check: Callable[[], object]) -> None:
    """Call `check`, which raises if the files are not as published, once for files of these sizes and times."""
    if all(path.is_file() for path in files) and _marker(files).is_file():
        return
    check()
    marker = _marker(files)
    with contextlib.suppress(OSError):  # a cache that cannot be written: then they are checked again next time
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _marker(files: Sequence[Path]) -> Path:
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.blake2b(repr(facts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
    return cache_folder() / "verified" / digest
