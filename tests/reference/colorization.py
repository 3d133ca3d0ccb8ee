"""Slow, obvious twins of colorization, written from the paper and from CIE's definitions: pixel by pixel."""

import math
from collections.abc import Sequence

import numpy as np

WHITE = (0.95047, 1.0, 1.08883)  # D65
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def lab(pixel: Sequence[float]) -> tuple[float, float, float]:
    """One sRGB pixel in [0, 1] to L, a, b."""
    light = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in pixel]
    roots = []
    for row, white in zip(TO_XYZ, WHITE, strict=True):
        share = sum(weight * amount for weight, amount in zip(row, light, strict=True)) / white
        roots.append(share ** (1 / 3) if share > 216 / 24389 else (24389 / 27 * share + 16) / 116)
    x, y, z = roots
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def soft_code(colour: Sequence[float], bins: np.ndarray) -> np.ndarray:
    """All bins' shares of a colour: a Gaussian of width 5 at the ten nearest, 0 elsewhere."""
    squared = [float(((np.asarray(colour) - centre) ** 2).sum()) for centre in bins]
    code = np.zeros(len(bins))
    for index in sorted(range(len(bins)), key=lambda i: squared[i])[:10]:
        code[index] = math.exp(-squared[index] / (2 * 5**2))
    return code / code.sum()


def colour_loss(scores: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> float:
    """Mean, over the pixels that weigh anything, of weight * -sum_q code_q log softmax_q; all [N, P, ...]."""
    terms = []
    for image_scores, image_codes, image_weights in zip(scores, codes, weights, strict=True):
        for row, code, weight in zip(image_scores, image_codes, image_weights, strict=True):
            if weight > 0:
                total = math.log(sum(math.exp(s) for s in row))
                terms.append(weight * sum(share * (total - s) for share, s in zip(code, row, strict=True)))
    return float(np.mean(terms))


def decode(scores: np.ndarray, bins: np.ndarray, temperature: float) -> np.ndarray:
    """The mean of the bins by softmax(log p / T), as the paper writes it."""
    p = [math.exp(s) for s in scores]
    log_p = [math.log(value / sum(p)) for value in p]
    powers = [math.exp(value / temperature) for value in log_p]
    return sum(power / sum(powers) * centre for power, centre in zip(powers, bins, strict=True))


def rebalancing(frequency: Sequence[float], uniform_share: float) -> list[float]:
    """Weights 1 / (mix of frequency and evenness over the bins seen), scaled to a mean of 1 over the set."""
    seen = sum(f > 0 for f in frequency)
    raw = [1 / ((1 - uniform_share) * f + uniform_share / seen) for f in frequency]
    scale = sum(f * w for f, w in zip(frequency, raw, strict=True))
    return [w / scale for w in raw]
