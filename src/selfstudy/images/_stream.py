"""Pictures that are decoded from their shards whenever they are asked for, and look like one uint8 array [N, C, S, S].

Ids     A picture is named by its shard, which is known by its headers and first bytes, and by its place in it: shards may
        move and be renamed. It is no hash of the picture, which would have to be read for it.
Damage  A picture that cannot be decoded is replaced by the next one that can, of the same selection of rows, mostly of the
        same shard. In a set with labels it is replaced by plain grey instead: another picture would stand under a label
        that is not its own, and might be one that is tested. Each is reported once, whoever meets it.
Memory  Of what was decoded, a batch; of what can be, its place: some 300 bytes a picture.
"""

import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from selfstudy.encoder import match_channels
from selfstudy.errors import RunError, UserError
from selfstudy.images._decode import decode
from selfstudy.images._file import Encoded
from selfstudy.images._imageset import Skipped
from selfstudy.images._order import shards_at_once, spread
from selfstudy.images._pixels import LazyPixels
from selfstudy.images._shelf import Shelf
from selfstudy.images._squares import Recipe, as_many_channels, magnified

SAMPLE = 256  # pictures looked at before anything else: as many as levels are measured on
_LEAST_READ = 100  # before a share of pictures that cannot be decoded means anything
_BLANK = 128  # mid-grey


@dataclass(frozen=True, kw_only=True, eq=False)
class Streamed:
    """Where pictures lie. Row i of every array is picture i; rows are in the order of their shards and places."""

    shelf: Shelf
    ids: np.ndarray  # str [N]
    contents: np.ndarray  # str [N]: ids without what tells copies of a shard apart
    names: np.ndarray  # str [N]: file name of the shard, and the member in it
    shards: np.ndarray  # int64 [N]: number on the shelf
    offsets: np.ndarray  # int64 [N]: first byte
    sizes: np.ndarray  # int64 [N], bytes

    @classmethod
    def of(cls, shelf: Shelf, found: Sequence[Mapping[str, list]]) -> Self:
        """From what was found in each shard of a shelf: `names`, `offsets` and `sizes` of its pictures."""
        names, contents, ids, seen = list[str](), list[str](), list[str](), dict[str, int]()
        for shard, pictures in zip(shelf.shards, found, strict=True):
            copy = seen[shard.digest] = seen.get(shard.digest, 0) + 1
            of_shard = [f"{shard.digest}{offset // 512:08x}" for offset in pictures["offsets"]]  # tar's blocks
            names += [f"{shard.name}/{name}" for name in pictures["names"]]
            contents += of_shard
            ids += of_shard if copy == 1 else [f"{name}-{copy}" for name in of_shard]
        return cls(
            shelf=shelf, ids=np.array(ids), contents=np.array(contents), names=np.array(names),
            shards=np.repeat(np.arange(len(found)), [len(pictures["names"]) for pictures in found]),
            offsets=np.array([offset for pictures in found for offset in pictures["offsets"]], dtype=np.int64),
            sizes=np.array([size for pictures in found for size in pictures["sizes"]], dtype=np.int64),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def __bool__(self) -> bool:
        return len(self) > 0

    def sample(self, rows: np.ndarray) -> np.ndarray:
        return spread(self.shards, rows, SAMPLE)

    def file(self, row: int) -> Encoded:
        shard = int(self.shards[row])
        read = partial(self.shelf.read, shard, int(self.offsets[row]), int(self.sizes[row]))
        member = str(self.names[row]).partition("/")[2]
        return Encoded(name=f"{self.shelf.shards[shard].place}/{member}", stamp="", read=read)


@dataclass(eq=False)
class Damage:
    """What all selections of a set know of the pictures that could not be decoded."""

    name: str  # of the set
    most_unreadable: float  # share of what is read; above it nothing goes on
    labelled: bool
    skipped: list[Skipped]
    rows: dict[int, Skipped] = field(default_factory=dict)
    num_read: int = 0
    num_bad: int = 0  # of those read, as often as they were
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, row: int, why: Skipped | None) -> None:
        """A picture was read."""
        with self.lock:
            self.num_read += 1
            self.num_bad += why is not None
            if why is not None and row not in self.rows:
                self.rows[row] = why
                self.skipped.append(why)

    @property
    def is_too_much(self) -> bool:
        return self.num_bad > self.most_unreadable * self.num_read

    def require_little(self) -> None:
        """RunError where too much of what was read is bad."""
        if self.num_read >= _LEAST_READ and self.is_too_much:
            raise RunError(f"{self.sentence()}; what was trained is kept")

    def sentence(self) -> str:
        first = next(iter(self.rows.values()))
        return (
            f"{self.num_bad} of the {self.num_read} pictures of {self.name} that were read cannot be decoded, more than "
            f"most_unreadable={self.most_unreadable} allows; the first: {first.path} {first.reason}"
        )


@dataclass(frozen=True, eq=False)
class StreamedPixels(LazyPixels):
    """Row i is picture `rows[i]` of a set in shards."""

    source: Streamed
    rows: np.ndarray  # int64 [N]
    recipe: Recipe
    kind: int  # channels that pictures are brought to when they are decoded
    channels: int  # of what is given
    side: int  # pixels a side
    damage: Damage
    num_threads: int
    histograms: dict[bytes, np.ndarray]  # of samples that were read before, by their rows

    @classmethod
    def open(cls, source: Streamed, recipe: Recipe, damage: Damage) -> Self:
        """All pictures of a set. A sample is read: it decides whether they are grey or colour, where nobody says.

        Raises UserError if too many of it cannot be decoded, or if the shards read at a time have no room.
        """
        # For the whole process: what Pillow warns of, odd metadata, is nothing to the threads, which have no filters of their own.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        source.shelf.require_room(shards_at_once(source.shards))
        every = np.arange(len(source))
        pixels = cls(source, every, recipe, 0, 0, recipe.most, damage, torch.get_num_threads(), {})
        found = pixels._decoded(source.sample(every), to_kind=False)
        kinds = [picture.shape[2] if picture.ndim == 3 else 1 for picture in found if not isinstance(picture, Skipped)]
        if not kinds or damage.is_too_much:
            raise UserError(damage.sentence())
        kind = recipe.channels or max(kinds)
        return replace(pixels, kind=kind, channels=kind)

    def __len__(self) -> int:
        return len(self.rows)

    def pictures(self, rows: np.ndarray | slice) -> Tensor:
        wanted = self.rows[rows]
        pixels = torch.empty((len(wanted), self.kind, self.side, self.side), dtype=torch.uint8)
        for place, picture in enumerate(self._decoded(wanted)):
            if isinstance(picture, Skipped):
                picture = self._instead_of(int(wanted[place]))
            pixels[place] = torch.from_numpy(magnified(picture, self.side))
        self.damage.require_little()
        return match_channels(pixels, self.channels)

    def take(self, rows: np.ndarray) -> Self:
        return replace(self, rows=self.rows[rows])

    def with_channels(self, channels: int) -> Self:
        match_channels(torch.empty(0, self.kind, 1, 1), channels)  # raises where it cannot be
        return replace(self, channels=channels)

    def expect(self, rows: np.ndarray) -> None:
        self.source.shelf.expect(np.unique(self.source.shards[self.rows[rows]]).tolist())

    def histogram(self, rows: np.ndarray) -> np.ndarray:
        key = self.rows[rows].tobytes() + bytes([self.channels % 256])
        if key not in self.histograms:
            self.histograms[key] = super().histogram(rows)
        return self.histograms[key]

    def _decoded(self, rows: np.ndarray, to_kind: bool = True) -> list[np.ndarray | Skipped]:
        """Uint8 [S, S] or [S, S, C] of each row of the set, S at most the side; or why it cannot be had."""
        kind = self.kind if to_kind else 0
        # Here and not by the threads below, for which a process that ends would wait until they had what they fetch.
        self.source.shelf.fetch(np.unique(self.source.shards[rows]).tolist())
        with ThreadPoolExecutor(min(self.num_threads, max(1, len(rows)))) as threads:
            return list(threads.map(lambda row: self._picture(row, kind), rows.tolist()))

    def _picture(self, row: int, kind: int) -> np.ndarray | Skipped:
        if row in self.damage.rows:
            self.damage.count(row, self.damage.rows[row])
            return self.damage.rows[row]
        file = self.source.file(row)
        content = file.read()  # here: what the shelf complains of is no fault of the picture
        found = decode(replace(file, read=lambda: content), self.recipe)
        self.damage.count(row, found if isinstance(found, Skipped) else None)
        return found if isinstance(found, Skipped) else as_many_channels(found[1][0].pixels, kind)

    def _instead_of(self, row: int) -> np.ndarray:
        """What is shown in place of a picture that cannot be decoded."""
        if self.damage.labelled:
            return np.full((self.side, self.side, self.kind), _BLANK, dtype=np.uint8)
        rows = self._in_order
        start = int(np.searchsorted(rows, row))
        for step in range(1, len(rows)):
            found = self._picture(int(rows[(start + step) % len(rows)]), self.kind)
            if not isinstance(found, Skipped):
                return found
            self.damage.require_little()
        raise RunError(self.damage.sentence())

    @cached_property
    def _in_order(self) -> np.ndarray:
        return np.unique(self.rows)
