"""Shards on the disk: what a pattern means, shards of elsewhere fetched once, and where their members lie."""

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from selfstudy import files
from selfstudy.errors import RunError, UserError
from selfstudy.images import _store
from selfstudy.images._source import Encoded, expand, printable
from selfstudy.progress import Progress


def local_shards(pattern: str) -> list[Path]:
    """The shards that a pattern names, in its order: {000..099} counts, * and ? match local names, :: joins patterns."""
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        advice = 'pip install "selfstudy[webdataset]"'
        raise UserError(f"to read {printable(pattern)} the package webdataset is needed: {advice}") from None
    try:
        urls: list[str] = expand_urls(pattern)
    except (ValueError, KeyError) as error:  # unbalanced braces; a variable that is not set
        raise UserError(f"wds: the pattern {printable(pattern)} cannot be expanded: {printable(error)}") from None
    remote = [url for url in urls if _is_remote(url)]
    fetched = _fetch(remote) if remote else {}
    shards = list[Path]()
    for url in urls:
        if url in fetched:
            shards.append(fetched[url])
            continue
        path = expand(url.removeprefix("file://").removeprefix("file:"))
        found = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path))))
        if not found or not found[0].is_file():
            problem = "is a folder: write FOLDER/*.tar" if path.is_dir() else "does not exist"
            raise UserError(f"wds: the shard {printable(path)} {problem}")
        shards += found
    return shards


def _is_remote(url: str) -> bool:
    return re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:", url) is not None  # two letters or more: C: is a drive


def _fetch(urls: list[str]) -> dict[str, Path]:
    """Shards of elsewhere, through the library, into the cache. One that is there is not fetched again."""
    from webdataset.cache import FileCache

    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    cache = FileCache(cache_dir=str(folder), url_to_name=_cache_name, validator=None)
    missing = [url for url in urls if not (folder / _cache_name(url)).is_file()]
    found = {url: folder / _cache_name(url) for url in urls}
    with Progress(quiet=not missing) as progress:
        free = shutil.disk_usage(folder).free
        progress.say(f"fetching {len(missing)} shards once, into {folder} ({free / 1e9:,.0f} GB are free)")
        progress.start("fetch", len(missing), "shards")
        num_bytes = 0
        for done, url in enumerate(missing, 1):
            try:
                cache.get_file(url)
            except (OSError, ValueError, RuntimeError) as error:
                reason = printable(str(error).strip() or type(error).__name__)
                raise UserError(
                    f"wds: the shard {printable(url)} cannot be fetched ({reason}); what was fetched is kept in {folder}"
                ) from None
            finally:
                (folder / f"{_cache_name(url)}.temp{os.getpid()}").unlink(missing_ok=True)  # what the library leaves
            num_bytes += found[url].stat().st_size
            progress.update(done, f"{num_bytes / 1e6:,.0f} MB")
        progress.finish(f"fetched {len(missing)} shards, {num_bytes / 1e6:,.0f} MB")
    return found


def _folder() -> Path:
    return _store.place().parent / "shards"


def _cache_name(url: str) -> str:
    """Readable, and different for every URL."""
    digest = hashlib.blake2b(url.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
    names = re.findall(r"[\w.-]+\.tar", url) or ["shard.tar"]  # a command may go on behind the name
    return f"{digest}-{names[-1][-80:]}"


def members_of(shard: Path) -> Mapping[str, Mapping[str, Encoded]]:
    """Samples by key, and their members by kind, in the order of the shard. Raises UserError if it is not whole."""
    from webdataset.tariterators import base_plus_ext

    facts = shard.stat()
    place, stamp = printable(shard.absolute()), f"{facts.st_size}:{facts.st_mtime_ns}"
    samples: dict[str, dict[str, Encoded]] = {}
    for name, offset, size in _index(shard, f"{place} {stamp}", facts.st_size):
        key, kind = base_plus_ext(name)
        if not key or name.rpartition("/")[2].startswith(("__", ".")):
            continue  # hidden files, and the library's own notes
        if kind in samples.setdefault(key, {}):
            raise UserError(f"the shard {printable(shard)} holds {printable(name)} twice: make it again")
        read = partial(_read, shard, offset, size)
        samples[key][kind] = Encoded(name=f"{place}/{printable(name)}", stamp=stamp, read=read)
    if not samples:
        advice = "fetch or make it again, or leave it out of the pattern"
        raise UserError(f"the shard {printable(shard)} is empty: {advice}")
    return samples


def _index(shard: Path, identity: str, num_bytes: int) -> list[tuple[str, int, int]]:
    """Name, first byte and size of every file in a shard. Walking the headers takes seconds: it is done once."""
    digest = hashlib.blake2b(identity.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
    known = _folder() / "index" / f"{digest}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or cut short
        return json.loads(known.read_text(encoding="utf-8"))
    end, found = 0, list[tuple[str, int, int]]()
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isreg():
                    found.append((member.name, member.offset_data, member.size))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(_advice(shard, num_bytes, str(error))) from None
    if _read(shard, end, tarfile.BLOCKSIZE).strip(b"\0") or end > num_bytes:
        raise UserError(_advice(shard, num_bytes, f"after byte {end} no file begins"))  # where tarfile just stops
    with contextlib.suppress(OSError, RunError):  # a cache that cannot be written: then it is walked again next time
        known.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(known, json.dumps(found))  # names that are no text stay what they are: as escapes
    return found


def _advice(shard: Path, size: int, reason: str) -> str:
    with shard.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd":  # gzip, zstandard
        return f"the shard {printable(shard)} is compressed as a whole: unpack it to a plain .tar"
    if not size:
        return (
            f"the shard {printable(shard)} is empty (0 bytes): fetch or make it again, or leave it out of the pattern"
        )
    return f"the shard {printable(shard)} is damaged or cut short ({printable(reason)}): delete it, then fetch or make it again"


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
