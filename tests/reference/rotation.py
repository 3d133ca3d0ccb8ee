"""Slow, obvious twins of the rotation task, written from the paper: pixel by pixel, copy by copy."""

import math

import numpy as np


def quarter_turn(image: np.ndarray) -> np.ndarray:
    """[C, S, S] turned by 90 degrees counter-clockwise: the right edge becomes the upper one."""
    size = image.shape[1]
    turned = np.empty_like(image)
    for row in range(size):
        for column in range(size):
            turned[:, row, column] = image[:, column, size - 1 - row]
    return turned


def middle_turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """The inner square of side S / sqrt(2) of [C, S, S], turned counter-clockwise, read bilinearly at S x S places."""
    size = image.shape[1]
    turned, middle, angle = np.zeros_like(image), (size - 1) / 2, math.radians(degrees)
    for row in range(size):
        for column in range(size):
            right, up = (column - middle) / math.sqrt(2), (middle - row) / math.sqrt(2)
            # The content moves counter-clockwise, so it is read from a place that lies clockwise of here.
            x = middle + math.cos(angle) * right + math.sin(angle) * up
            y = middle - (-math.sin(angle) * right + math.cos(angle) * up)
            left, top = math.floor(x), math.floor(y)
            for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                weight = (1 - abs(y - i)) * (1 - abs(x - j))
                if weight > 1e-9:
                    turned[:, row, column] += weight * image[:, i, j]
    return turned


def naming_loss(logits: np.ndarray) -> float:
    """Mean over the copies of -log softmax at the copy's own class; logits are [N, R, R]."""
    terms = []
    for image in logits:
        for own, scores in enumerate(image):
            terms.append(math.log(sum(math.exp(score) for score in scores)) - scores[own])
    return float(np.mean(terms))
