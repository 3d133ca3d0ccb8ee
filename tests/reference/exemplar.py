"""Slow, obvious twins of the exemplar losses, written from the papers: triplet by triplet."""

import math

import numpy as np


def naming_loss(logits: np.ndarray, index: np.ndarray) -> float:
    """Mean of -log softmax at the image's own class."""
    return float(
        np.mean([math.log(sum(math.exp(s) for s in row)) - row[own] for row, own in zip(logits, index, strict=True)])
    )


def triplet_loss(z: np.ndarray, margin: float) -> float:
    """Schroff et al. 2015: for every anchor and other copy the nearest negative that is farther than that copy, if any."""
    n, v, _ = z.shape

    def squared(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).sum())

    terms = []
    for image in range(n):
        for anchor in range(v):
            others = [squared(z[image, anchor], z[j, k]) for j in range(n) for k in range(v) if j != image]
            for copy in range(v):
                if copy != anchor:
                    near = squared(z[image, anchor], z[image, copy])
                    farther = [distance for distance in others if distance > near]
                    negative = min(farther) if farther else max(others)
                    terms.append(max(0.0, near - negative + margin))
    return float(np.mean(terms))
