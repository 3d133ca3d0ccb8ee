"""Slow, obvious twins of the context task, written from the paper: a compass and loops."""

import math

import numpy as np

# (down, right) of the second patch from the first, row by row as in the paper's figure 2.
COMPASS = {(-1, -1): 0, (-1, 0): 1, (-1, 1): 2, (0, -1): 3, (0, 1): 4, (1, -1): 5, (1, 0): 6, (1, 1): 7}


def pairs() -> dict[tuple[int, int], int]:
    """Every ordered pair of adjacent patches of a 3 x 3 grid, with the second's direction from the first."""
    found = {}
    for row in range(3):
        for column in range(3):
            for (down, right), direction in COMPASS.items():
                if 0 <= row + down < 3 and 0 <= column + right < 3:
                    found[3 * row + column, 3 * (row + down) + column + right] = direction
    return found


def naming_loss(logits: np.ndarray, directions: np.ndarray) -> float:
    """The mean over directions of the mean over all pairs of that direction of -log softmax; logits [N, P, 8]."""
    means = []
    for direction in range(8):
        terms = []
        for image in logits:
            for scores, own in zip(image, directions, strict=True):
                if own == direction:
                    terms.append(math.log(sum(math.exp(s) for s in scores)) - scores[direction])
        means.append(np.mean(terms))
    return float(np.mean(means))
