"""Judge one encoder outside a study: labelled images and budgets of labels to a table of scores."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field

from selfstudy import catalog, config
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import ByKind, Interval, Metric, Protocol, Task, decide, features, interval
from selfstudy.images import ImageSet, draw_labels, split
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.types import Scores

FEATURE_BATCH = 256  # images in one pass of the encoder; more gains nothing on a CPU and costs memory on a GPU


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How an encoder is judged. The names are the ones users type as key=value."""

    protocols: tuple[str, ...] = ("linear", "knn")
    labels: tuple[int | float | str, ...] = ("all",)  # 10: per class; 0.1: a fraction; total:200; all
    draws: Annotated[int, Field(ge=1)] = 5  # how often fewer labels than all are drawn anew, as in a study
    test: Annotated[float, Field(gt=0)] = 0.2  # below one the share of the images, else their number
    metric: Metric | ByKind = "by_kind"  # decides the protocols' choices; every metric is reported
    seed: int = 0  # of the split and the draws
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of protocols, by protocol


def resolve(options: Mapping[str, Any], place: str) -> JudgeSettings:
    """Checked settings from `{"labels": 10, "finetune.lr": 1e-3}`; one value stands for a list of one.

    Raises UserError with the nearest valid name.
    """
    values: dict[str, object] = {}
    own: dict[str, dict[str, object]] = {name: dict(part) for name, part in options.get("settings", {}).items()}
    for key, value in options.items():
        protocol, dot, name = key.partition(".")
        if dot:
            own.setdefault(protocol, {})[name] = value
        else:
            values[key] = [value] if key in ("protocols", "labels") and not isinstance(value, list | tuple) else value
    settings = config.validate(JudgeSettings, {**values, "settings": own}, place)
    for name in settings.settings:
        if name not in settings.protocols:
            raise UserError(f'{place}: settings are given for "{name}".{nearest(name, settings.protocols)}')
    return settings


def judge(
    encoder: Encoder, images: ImageSet, settings: JudgeSettings, *, device: torch.device, progress: Progress
) -> pd.DataFrame:
    """One row per protocol, budget and draw, with every metric (in [0, 1]) on test images that no choice has seen.

    Columns: protocol, labels, num_labels, draw, the metrics of classes or of attributes, low and high (95 % of the metric
    that decides, over resampled test groups), chosen, details, seconds.
    """
    metric = decide(settings.metric, multi_label=images.multi_label)
    protocols = {name: _protocol(name, settings, metric) for name in settings.protocols}
    _compare_sizes(encoder, images, progress)
    rng = Rng.from_seed(settings.seed)  # used as a study uses it, so equal seeds give equal splits and draws
    parts = split(images, test=settings.test if settings.test < 1 else int(settings.test), rng=rng)
    needs_features = any(protocol.needs == "features" for protocol in protocols.values())
    encoded = features(encoder, images, device, FEATURE_BATCH) if needs_features else None
    plan = [(budget, draw) for budget in settings.labels for draw in range(1 if budget == "all" else settings.draws)]
    rows: list[dict[str, object]] = []
    progress.start("evaluate", len(plan) * len(protocols), "fits")
    for budget, draw in plan:
        known = draw_labels(images, parts, budget, draw, rng)
        if known.short and draw == 0:
            progress.say(f"{budget} labels per class: {', '.join(known.short)} gave all they have, which is fewer")
        for name, protocol in protocols.items():
            task = Task(
                images=images,
                train_rows=torch.from_numpy(known.rows),
                test_rows=torch.from_numpy(parts.test_rows),
                pool_rows=torch.from_numpy(parts.train_rows),
                encoder=encoder if protocol.needs == "encoder" else None,
                features=encoded if protocol.needs == "features" else None,
                device=device,
                progress=progress,
            )
            scores = protocol.run(task, rng.fork("protocol"))
            _say_what_is_missing(task, scores, budget, progress, aloud=draw == 0 and name == settings.protocols[0])
            rows.append(_row(name, budget, len(known.rows), draw, scores, _interval(metric, task, scores)))
            progress.update(len(rows))
    progress.finish("")
    return pd.DataFrame(rows)


SHOWN = (
    ("accuracy", "macro_f1", "balanced_accuracy"),
    ("macro_accuracy", "balanced_accuracy", "macro_auc", "mean_average_precision"),
)  # of classes, of attributes


def shown_metrics(scores: pd.DataFrame) -> tuple[str, ...]:
    """The columns of `judge` that a person sees first: those of classes or those of attributes."""
    return next(metrics for metrics in SHOWN if metrics[0] in scores.columns)


def _compare_sizes(encoder: Encoder, images: ImageSet, progress: Progress) -> None:
    """Says so where the images are smaller than what the encoder was made for, and so will be enlarged."""
    feed = encoder.feed
    feed(images.images[:1])  # a wrong number of channels is refused before anything is computed
    if images.images.shape[-1] < feed.size:
        progress.say(
            f"{images.name} is loaded at {images.image_size} pixels a side, but the encoder was made for {feed.size}: the "
            f"images are enlarged; load them at {feed.size}"
        )


def _say_what_is_missing(
    task: Task, scores: Scores, budget: int | float | str, progress: Progress, *, aloud: bool
) -> None:
    if not aloud:
        return
    what, why = ("attributes", "have one value only") if task.multi_label else ("classes", "have none")
    if task.constant:
        progress.say(
            f"{budget} labels: {len(task.constant)} {what} {why} among the {len(task.train_rows)} labels, so that they "
            f"cannot be learned: {', '.join(task.constant)}"
        )
    if missing := scores.details.get("undefined_attributes"):
        progress.say(
            f"{missing} attributes have one value only in the test part and are left out of the means that need both"
        )


def _interval(metric: Metric, task: Task, scores: Scores) -> Interval:
    assert scores.probabilities is not None
    groups = task.images.groups[task.test_rows[task.pages.first].numpy()]
    rng = Rng.from_seed(0).fork("bootstrap")  # the same resamples for every row, so that rows can be compared
    return interval(metric, task.truth.numpy(), scores.probabilities.numpy(), groups, rng)


def _protocol(name: str, settings: JudgeSettings, metric: Metric) -> Protocol:
    kind = catalog.find("evaluation", name, Protocol)
    chooses = any(setting.name == "metric" for setting in fields(kind.Config))
    values = {"metric": metric} if chooses else {}
    return kind(config.validate(kind.Config, {**values, **settings.settings.get(name, {})}, name))


def _row(
    protocol: str, budget: int | float | str, num_labels: int, draw: int, scores: Scores, spread: Interval
) -> dict[str, object]:
    place = {"protocol": protocol, "labels": str(budget), "num_labels": num_labels, "draw": draw}
    return {
        **place, **scores.metrics, "low": spread.low, "high": spread.high, "chosen": json.dumps(dict(scores.chosen)),
        "details": json.dumps(dict(scores.details)), "seconds": scores.seconds,
    }  # fmt: skip
