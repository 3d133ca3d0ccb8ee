"""How alike two maps of one image are, each its absolute values over their largest, so that units do not matter.

rmse  root mean squared error: 0 the same, 1 the most.
ssim  structural similarity: Wang et al., IEEE TIP 2004, by scikit-image; 1 the same.
rank  Spearman's rank correlation of the pixels: 1 the same order, 0 none.
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

MEASURES = ("rmse", "ssim", "rank")
SSIM_WINDOW = 7  # scikit-image's default; a smaller odd one where a picture is smaller


def compare(first: Tensor, second: Tensor) -> Mapping[str, np.ndarray]:
    """RMSE, SSIM and rank correlation, float64 [n] each, of maps [n, H, W]."""
    pairs = list(zip(_scaled(first), _scaled(second), strict=True))
    return {
        "rmse": np.array([float(np.sqrt(np.mean((one - other) ** 2))) for one, other in pairs]),
        "ssim": np.array([_structural_similarity(one, other) for one, other in pairs]),
        "rank": np.array([rank_correlation(one, other) for one, other in pairs]),
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's. Of a map without differences nothing can be said: 1 if the other has none either, else 0."""
    from scipy.stats import spearmanr

    flat = [bool((values == values.flat[0]).all()) for values in (first, second)]
    if any(flat):
        return 1.0 if all(flat) else 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def _scaled(maps: Tensor) -> np.ndarray:
    """Float64 [n, H, W] in [0, 1]; a map of zeros stays one."""
    values = maps.double().abs().numpy()
    return values / np.maximum(values.max((1, 2), keepdims=True), np.finfo(np.float64).tiny)


def _structural_similarity(first: np.ndarray, second: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    smaller = min(first.shape)
    window = min(SSIM_WINDOW, smaller if smaller % 2 else smaller - 1)
    if window < 3:  # no structure in one or two pixels
        return 1.0 if np.array_equal(first, second) else 0.0
    return float(structural_similarity(first, second, data_range=1.0, win_size=window))
