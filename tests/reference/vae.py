"""Slow, obvious twins of the VAE's two terms: number by number, from Kingma and Welling 2014."""

import math

import numpy as np


def reconstruction(drawn: np.ndarray, images: np.ndarray) -> float:
    """Minus the log-likelihood of Bernoulli pixels (App. C.1), summed over an image, averaged over images."""
    total = 0.0
    for p, x in zip(drawn.flatten().tolist(), images.flatten().tolist(), strict=True):
        total -= x * math.log(p) + (1 - x) * math.log(1 - p)
    return total / len(images)


def divergence(mean: np.ndarray, log_variance: np.ndarray) -> float:
    """The integral of q log(q / p) over each dimension of the code, by the trapezium rule; no closed form is used."""
    total = 0.0
    for centre, logarithm in zip(mean.flatten().tolist(), log_variance.flatten().tolist(), strict=True):
        deviation = math.exp(logarithm / 2)
        z = np.linspace(centre - 12 * deviation, centre + 12 * deviation, 20001)
        log_q = -0.5 * ((z - centre) / deviation) ** 2 - math.log(deviation * math.sqrt(2 * math.pi))
        log_p = -0.5 * z**2 - math.log(math.sqrt(2 * math.pi))
        total += float(np.trapezoid(np.exp(log_q) * (log_q - log_p), z))
    return total / len(mean)


def active_units(mean: np.ndarray) -> int:
    """Burda et al. 2016, §5.1: dimensions whose mean varies over images by more than 0.01."""
    return sum(float(np.var(mean[:, unit], ddof=1)) > 0.01 for unit in range(mean.shape[1]))
