"""Slow, obvious twins of MAE's parts, written from the paper and from how its code orders things: loops, no matrices."""

import math

import numpy as np


def positions(grid: int, width: int) -> np.ndarray:
    """[grid * grid, width]: column first, then row; of each a quarter sines, a quarter cosines."""
    quarter = width // 4
    codes = np.zeros((grid * grid, width))
    for row in range(grid):
        for column in range(grid):
            for i in range(quarter):
                frequency = 10000.0 ** (-i / quarter)
                code = codes[row * grid + column]
                code[i], code[quarter + i] = math.sin(column * frequency), math.cos(column * frequency)
                code[2 * quarter + i], code[3 * quarter + i] = math.sin(row * frequency), math.cos(row * frequency)
    return codes


def patchify(image: np.ndarray, patch: int) -> np.ndarray:
    """One image [C, S, S] to [L, patch * patch * C], channels last."""
    channels, size, _ = image.shape
    patches = []
    for top in range(0, size, patch):
        for left in range(0, size, patch):
            patches.append(
                [
                    image[c, top + row, left + column]
                    for row in range(patch)
                    for column in range(patch)
                    for c in range(channels)
                ]
            )
    return np.array(patches)


def unpatchify(patches: np.ndarray, patch: int, channels: int) -> np.ndarray:
    grid = math.isqrt(len(patches))
    image = np.zeros((channels, grid * patch, grid * patch))
    for number, values in enumerate(patches):
        top, left = number // grid * patch, number % grid * patch
        for place, value in enumerate(values):
            pixel, channel = divmod(place, channels)
            image[channel, top + pixel // patch, left + pixel % patch] = value
    return image


def loss(drawn: np.ndarray, patches: np.ndarray, is_hidden: np.ndarray, norm_pix: bool) -> float:
    """Paper §3: mean squared error on hidden patches. All [N, L, P] but `is_hidden` [N, L]."""
    total, count = 0.0, 0
    for prediction, target, flags in zip(drawn, patches, is_hidden, strict=True):
        for place, hidden in enumerate(flags):
            if not hidden:
                continue
            values = target[place].astype(float)
            if norm_pix:
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                values = np.array([(v - mean) / math.sqrt(variance + 1e-6) for v in values])
            total += sum((p - v) ** 2 for p, v in zip(prediction[place], values, strict=True)) / len(values)
            count += 1
    return total / count
