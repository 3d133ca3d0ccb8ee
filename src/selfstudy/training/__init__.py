"""Training: one loop, exact resume, and the watch over collapse and numbers that are not finite."""

from selfstudy.training.fit import Data, Fit, costs, fit
from selfstudy.training.pretrain import Run, default_device, load_run, measure_seconds_per_step, pretrain, untrained
from selfstudy.training.settings import RunSettings, Training, resolve

__all__ = [
    "Data", "Fit", "Run", "RunSettings", "Training", "costs", "default_device", "fit", "load_run", "measure_seconds_per_step",
    "pretrain", "resolve", "untrained",
]  # fmt: skip
