"""Pictures that lie on the disk and look like one uint8 array [N, C, S, S]. Only what is asked for is read.

Slots   A pool file holds pictures of equally many channels, one after the other, in slots of one size; a picture takes
        the beginning of its slot, channel by channel and row by row.
Memory  The files are mapped. The system counts mapped pages that were read as memory of the process, although it can take
        them back at any time; every `_RELEASE_BYTES` they are given back, so that what is counted stays bounded.
"""

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from selfstudy.types import Pixels

_RELEASE_BYTES = 64 * 2**20
_RELEASE = getattr(mmap, "MADV_DONTNEED", None)  # Windows has no such advice, and does not count mapped pages so


class Pool:
    """One file of slots, mapped for reading."""

    def __init__(self, path: Path, slot_bytes: int) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        usable = len(self._map) // slot_bytes * slot_bytes
        self._slots = np.frombuffer(self._map, dtype=np.uint8, count=usable).reshape(-1, slot_bytes)
        self._bytes_read = 0

    def read(self, slots: np.ndarray, num_bytes: int) -> np.ndarray:
        """Uint8 [n, num_bytes]: the beginnings of the slots, copied."""
        found = self._slots[:, :num_bytes][slots]
        self._bytes_read += found.nbytes
        if self._bytes_read > _RELEASE_BYTES and _RELEASE is not None:
            self._map.madvise(
                _RELEASE
            )  # the pages stay in the system's cache: reading them again is no reading of the disk
            self._bytes_read = 0
        return found


class LazyPixels(ABC):
    """N pictures of `channels` channels and `side` pixels a side, none of which is in memory."""

    channels: int
    side: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def pictures(self, rows: np.ndarray | slice) -> Tensor:
        """Uint8 [n, C, S, S]: the pictures at the positions `rows`."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """The pictures at int64 positions `rows`; nothing is read."""

    @abstractmethod
    def with_channels(self, channels: int) -> Self:
        """The same with other channels than they have; nothing is read. Raises UserError for what cannot be."""

    @abstractmethod
    def expect(self, rows: np.ndarray) -> None:
        """Be told that the pictures at these positions will soon be asked for."""

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), self.channels, self.side, self.side))

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    def __getitem__(self, rows: Tensor | np.ndarray | slice | int) -> Tensor:
        """Uint8 [n, C, S, S]: a copy of the pictures at the positions `rows`; [C, S, S] of the picture at a whole number."""
        if isinstance(rows, int):
            return self[rows : rows + 1 or None][0]
        return self.pictures(rows.numpy() if isinstance(rows, Tensor) else rows)

    def split(self, size: int) -> Iterator[Tensor]:
        """The pictures in order, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def histogram(self, rows: np.ndarray) -> np.ndarray:
        """Int64 [C, 256]: how often each value comes in each channel of the pictures at int64 positions `rows`."""
        return histogram_of(self, rows)


def histogram_of(images: Pixels, rows: np.ndarray) -> np.ndarray:
    """Int64 [C, 256] of the images at int64 positions `rows`, a thousand of which are in memory at a time."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for chunk in np.array_split(np.ascontiguousarray(rows, dtype=np.int64), max(1, len(rows) // 1024)):
        pixels = images[torch.from_numpy(chunk)]
        for channel in range(len(counts)):
            counts[channel] += torch.bincount(pixels[:, channel].flatten(), minlength=256).numpy()
    return counts


@dataclass(frozen=True, eq=False)
class StoredPixels(LazyPixels):
    """Row i lies in slot `slots[i]` of the pool of pictures with `kinds[i]` channels."""

    pools: Mapping[int, Pool]  # by channels
    kinds: np.ndarray  # int64 [N]: channels of each picture
    slots: np.ndarray  # int64 [N]
    channels: int  # of what is given: grey is repeated
    side: int  # pixels a side

    def __len__(self) -> int:
        return len(self.slots)

    def pictures(self, rows: np.ndarray | slice) -> Tensor:
        kinds, slots = self.kinds[rows], self.slots[rows]
        if self._only_kind is not None:
            return self._read(self._only_kind, slots).expand(-1, self.channels, -1, -1)
        pixels = torch.empty((len(slots), self.channels, self.side, self.side), dtype=torch.uint8)
        for kind in np.unique(kinds).tolist():
            of_kind = np.flatnonzero(kinds == kind)
            pixels[torch.from_numpy(of_kind)] = self._read(kind, slots[of_kind]).expand(-1, self.channels, -1, -1)
        return pixels

    def take(self, rows: np.ndarray) -> Self:
        return replace(self, kinds=self.kinds[rows], slots=self.slots[rows])

    def with_channels(self, channels: int) -> Self:
        """Grey repeated to more channels."""
        return replace(self, channels=channels)

    def expect(self, rows: np.ndarray) -> None:
        """They lie where they are read."""

    @cached_property
    def _only_kind(self) -> int | None:
        kinds = np.unique(self.kinds)
        return int(kinds[0]) if len(kinds) == 1 else None

    def _read(self, kind: int, slots: np.ndarray) -> Tensor:
        values = self.pools[kind].read(slots, kind * self.side * self.side)
        return torch.from_numpy(values).view(len(slots), kind, self.side, self.side)
