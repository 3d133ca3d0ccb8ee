"""From settings and images to a run folder: the encoder, how it was made, and what making it cost."""

import json
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from selfstudy import catalog, config, files
from selfstudy.encoder import Backbone, BackboneSpec, Encoder, Feed, Region, build_backbone
from selfstudy.errors import RunError
from selfstudy.images import ImageSet, channel_statistics, feed_for
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training.fit import Data, Fit, costs, fit
from selfstudy.training.settings import RunSettings
from selfstudy.types import DataCard, Step
from selfstudy.views import draw_sheet
from selfstudy.weights import start_from

SHOWN = "shown.safetensors"  # in a run's folder: the pictures of `Method.show`
ENOUGH_SECONDS = 5.0  # of timing steps: a study has some rows to time, and its user waits
SHEET_IMAGES = 12  # pictures on the sheet of views: a phone's width shows them


@dataclass(frozen=True)
class Run:
    """A finished pretraining run."""

    folder: Path
    encoder: Encoder
    card: Mapping[str, Any]  # run.json


def default_device() -> torch.device:
    """The fastest device there is; every run records which it was."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def build_method(settings: RunSettings, images: ImageSet, rng: Rng) -> Method:
    """The method named in the settings, newly initialised from `rng`. `images` decide counts and normalisation only."""
    kind = catalog.find("methods", settings.method, Method)
    mean, std = channel_statistics(images, np.arange(len(images)))

    def make_backbone(
        *, channels: int | None = None, image_size: int | None = None, region: Region = "whole"
    ) -> Backbone:
        spec = replace(settings.backbone_spec(mean, std), region=region)
        if channels is not None and channels != spec.channels:
            grey = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
            spec = replace(spec, channels=channels, mean=grey[0], std=grey[1])
        made = build_backbone(spec if image_size is None else replace(spec, image_size=image_size))
        return start_from(made, settings.init) if settings.init else made

    card = DataCard(num_images=len(images), channels=settings.channels, image_size=settings.image_size)
    with rng.fork("initial weights").seeding_torch():
        return kind(make_backbone, card, config.validate(kind.Config, settings.config, "settings: method"))


def pretrain(
    settings: RunSettings,
    images: ImageSet,
    folder: Path,
    *,
    progress: Progress,
    device: torch.device | None = None,
    checkpoint_seconds: float = 30.0,
    keep_at: Sequence[float] = (),
) -> Run:
    """Pretrain on all of `images` but a held-out share; write the run folder; go on where a killed run stopped.

    `keep_at`: shares of the steps at which the encoder is kept as it is then; they change nothing of the run.
    Raises RunError when training fails. A run that collapsed is kept, and says so in run.json's status.
    """
    device = device or default_device()
    rng = Rng.from_seed(settings.seed)
    trained, held_out = hold_out(replace(images, labels=None), settings, rng)  # a method cannot peek
    method = build_method(settings, trained, rng)
    data = Data(trained, settings.chains(), rng, held_out)
    folder.mkdir(parents=True, exist_ok=True)
    card = describe(settings, images, device)
    originals, views = sample_views(method, data)
    draw_sheet(originals, views, folder / "views.png")
    try:
        outcome = fit(
            method, data, settings.training, device=device, progress=progress, folder=folder,
            checkpoint_seconds=checkpoint_seconds, keep_at=keep_at,
        )  # fmt: skip
    except RunError as error:
        files.write_json(folder / "run.json", {**card, "status": "failed", "error": str(error)})
        raise
    card = describe(settings, images, device)  # again: of streamed pictures the damage is found when they are read
    backbone, feed = method.encoder()
    feed = feed_for(feed, images)
    backbone.to(memory_format=torch.contiguous_format)  # as it comes from the disk, so that both give the same bits
    encoder = Encoder(backbone, feed, {name: card[name] for name in ("method", "settings", "data", "seed", "versions")})
    encoder.save(folder)
    write_shown(method, data, outcome.steps, device, folder)
    card |= describe_outcome(outcome, method, folder)
    files.write_json(folder / "run.json", card)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return Run(folder, encoder, card)


def load_run(folder: Path) -> Run:
    """A finished run from its folder; UserError if it is none."""
    encoder = Encoder.load(folder)
    return Run(folder, encoder, json.loads((folder / "run.json").read_text(encoding="utf-8")))


def untrained(backbone: str, stem: str, images: ImageSet, seed: int) -> Encoder:
    """The encoder as it is before any training: the row every other one has to beat."""
    mean, std = channel_statistics(images, np.arange(len(images)))
    spec = BackboneSpec(
        name=backbone,
        channels=images.channels,
        image_size=images.image_size,
        mean=mean,
        std=std,
        stem=stem,  # type: ignore[arg-type]
    )
    with Rng.from_seed(seed).fork("initial weights").seeding_torch():
        return Encoder(
            build_backbone(spec),
            feed_for(Feed(size=images.image_size, channels=images.channels), images),
            {"method": "random", "seed": seed},
        )


def hold_out(images: ImageSet, settings: RunSettings, rng: Rng) -> tuple[ImageSet, ImageSet | None]:
    """A seeded share for the validation loss; none where that means nothing, or would be of fewer than two images."""
    kind = catalog.find("methods", settings.method, Method)
    card = DataCard(num_images=len(images), channels=images.channels, image_size=images.image_size)
    own: Any = config.validate(kind.Config, settings.config, "settings: method")
    count = int(len(images) * settings.held_out) if kind.requires(own, card).held_out_loss else 0
    if count < 2 or len(images) - count < settings.batch_size:
        return images, None
    order = images.order(rng.fork("held out")).numpy()  # of streamed images the first fill a few shards
    return images.select(np.sort(order[count:])), images.select(np.sort(order[:count]))


def sample_views(method: Method, data: Data) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A few stored images, uint8 [n, C, S', S'], and what the method sees of them at its first step, by name."""
    batch = data.images.at(torch.arange(min(SHEET_IMAGES, len(data.images))))
    views = method.views(batch, data.rng.fork("views", 0), data.chains)
    pictures = {}
    for name, view in views.tensors.items():
        if view.is_floating_point() and view.ndim == 4:
            pictures[name] = view
        elif view.is_floating_point() and view.ndim == 5:  # several pictures of each image: tiles, rotations, crops
            pictures |= {f"{name} {number + 1}": view[:, number] for number in range(view.shape[1])}
    return batch.images, pictures


@torch.no_grad()
def write_shown(method: Method, data: Data, steps: int, device: torch.device, folder: Path) -> None:
    """What the trained method has to show of a few images it was trained on, if anything: uint8 [n, C, H, W] by name."""
    if type(method).show is Method.show:
        return
    method.to(device).eval()
    rng = data.rng.fork("shown")
    batch = data.images.at(torch.arange(min(SHEET_IMAGES, len(data.images)))).to(device)
    views = method.views(batch, rng.fork("views"), data.chains)
    shown = method.show(views, Step(number=steps, epoch=0, starts_epoch=False, progress=1.0, rng=rng.fork("step")))
    pictures = {
        name: (value.float().clamp(0, 1) * 255).round().byte().cpu().contiguous() for name, value in shown.items()
    }
    content = safetensors.torch.save(pictures, metadata={"names": json.dumps(list(pictures))})
    files.write_bytes(folder / SHOWN, content)


def measure_seconds_per_step(
    settings: RunSettings, images: ImageSet, device: torch.device | None = None, steps: int = 4
) -> float:
    """Median seconds of an optimiser step, from a few real ones after a first that is not counted.

    Once `ENOUGH_SECONDS` went by there are no more: of steps that take so long the first one tells enough.
    """
    rng = Rng.from_seed(settings.seed)
    method = build_method(settings, images, rng)
    data = Data(images, settings.chains(), rng)
    training, durations = replace(settings.training, steps=1, warmup=0.0), []
    for _ in range(steps):
        started = time.perf_counter()
        fit(method, data, training, device=device or default_device(), progress=Progress(quiet=True))
        durations.append(time.perf_counter() - started)
        if sum(durations) > ENOUGH_SECONDS:
            break
    return float(np.median(durations[1:] or durations))


def describe(settings: RunSettings, images: ImageSet, device: torch.device) -> dict[str, Any]:
    """The part of run.json that is known before training."""
    return {
        "method": settings.method,
        "settings": settings.to_json(),
        "origins": dict(settings.origins),
        "data": {
            "name": images.name,
            "fingerprint": images.fingerprint,
            "num_images": len(images),
            "skipped": [asdict(skipped) for skipped in images.skipped],
        },
        "seed": settings.seed,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    packages = ("selfstudy", "torch", "timm", "numpy", "scikit-learn")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}


def describe_outcome(outcome: Fit, method: Method, folder: Path) -> dict[str, Any]:
    """The part of run.json that is known after training."""
    return {
        "status": outcome.status,
        **costs(outcome, method),
        "steps": outcome.steps,
        "skipped_steps": outcome.skipped_steps,
        "seconds": outcome.seconds,
        "checkpoint_mb": (folder / "encoder.safetensors").stat().st_size / 1e6,
        "health": outcome.health,
        "notes": outcome.notes,
    }
