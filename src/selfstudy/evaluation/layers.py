"""layers: a linear probe on each intermediate layer of the frozen encoder, one at a time: where what one needs is found.

Source  the pretext literature's workflow: one intermediate layer, a classifier on it (Zhang et al. 2016, arXiv:1603.08511,
        section 3.2); Kolesnikov, Zhai, Beyer, CVPR 2019, arXiv:1901.09005: the best layer is often not the last.
        A map is averaged to `grid` x `grid` places; `features` stands for the encoder's own features, which the
        protocol linear judges.
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  the layer, with its C, by cross-validation inside the label budget; of equally good ones the later. Below 5 labels
        per class the features. The scores are the chosen layer's; every layer's stand in `details`, and none of those
        is chosen by its test score.
Rows    n labels, D width, K classes or A attributes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from selfstudy.encoder import Encoder
from selfstudy.evaluation._choice import choose, folds
from selfstudy.evaluation._features import BATCH, require_finite, standardise
from selfstudy.evaluation._logistic import Fitted, ProbeSettings, fit_probe
from selfstudy.evaluation._protocol import Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores

FEATURES = "features"  # the last layer: what the encoder gives


@dataclass(frozen=True, kw_only=True)
class Config(ProbeSettings):
    layers: tuple[str, ...] = ()  # by the backbone's names; (): every one it shows, and the features
    grid: Annotated[int, Field(ge=1)] = 1  # places a side that a map is averaged to


class Layers(Protocol[Config]):
    Config = Config
    needs = "encoder"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.encoder is not None
        started = time.perf_counter()
        names = self.config.layers or (*task.encoder.backbone.layer_names, FEATURES)
        rows = torch.cat([task.pool_rows, task.train_rows, task.test_rows]).unique()
        pool, known, asked = (
            torch.searchsorted(rows, part) for part in (task.pool_rows, task.train_rows, task.test_rows)
        )
        labels = task.train_labels.numpy()
        fold = folds(labels, task.train_groups, rng.fork("folds"))
        settings = ProbeSettings(**{f.name: getattr(self.config, f.name) for f in fields(ProbeSettings)})
        fitted: dict[str, Fitted] = {}
        answers: dict[str, Tensor] = {}
        for name, values in encode_layers(task.encoder, task, rows, names, self.config.grid).items():
            fitted[name] = fit_probe(settings, standardise(values, pool, known).numpy(), labels, fold, task.num_classes)
            answers[name] = fitted[name].probe.probabilities(standardise(values, pool, asked).numpy())
        best = _best(fitted)
        chosen = {"layer": best, **fitted[best].chosen}
        seconds = time.perf_counter() - started
        return task.scores(answers[best], chosen, seconds, {"layers": _every_layer(task, fitted, answers)})


def encode_layers(encoder: Encoder, task: Task, rows: Tensor, names: Sequence[str], grid: int) -> dict[str, Tensor]:
    """Float32 [len(rows), D] on the CPU for each layer, all from one pass. Raises RunError for NaN or infinity."""
    backbone = encoder.backbone.to(task.device).eval()
    inner = [name for name in names if name != FEATURES]
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad():
        for part in rows.split(BATCH):
            images = encoder.feed(task.images.images[part].to(task.device))
            found = backbone.layers(images, inner) if inner else {}
            if FEATURES in names:
                found[FEATURES] = encoder.pool(images)
            for name, values in found.items():
                parts[name].append(_flat(values, grid).float().cpu())
    whole = {name: torch.cat(values) for name, values in parts.items()}
    for values in whole.values():
        require_finite(values)
    return whole


def _flat(values: Tensor, grid: int) -> Tensor:
    """A map [N, channels, height, width] or units [N, D] to [N, D]."""
    if values.ndim == 2:
        return values
    return F.adaptive_avg_pool2d(values, (min(grid, values.shape[2]), min(grid, values.shape[3]))).flatten(1)


def _best(fitted: dict[str, Fitted]) -> str:
    """The layer of the best cross-validation, the last where there was none."""
    from_the_end = list(fitted)[::-1]
    scores = {name: fitted[name].score for name in from_the_end}
    if any(score is None for score in scores.values()):
        return from_the_end[0]
    return choose(from_the_end, lambda name: scores[name] or 0.0)


def _every_layer(task: Task, fitted: dict[str, Fitted], answers: dict[str, Tensor]) -> dict[str, object]:
    """Each layer's test scores, what was chosen for it, and its score by cross-validation."""
    found: dict[str, object] = {}
    for name, one in fitted.items():
        scores = task.scores(answers[name], one.chosen, 0.0)
        found[name] = {
            "metrics": dict(scores.metrics), "width": one.probe.weight.shape[1], "chosen": dict(one.chosen),
            "cross_validated": one.score,
        }  # fmt: skip
    return found
