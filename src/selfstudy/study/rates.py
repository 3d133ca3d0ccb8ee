"""A budget in seconds as a number of images: how many a row is pretrained on in a second, measured once and kept.

Schedules end with training, and a cell is named by its settings, so seconds become images before anything is trained. The
rate of a row is measured by a few of its own steps and kept in rates.json of the study's folder, with the device and the
threads it was measured on. Every later call takes it from there, on any machine: so cells keep their names, and a killed
study goes on. Work that comes once an epoch (labels anew for all images, the held-out loss) is in the rate only as far as
the few steps had it; a row that in the end took another time than it was given is marked in the report.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from selfstudy import files
from selfstudy.errors import MissingWeights, RunError, UserError
from selfstudy.images import ImageSet
from selfstudy.progress import Progress, duration
from selfstudy.rng import Rng
from selfstudy.training import Data, RunSettings, fit
from selfstudy.training.pretrain import build_method, hold_out

FILE = "rates.json"
SECONDS_TO_MEASURE = 2.0  # of each row: a tenth of a second more or less is then 5 %
FEWEST_STEPS, MOST_STEPS = 4, 200


class Rates:
    """The rates of the rows of a study: those in its folder, and those that are measured when they are asked for."""

    def __init__(self, folder: Path, images: ImageSet, device: torch.device, progress: Progress) -> None:
        """`images` are those that methods are pretrained on. Raises UserError if rates.json is damaged."""
        self._path, self._images, self._device, self._progress = folder / FILE, images, device, progress
        self._found: dict[str, dict[str, object]] = {}
        self._failing: set[str] = set()
        if self._path.is_file():
            try:
                self._found = json.loads(self._path.read_text(encoding="utf-8"))["rates"]
                [float(str(rate["images_per_second"])) for rate in self._found.values()]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{self._path} is damaged; delete it to have the rates measured anew, which names all pretraining anew too"
                ) from None

    def __call__(self, key: str, row: str, settings: RunSettings) -> float:
        """Images per second of a row; `key` is of all that decides it. 0 for a row that fails at its first steps."""
        if key in self._failing:
            return 0.0
        if key not in self._found:
            rate = self._measure(settings)
            if not rate:
                self._failing.add(key)
                return 0.0
            self._progress.say(f"{row} sees {rate:,.0f} images a second in pretraining, by a few steps of it")
            self._found[key] = {
                "row": row, "images_per_second": round(rate, 3), "device": str(self._device),
                "threads": torch.get_num_threads(),
            }  # fmt: skip
        return float(str(self._found[key]["images_per_second"]))

    def write(self) -> None:
        """Keep what was measured; no file where nothing was."""
        if self._found:
            files.write_json(self._path, {"rates": self._found})

    def _measure(self, settings: RunSettings) -> float:
        """From a long training less a short one, so that what comes once is not counted; nothing is written."""
        try:
            self._seconds(settings, 1)  # the first call of all prepares the device
            once = self._seconds(settings, 1)
            steps = min(MOST_STEPS, max(FEWEST_STEPS, round(SECONDS_TO_MEASURE / max(once, 1e-6))))
            longer = self._seconds(settings, 1 + steps)
        except (RunError, MissingWeights, torch.OutOfMemoryError):
            return 0.0  # its cell will fail too, and say why
        return settings.batch_size * steps / max(longer - once, longer / 2)  # a pause in the short one is no speed

    def _seconds(self, settings: RunSettings, steps: int) -> float:
        rng = Rng.from_seed(settings.seed)
        trained, held_out = hold_out(replace(self._images, labels=None), settings, rng)
        data = Data(trained, settings.chains(), rng, held_out)
        training = replace(settings.training, steps=steps, warmup=0.0, on_collapse="continue")
        method = build_method(settings, trained, rng)
        return fit(method, data, training, device=self._device, progress=Progress(quiet=True)).seconds


def images_in(seconds: float, rate: float, settings: RunSettings, place: str) -> int:
    """Whole batches that fit into `seconds`; one where the rate is not known, 0. Raises UserError if not one fits."""
    if not rate:
        return settings.batch_size
    batches = int(seconds * rate / settings.batch_size)
    if not batches:
        raise UserError(
            f"budget: seconds is {seconds:g}, but {place} takes {settings.batch_size / rate:.2g} s for one batch of "
            f"{settings.batch_size}: give more seconds, or the row a smaller batch_size"
        )
    return batches * settings.batch_size


def describe_budget(seconds: float, runs: Sequence[tuple[str, RunSettings]]) -> str:
    """What a budget of seconds comes to for each row, in a line."""
    found = {row: run.images_seen for row, run in runs}
    each = ", ".join(f"{count:,} of {row}" for row, count in found.items())
    return f"{duration(seconds)} of pretraining, in images seen: {each}"
