"""Randomness as a pure function of (key, image index, column): nothing is stored, so resume is exact.

A stream is a 64-bit key. `fork` derives the key of another purpose; `per_image` turns a key and the images' indices
into a table of draws. The mixing function is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014; constants:
Stafford's variant 13), which passes BigCrush as a counter generator. Its integer arithmetic is exact on every device,
so a GPU sees the same draws as a CPU, and an image sees the same draws whatever the batch around it.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: the counter increment of SplitMix64
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    """The int64 with the same 64 bits, as torch has no full unsigned arithmetic."""
    return value - (1 << 64) if value >> 63 else value


def _mix_int(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64: torch's own shift drags the sign along."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _signed(_FIRST)
    value = (value ^ _shift(value, 27)) * _signed(_SECOND)
    return value ^ _shift(value, 31)


@dataclass(frozen=True, slots=True)
class Draws:
    """Random tables for a batch: row i belongs to image i, and depends on nothing but the key and that image's index.

    Asking twice gives the same numbers twice: fork the stream for every purpose.
    """

    key: int
    index: Tensor  # int64 [N]

    def fork(self, *purpose: str | int) -> "Draws":
        return Draws(Rng(self.key).fork(*purpose).key, self.index)

    def rows(self, keep: Tensor) -> "Draws":
        """The draws of the images at positions `keep` (int64 [M]) of this batch."""
        return Draws(self.key, self.index[keep])

    def bits(self, columns: int) -> Tensor:
        """Int64 [N, columns], every bit random."""
        column = torch.arange(1, columns + 1, device=self.index.device, dtype=torch.int64) * _signed(_GOLDEN)
        row = _mix(self.index * _signed(_GOLDEN) + _signed(_mix_int(self.key)))
        return _mix(row[:, None] + column[None, :])

    def uniform(self, columns: int = 1, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 [N, columns] in [low, high)."""
        return low + (high - low) * (_shift(self.bits(columns), 40).float() * 2.0**-24)

    def normal(self, columns: int = 1) -> Tensor:
        """Float32 [N, columns], standard normal (Box-Muller on 24-bit uniforms, so |x| stays below 5.9)."""
        radius, angle = self.uniform(2 * columns).chunk(2, dim=1)
        return torch.sqrt(-2.0 * torch.log1p(-radius)) * torch.cos(2.0 * math.pi * angle)

    def bernoulli(self, probability: float) -> Tensor:
        """Bool [N], True with the given probability."""
        return self.uniform(1)[:, 0] < probability

    def permutation(self, size: int) -> Tensor:
        """Int64 [N, size]: an independent uniform permutation of range(size) per image."""
        return self.bits(size).argsort(dim=1)

    def integers(self, low: int, high: int, columns: int = 1) -> Tensor:
        """Int64 [N, columns], uniform in low .. high - 1 (bias below 2^-31 for ranges below 2^32)."""
        return low + _shift(self.bits(columns), 1) % (high - low)


@dataclass(frozen=True, slots=True)
class Rng:
    """A named stream of randomness, identified by its key alone."""

    key: int

    @staticmethod
    def from_seed(seed: int) -> "Rng":
        return Rng(_mix_int((seed + _GOLDEN) & _MASK))

    def fork(self, *purpose: str | int) -> "Rng":
        """The stream for a purpose: `rng.fork("views", step)`. Equal purposes give equal streams."""
        key = self.key
        for part in purpose:
            digest = hashlib.blake2b(f"{type(part).__name__}:{part}".encode(), digest_size=8).digest()
            key = _mix_int(((key * 3) & _MASK) ^ int.from_bytes(digest, "little"))
        return Rng(key)

    def per_image(self, index: Tensor) -> Draws:
        """Draws keyed by image: `index` is int64 [N], the images' positions in their set."""
        return Draws(self.key, index)

    def shared(self, device: torch.device | str = "cpu") -> Draws:
        """One row of draws, the same for a whole batch."""
        return Draws(self.key, torch.zeros(1, dtype=torch.int64, device=device))

    def permutation(self, size: int) -> Tensor:
        """Int64 [size] on the CPU: one uniform permutation of range(size)."""
        return Draws(self.key, torch.arange(size)).bits(1)[:, 0].argsort()

    def numpy(self) -> np.random.Generator:
        """A NumPy generator for code that wants one; its algorithm is stated, so its numbers stay."""
        return np.random.Generator(np.random.Philox(key=self.key))

    @contextmanager
    def seeding_torch(self) -> Iterator[None]:
        """Within it torch's global CPU generator follows this stream: for layers that initialise themselves."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.key)
            yield
