"""Trials of learning rate and weight decay: the same rule for pretraining and for training on labels.

Source  Bergstra, Bengio, JMLR 2012: at equal cost random trials find better settings than a grid.
Fair    a trial follows from its number and from the rate that it varies: it is the same whatever the row, its seed and its
        labels, and more trials begin with the fewer. Trial 0 varies nothing: it is the recipe with what the user has set.
Range   a rate that the user has set is the centre that the others lie around; a weight decay is drawn anew, whatever was set
        (the one at the start: its factor at the end stays the recipe's).
"""

from dataclasses import replace

import numpy as np

from selfstudy.rng import Rng
from selfstudy.training.settings import RunSettings

LR_FACTOR = 10.0  # a decade to either side of the rate, on a logarithmic scale
WEIGHT_DECAYS = (1e-4, 1e-1)  # the recipes of methods/ lie between; logarithmic too


def varied(number: int, lr: float) -> tuple[float, float, float]:
    """Learning rate and weight decay of trial `number`, 1 or above, and a draw in [0, 1) for what else is tried."""
    rate, decay, other = Rng.from_seed(0).fork("search", number).numpy().uniform(size=3).tolist()
    low, high = np.log10(WEIGHT_DECAYS).tolist()
    return _rounded(lr * LR_FACTOR ** (2 * rate - 1)), _rounded(10 ** (low + (high - low) * decay)), other


def pretraining_trials(run: RunSettings, count: int) -> list[RunSettings]:
    """The run as it is, then `count` - 1 others that differ in learning rate and weight decay alone."""
    found = [run]
    for number in range(1, count):
        lr, weight_decay, _ = varied(number, run.lr)
        origin = f"trial {number + 1} of the study's search"
        origins = {**run.origins, "lr": origin, "weight_decay": origin}
        found.append(replace(run, lr=lr, weight_decay=weight_decay, origins=origins))
    return found


def _rounded(value: float) -> float:
    """To three digits, as a person would write it into a recipe."""
    return float(f"{value:.3g}")
