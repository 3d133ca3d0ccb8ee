"""A slow, obvious twin of DINO's loss, written from the paper's algorithm 1 in NumPy: image by image, pair by pair."""

import math

import numpy as np


def _softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def dino(
    students: np.ndarray, teachers: np.ndarray, centre: np.ndarray, temperature: float, teacher_temperature: float
) -> float:
    """Scores [V, N, K] of all views and [2, N, K] of the teacher's two, which are the first two views."""
    losses = []
    for t, teacher_view in enumerate(teachers):
        for v, student_view in enumerate(students):
            if v == t:
                continue
            for teacher, student in zip(teacher_view, student_view, strict=True):
                goal = _softmax(
                    [(float(x) - float(c)) / teacher_temperature for x, c in zip(teacher, centre, strict=True)]
                )
                guess = _softmax([float(x) / temperature for x in student])
                losses.append(-sum(p * math.log(q) for p, q in zip(goal, guess, strict=True)))
    return sum(losses) / len(losses)
