"""Whether a probability means what it says: of all answers given with 0.8, eight in ten should be right."""

import numpy as np

BINS = 15  # Guo et al., ICML 2017, arXiv:1706.04599, section 5


def calibration_error(right: np.ndarray, confidence: np.ndarray) -> float:
    """The expected calibration error of Guo et al. 2017: how far confidence lies from the share of right answers.

    `right` is bool [M], `confidence` float64 [M] in [0, 1]; the mean over 15 bins of equal width, each weighted by its
    answers. 0 is calibrated. Always sure and right 7 times of 10 gives 0.3.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)[1:-1]
    bins = np.searchsorted(edges, confidence)
    gaps = np.bincount(bins, weights=right.astype(np.float64) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
