"""Shards: what a pattern means, shards of elsewhere fetched through the library, and the samples that lie in one."""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from selfstudy.errors import UserError
from selfstudy.images._file import Encoded
from selfstudy.images._index import Member, folder, index_of, read
from selfstudy.images._names import expand, printable
from selfstudy.progress import Progress

# What the library raises where a shard of elsewhere cannot be had.
FETCH_ERRORS = (OSError, ValueError, RuntimeError)


def places_of(pattern: str) -> list[Path | str]:
    """Paths of shards on the disk and URLs of others, in a pattern's order: {000..099} counts, * and ? match local names,
    :: joins patterns."""
    try:
        from webdataset.shardlists import expand_urls
    except ImportError:
        advice = 'pip install "selfstudy[webdataset]"'
        raise UserError(f"to read {printable(pattern)} the package webdataset is needed: {advice}") from None
    try:
        urls: list[str] = expand_urls(pattern)
    except (ValueError, KeyError) as error:  # unbalanced braces; a variable that is not set
        raise UserError(f"wds: the pattern {printable(pattern)} cannot be expanded: {printable(error)}") from None
    places = list[Path | str]()
    for url in urls:
        if re.match(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:", url):  # two letters or more: C: is a drive
            places.append(url)
            continue
        path = expand(url.removeprefix("file://").removeprefix("file:"))
        found = [path] if path.is_file() else sorted(map(Path, glob.glob(str(path))))
        if not found or not found[0].is_file():
            problem = "is a folder: write FOLDER/*.tar" if path.is_dir() else "does not exist"
            raise UserError(f"wds: the shard {printable(path)} {problem}")
        places += found
    return places


def local_shards(pattern: str) -> list[Path]:
    """The shards that a pattern names, all on the disk. Those of elsewhere are fetched into the cache, once."""
    places = places_of(pattern)
    fetched = _fetch_all([place for place in places if isinstance(place, str)])
    return [fetched[place] if isinstance(place, str) else place for place in places]


def _fetch_all(urls: Sequence[str]) -> dict[str, Path]:
    found = {url: folder() / cache_name(url) for url in urls}
    missing = [url for url, path in found.items() if not path.is_file()]
    if not missing:
        return found
    folder().mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        free = shutil.disk_usage(folder()).free
        progress.say(f"fetching {len(missing)} shards once, into {folder()} ({free / 1e9:,.0f} GB are free)")
        progress.start("fetch", len(missing), "shards")
        num_bytes = 0
        for done, url in enumerate(missing, 1):
            try:
                fetch(url, folder())
            except FETCH_ERRORS as error:
                raise UserError(
                    f"wds: the shard {printable(url)} cannot be fetched ({reason_of(error)}); what was fetched is kept "
                    f"in {folder()}"
                ) from None
            num_bytes += found[url].stat().st_size
            progress.update(done, f"{num_bytes / 1e6:,.0f} MB")
        progress.finish(f"fetched {len(missing)} shards, {num_bytes / 1e6:,.0f} MB")
    return found


def fetch(url: str, into: Path) -> None:
    """A shard of elsewhere into a folder, as `cache_name` says; whole or not at all. Raises what FETCH_ERRORS names."""
    from webdataset.cache import FileCache

    into.mkdir(parents=True, exist_ok=True)
    try:
        FileCache(cache_dir=str(into), url_to_name=cache_name, validator=None).get_file(url)
    finally:
        (into / f"{cache_name(url)}.temp{os.getpid()}").unlink(missing_ok=True)  # what the library leaves


def reason_of(error: BaseException) -> str:
    return printable(str(error).strip() or type(error).__name__)


def cache_name(url: str) -> str:
    """Readable, and different for every URL."""
    digest = hashlib.blake2b(url.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
    return f"{digest}-{name_of(url)}"


def name_of(url: str) -> str:
    """The file name of a shard of elsewhere, as far as its URL tells."""
    names = re.findall(r"[\w.-]+\.tar", url) or ["shard.tar"]  # a command may go on behind the name
    return str(names[-1][-80:])


def members_of(shard: Path) -> Mapping[str, Mapping[str, Encoded]]:
    """Samples by key, and their members by kind, in the order of the shard. Raises UserError if it is not whole."""
    facts = shard.stat()
    place, stamp = printable(shard.absolute()), f"{facts.st_size}:{facts.st_mtime_ns}"

    def encoded(member: Member) -> Encoded:
        name, offset, size = member
        return Encoded(name=f"{place}/{printable(name)}", stamp=stamp, read=partial(read, shard, offset, size))

    samples = grouped(index_of(shard, f"{place} {stamp}").members, shard)
    return {key: {kind: encoded(member) for kind, member in kinds.items()} for key, kinds in samples.items()}


def grouped(members: Sequence[Member], shard: Path | str) -> Mapping[str, Mapping[str, Member]]:
    """Samples by key, and their members by kind, in the order of a shard. Raises UserError for one that holds none."""
    from webdataset.tariterators import base_plus_ext

    samples: dict[str, dict[str, Member]] = {}
    for name, offset, size in members:
        key, kind = base_plus_ext(name)
        if not key or name.rpartition("/")[2].startswith(("__", ".")):
            continue  # hidden files, and the library's own notes
        if kind in samples.setdefault(key, {}):
            raise UserError(f"the shard {printable(shard)} holds {printable(name)} twice: make it again")
        samples[key][kind] = name, offset, size
    if not samples:
        advice = "fetch or make it again, or leave it out of the pattern"
        raise UserError(f"the shard {printable(shard)} is empty: {advice}")
    return samples
