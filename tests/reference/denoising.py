"""Slow, obvious twin of the denoising autoencoder's corruption and loss: pixel by pixel."""

import numpy as np


def squared_error(drawn: np.ndarray, clean: np.ndarray) -> float:
    """Vincent et al. 2010, squared error, averaged over pixels and images. Both [N, C, S, S]."""
    total, count = 0.0, 0
    for a, b in zip(drawn.flatten().tolist(), clean.flatten().tolist(), strict=True):
        total, count = total + (a - b) ** 2, count + 1
    return total / count


def mask(images: np.ndarray, uniform: np.ndarray, share: float) -> np.ndarray:
    """Vincent et al. 2008: chosen pixels are set to 0. images [N, C, H, W], uniform [N, H * W] in [0, 1)."""
    masked = images.copy()
    number, _, height, width = images.shape
    for n in range(number):
        for row in range(height):
            for column in range(width):
                if uniform[n, row * width + column] < share:
                    masked[n, :, row, column] = 0.0
    return masked
