"""Levels: which values become black and white where pictures have more than 8 bits, for the whole set at once.

Source  Microscopes and scanners write 12 of 16 bits, or numbers of photons; percentiles over a set are how its values are
        brought to one scale (StarDist and Cellpose take them picture by picture, which makes bright and dim cells alike:
        not here). The tails are thinner over a set than over one picture, hence 0.1 and 99.9.
Test    Pictures that the source keeps for testing are not looked at. Where the split is drawn later, those that will be
        tested may be among the sample; no label is.
"""

from collections.abc import Sequence

import numpy as np

from selfstudy.images._decode import deep_values, quietly
from selfstudy.images._file import File

_SAMPLE_PICTURES = 256  # spread evenly over the set
_SAMPLE_PIXELS = 65_536  # of each, on a regular grid
_PERCENTILES = (0.1, 99.9)


def measure(files: Sequence[File], parts: Sequence[str], channels: int) -> tuple[tuple[float, float], ...]:
    """The levels of each channel of a set's pictures; () where the sample has no picture of more than 8 bits."""
    known = [file for file, part in zip(files, parts, strict=True) if part != "test"] if parts else list(files)
    chosen = [
        known[position] for position in np.linspace(0, len(known) - 1, min(len(known), _SAMPLE_PICTURES)).astype(int)
    ]
    samples: list[np.ndarray] = []
    for file in chosen:
        with quietly():
            values = deep_values(file, channels)
        if values is None:
            continue
        stride = max(1, int(np.sqrt(values.shape[0] * values.shape[1] / _SAMPLE_PIXELS)))
        pixels = values[::stride, ::stride].reshape(-1, values.shape[2]).astype(np.float64)
        if not samples or pixels.shape[1] == samples[0].shape[1]:
            samples.append(pixels[np.isfinite(pixels).all(axis=1)])
    if not samples:
        return ()
    every = np.concatenate(samples)
    low, high = np.percentile(every, _PERCENTILES, axis=0) if len(every) else np.zeros((2, 1))
    return tuple(
        (_rounded(float(black), np.floor), _rounded(float(max(white, black + 1e-6)), np.ceil))
        for black, white in zip(low, high, strict=True)
    )


def _rounded(value: float, direction: np.ufunc) -> float:
    """To two digits: so that a few more pictures seldom move the levels, and with them everything that was stored."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(np.round(direction(value / unit) * unit, 9))
