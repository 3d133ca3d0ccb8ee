"""Slow, obvious twins of the small backbones, one image and one output pixel at a time; weights as torch stores them."""

import numpy as np

Weights = dict[str, np.ndarray]


def conv2(image: np.ndarray, weights: Weights, mean: float, std: float) -> np.ndarray:
    """Tschannen et al. 2020, §3: [C, H, W] to [100]."""
    grid = (image.astype(float) - mean) / std
    for name in ("convolutions.0", "convolutions.2"):
        grid = np.maximum(convolution(grid, weights[f"{name}.weight"], weights[f"{name}.bias"]), 0)
    grid = (grid - grid.mean()) / np.sqrt(grid.var() + 1e-5)
    scaled = np.stack(
        [g * scale + shift for g, scale, shift in zip(grid, weights["norm.weight"], weights["norm.bias"], strict=True)]
    )
    return weights["last.weight"] @ scaled.mean(axis=(1, 2)) + weights["last.bias"]


def convolution(grid: np.ndarray, kernels: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """5 x 5, stride 2, two rows and columns of zeros around."""
    padded = np.pad(grid, ((0, 0), (2, 2), (2, 2)))
    height, width = (-(-side // 2) for side in grid.shape[1:])
    drawn = np.zeros((len(kernels), height, width))
    for y in range(height):
        for x in range(width):
            patch = padded[:, 2 * y : 2 * y + 5, 2 * x : 2 * x + 5]
            drawn[:, y, x] = (kernels * patch).sum(axis=(1, 2, 3)) + bias
    return drawn


def mlp(image: np.ndarray, weights: Weights, mean: float, std: float) -> np.ndarray:
    """Tschannen et al. 2020, §3: [C, H, W] to [100]."""
    values = ((image.astype(float) - mean) / std).reshape(-1)
    for name in ("perceptron.0", "perceptron.2"):
        values = np.maximum(weights[f"{name}.weight"] @ values + weights[f"{name}.bias"], 0)
    return weights["perceptron.4.weight"] @ values + weights["perceptron.4.bias"]
