"""Near-duplicates: pictures that are one picture, saved again, shrunk or brightened. Cuts of a few per cent are mostly not found.

Source  Perceptual hash: the signs of the lowest frequencies of the picture's cosine transform (Zauner 2010, as in the
        packages imagehash and imagededup). Pairs of nearly equal hashes are then compared by what they show: the
        correlation of their thumbnails.
Limit   Where whole classes look alike to it (digits, symbols), it cannot tell copies from kin; then it says so and finds none.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfstudy.types import Pixels

_HASHED_SIDE, _FREQUENCIES = 32, 8
_BANDS = 6  # a pair that differs in fewer bits than this agrees in one of so many bands, and is found
_MOST_BITS = _BANDS - 1  # of 64; imagededup's default of 10 is for hashes alone, without the second look
_THUMBNAIL_SIDE = 32
_LEAST_CORRELATION = (
    0.98  # JPEG at quality 30, halving, and 10 % of brightness stay above it; other pictures of one thing do not
)
_LARGEST_SHARE, _LARGEST_CLUSTER = 0.02, 50  # a cluster above both is of kin, not of copies
_MOST_PAIRS = 20_000_000  # looked at in one bucket at most, so that a set of blank pictures ends


def look_of(pixels: np.ndarray) -> int:
    """A signed 64-bit number of a picture uint8 [C, S, S]: pictures that look alike differ in few bits."""
    grey = torch.from_numpy(pixels).float().mean(0)[None, None]
    small = F.interpolate(grey, size=(_HASHED_SIDE, _HASHED_SIDE), mode="bilinear", antialias=True, align_corners=False)
    low = dctn(small[0, 0].numpy(), norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].flatten()
    signs = low > np.median(low[1:])  # the first is the mean, which brightness moves
    return int(np.packbits(signs).view(">i8")[0])


def clusters(looks: np.ndarray, pixels: Pixels) -> np.ndarray:
    """Int64 [N]: the number of each picture's cluster of near-duplicates. `looks` is int64 [N]."""
    pairs = _alike(looks, lambda rows: _thumbnails(pixels, rows))
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(looks), len(looks)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def have_twins(looks: np.ndarray, pixels: Pixels, others_looks: np.ndarray, others_pixels: Pixels) -> np.ndarray:
    """Bool [N]: which pictures have a near-duplicate among the M others."""
    number = len(looks)

    def thumbnails(rows: np.ndarray) -> torch.Tensor:
        return torch.cat(
            [_thumbnails(pixels, rows[rows < number]), _thumbnails(others_pixels, rows[rows >= number] - number)]
        )

    pairs = _alike(np.concatenate([looks, others_looks]), thumbnails, apart_at=number)
    found = np.zeros(number, dtype=bool)
    found[pairs[:, 0]] = True
    return found


def are_kin(cluster: np.ndarray) -> bool:
    """Whether clusters are too large to be copies."""
    largest = int(np.bincount(cluster).max())
    return largest > _LARGEST_CLUSTER and largest > _LARGEST_SHARE * len(cluster)


def _alike(looks: np.ndarray, thumbnails: Callable[[np.ndarray], torch.Tensor], apart_at: int = 0) -> np.ndarray:
    """Int64 [P, 2], the smaller first: pairs that differ in few bits and have nearly equal thumbnails.

    Only pairs of a picture before and one after position `apart_at`, if that is not 0.
    """
    bits = looks.astype(np.int64).view(np.uint64)
    pairs = np.unique(np.concatenate([_pairs_of_band(bits, band) for band in range(_BANDS)]), axis=0)
    if apart_at:
        pairs = pairs[(pairs[:, 0] < apart_at) & (pairs[:, 1] >= apart_at)]
    if not len(pairs):
        return pairs
    rows = np.unique(pairs)
    values = thumbnails(rows)
    left, right = (torch.from_numpy(np.searchsorted(rows, side)).split(4096) for side in pairs.T)
    alike = [(values[a] * values[b]).sum(1) >= _LEAST_CORRELATION for a, b in zip(left, right, strict=True)]
    return pairs[torch.cat(alike).numpy()]


def _pairs_of_band(bits: np.ndarray, band: int) -> np.ndarray:
    """Pairs that agree in the band's bits and differ in few of all 64."""
    width = -(-64 // _BANDS)
    key = (bits >> np.uint64(band * width)) & np.uint64((1 << min(width, 64 - band * width)) - 1)
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, key[order][1:] != key[order][:-1]])
    found: list[np.ndarray] = [np.empty((0, 2), dtype=np.int64)]
    for bucket in np.split(order, starts[1:]):
        bucket = np.sort(bucket)
        for offset in range(1, min(len(bucket), max(2, _MOST_PAIRS // len(bucket)))):
            a, b = bucket[:-offset], bucket[offset:]
            near = np.bitwise_count(bits[a] ^ bits[b]) <= _MOST_BITS
            if near.any():
                found.append(np.stack([a[near], b[near]], axis=1))
    return np.concatenate(found)


def _thumbnails(pixels: Pixels, rows: np.ndarray) -> torch.Tensor:
    """Float32 [n, S * S], grey, of mean 0 and length 1, so that products are correlations."""
    size = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    small = [
        F.interpolate(pixels[part].float().mean(1, keepdim=True), size=size, mode="bilinear", antialias=True).flatten(1)
        for part in torch.from_numpy(rows).split(1024)
    ]
    every = torch.cat(small) if len(rows) else torch.empty(0, _THUMBNAIL_SIDE**2)
    return F.normalize(every - every.mean(1, keepdim=True), dim=1)
