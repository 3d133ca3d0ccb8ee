"""What lies in a shard: its headers are walked once, and what was found is remembered in the cache."""

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfstudy import files
from selfstudy.errors import RunError, UserError
from selfstudy.images import _store
from selfstudy.images._names import printable

Member = tuple[str, int, int]  # name, first byte and size of a file in a shard

_VERSION = 2  # raised when other things are remembered
_HEAD_BYTES = 2**16  # of a shard that are compared: some headers, and the first pictures
_DIGEST_BYTES = 6  # of 48 bits: among 10,000 shards two are taken for one with a chance of 2 in 10 million


@dataclass(frozen=True, slots=True)
class Index:
    """A shard by its headers."""

    members: Sequence[Member]  # in the order of the shard
    digest: str  # 12 hexadecimal digits of all headers and of the first bytes: the shard, whatever it is called
    head: str  # of the first bytes alone: whether a file is still that shard
    num_bytes: int


def folder() -> Path:
    """Where shards of elsewhere, and what was found in any, are kept."""
    return _store.place().parent / "shards"


def index_of(shard: Path, identity: str) -> Index:
    """The index of a shard on the disk, remembered under `identity`. Raises UserError if the shard is not whole."""
    if found := known_index(identity):
        return found
    found = _walk(shard)
    remember(f"index {identity}", asdict(found))
    return found


def known_index(identity: str) -> Index | None:
    found = remembered(f"index {identity}")
    return None if found is None else Index(**found)


def remembered(identity: str) -> Any | None:
    """The JSON value that was remembered under `identity`; None if there is none, or if it was cut short."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(_memory(identity).read_text(encoding="utf-8"))
    return None


def remember(identity: str, value: object) -> None:
    """A cache that cannot be written is no failure: then it is found again next time."""
    place = _memory(identity)
    with contextlib.suppress(OSError, RunError):
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(place, json.dumps(value))  # names that are no text stay what they are: as escapes


def forget(identity: str) -> None:
    _memory(f"index {identity}").unlink(missing_ok=True)


def read(shard: Path, offset: int, size: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def head_of(shard: Path) -> str:
    return hashlib.blake2b(read(shard, 0, _HEAD_BYTES), digest_size=_DIGEST_BYTES).hexdigest()


def _memory(identity: str) -> Path:
    text = f"{_VERSION} {identity}".encode("utf-8", "backslashreplace")
    return folder() / "index" / f"{hashlib.blake2b(text, digest_size=16).hexdigest()}.json"


def _walk(shard: Path) -> Index:
    """Seconds for 100,000 headers."""
    num_bytes, end, found = shard.stat().st_size, 0, list[Member]()
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isreg():
                    found.append((member.name, member.offset_data, member.size))
                    digest.update(f"{found[-1]} {member.mtime}".encode("utf-8", "backslashreplace"))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(_advice(shard, num_bytes, str(error))) from None
    if read(shard, end, tarfile.BLOCKSIZE).strip(b"\0") or end > num_bytes:
        raise UserError(_advice(shard, num_bytes, f"after byte {end} no file begins"))  # where tarfile just stops
    head = head_of(shard)
    digest.update(head.encode())
    return Index(found, digest.hexdigest(), head, num_bytes)


def _advice(shard: Path, size: int, reason: str) -> str:
    head = read(shard, 0, 4)
    if head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd":  # gzip, zstandard
        return f"the shard {printable(shard)} is compressed as a whole: unpack it to a plain .tar"
    if not size:
        return (
            f"the shard {printable(shard)} is empty (0 bytes): fetch or make it again, or leave it out of the pattern"
        )
    return f"the shard {printable(shard)} is damaged or cut short ({printable(reason)}): delete it, then fetch or make it again"
