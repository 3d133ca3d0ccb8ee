"""The only training loop: any method, any images, from any step on, to the same bits."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from selfstudy.errors import RunError
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import along, checkpoint, optimizer
from selfstudy.training._ahead import Ahead
from selfstudy.training.checkpoint import Position, Snapshot
from selfstudy.training.gradients import backward
from selfstudy.training.health import CHECKS_IN_A_ROW, Watch, diagnose
from selfstudy.training.log import RunLog
from selfstudy.training.memory import PeakMemory
from selfstudy.training.settings import Training
from selfstudy.types import Batch, Output, Step
from selfstudy.views import Chain

CHECK_EVERY = 20  # steps between looks at loss and health
CHECKS_AN_EPOCH = 4  # at least, where it has as many steps: a collapse is named in the epoch in which it happens
NOT_FINITE_CAUSES = (
    "Usual causes, in order: a learning rate too high, 16-bit precision, images with NaN. Try a tenth of the learning rate, "
    "or clip_norm=1"
)
MOST_SKIPPED = 3  # batches whose loss or gradient is not finite; more than that is not the batches' fault


@dataclass(frozen=True, slots=True)
class Fit:
    """What training left behind, beside the method's weights."""

    status: Literal["done", "collapsed"]
    steps: int
    images_seen: int
    seconds: float  # of training, over all the processes it took
    peak_memory_mb: float
    skipped_steps: list[int]
    health: dict[str, object]
    notes: list[str]  # sentences for people: what was unusual


def costs(outcome: Fit, method: Method) -> dict[str, float]:
    """What a training cost beside its seconds, by the names of run.json."""
    return {
        "images_seen": outcome.images_seen,
        "images_per_second": outcome.images_seen / outcome.seconds if outcome.seconds else 0.0,
        "trainable_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        "peak_memory_mb": outcome.peak_memory_mb,
    }


@dataclass(frozen=True)
class Data:
    """What training reads: the images, how they are viewed, and the stream that decides everything random."""

    images: ImageSet
    chains: Mapping[str, Chain]
    rng: Rng
    held_out: ImageSet | None = None  # for the validation loss; never trained on
    _ahead: Ahead = field(default_factory=Ahead, init=False, repr=False, compare=False)
    _orders: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)  # by epoch

    def steps_per_epoch(self, batch_size: int) -> int:
        return len(self.images) // batch_size

    def batch(self, step: int, batch_size: int, stop: int = 0) -> Batch:
        """Batch `step` of a stream of epochs, each in its own order; what does not fill a batch waits for another epoch.

        Of streamed images the next ones before step `stop` are read in the background.
        """

        def reading(number: int) -> Callable[[], Batch]:
            rows = self._rows(number, batch_size)
            return lambda: self.images.at(rows)

        if not self.images.is_streamed:
            return self.images.at(self._rows(step, batch_size))
        epoch, within = divmod(step, self.steps_per_epoch(batch_size))
        self.images.expect(self._order(epoch)[within * batch_size :])
        return self._ahead.get(step, max(stop, step + 1), reading)

    def close(self) -> None:
        """Stop reading in the background."""
        self._ahead.close()

    def _rows(self, step: int, batch_size: int) -> Tensor:
        epoch, within = divmod(step, self.steps_per_epoch(batch_size))
        return self._order(epoch)[within * batch_size : (within + 1) * batch_size]

    def _order(self, epoch: int) -> Tensor:
        """Kept for the epoch: for a million images making it takes longer than a step."""
        if epoch not in self._orders:
            for old in [number for number in self._orders if abs(number - epoch) > 1]:
                del self._orders[old]
            self._orders[epoch] = self.images.order(self.rng.fork("order", epoch))
        return self._orders[epoch]

    def scan(self, batch_size: int, device: torch.device) -> Callable[[Callable[[Batch], Tensor]], Tensor]:
        """A function that applies another to all images in index order."""
        rows = torch.arange(len(self.images)).split(batch_size)
        return lambda apply: torch.cat([apply(self.images.at(part).to(device)) for part in rows])


def fit(
    method: Method,
    data: Data,
    training: Training,
    *,
    device: torch.device,
    progress: Progress,
    folder: Path | None = None,
    checkpoint_seconds: float = 30.0,
    keep_at: Sequence[float] = (),
) -> Fit:
    """Train `method` in place for `training.steps` optimiser steps.

    With a folder, metrics are logged there and an interrupted run goes on from its last checkpoint; on the CPU with an
    equal number of threads the final weights are bit-identical to an uninterrupted run's. At most `checkpoint_seconds` and
    one check are lost.
    A loss or gradient that is not finite: the run goes back to its last snapshot and repeats without that batch;
    RunError after the third. A collapse: stops with status "collapsed" or goes on, as `training.on_collapse` says.
    `keep_at`: shares of the steps after which the encoder, as it is then, is kept in the folder.
    """
    method.to(device=device).to(memory_format=torch.channels_last).train()
    updates = optimizer.build(method.param_groups(), training)
    position, notes = _resume(folder, method, updates)
    snapshot = Snapshot.take(method, updates, position)
    log, memory = RunLog(folder), PeakMemory(device)
    log.rewind(position.step)
    watch = Watch(position.low_in_a_row, log.last_readings())
    check_every = max(1, min(CHECK_EVERY, data.steps_per_epoch(training.batch_size) // CHECKS_AN_EPOCH))
    due = along.due_at(keep_at, training.steps, check_every)
    started = time.monotonic() - position.seconds
    saved = time.monotonic()
    progress.start(
        type(method).__name__, training.steps * training.batch_size, "images", position.step * training.batch_size
    )
    try:
        while position.step < training.steps and not (watch.collapsed and training.on_collapse == "stop"):
            stop = min(training.steps, position.step + check_every - position.step % check_every)
            stretch = _train(method, updates, data, training, position, stop, device)
            if stretch.first_bad >= 0:  # reading it is the one moment at which the device is waited for
                position = _go_back(snapshot, method, updates, stretch.first_bad, position, notes)
                continue
            position.step, position.seconds = stop, time.monotonic() - started
            memory.sample()
            log.write(_record(method, data, training, stretch, position, watch, check_every, device))
            position.low_in_a_row = watch.low_in_a_row
            progress.update(stop * training.batch_size, f"loss {log.records[-1].get('loss', float('nan')):.3f}")
            if watch.low_in_a_row == CHECKS_IN_A_ROW:  # the moment at which it counts as collapsed
                progress.say(str(_diagnosis(method, training, watch, log)["message"]))
            if folder is not None and position.step in due:  # before the snapshot: who goes on from it has kept this
                along.keep(folder, method, data.images, position, stop * training.batch_size)
            snapshot = Snapshot.take(method, updates, position)
            if folder is not None and time.monotonic() - saved >= checkpoint_seconds:
                checkpoint.save(folder / "checkpoint", snapshot)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if folder is not None:
            checkpoint.save(folder / "checkpoint", snapshot)
        raise
    finally:
        data.close()
        log.close()
    if not all(torch.isfinite(value).all() for value in method.state_dict().values() if value.is_floating_point()):
        raise RunError(
            f"{type(method).__name__}: the last step made weights that are not finite numbers. {NOT_FINITE_CAUSES}"
        )
    progress.finish("")
    return Fit(
        status="collapsed" if watch.collapsed else "done", steps=position.step,
        images_seen=position.step * training.batch_size, seconds=position.seconds, peak_memory_mb=memory.peak_mb,
        skipped_steps=position.skipped, health=_diagnosis(method, training, watch, log), notes=notes,
    )  # fmt: skip


def _diagnosis(method: Method, training: Training, watch: Watch, log: RunLog) -> dict[str, object]:
    losses = [record["loss"] for record in log.records if record.get("loss") is not None]
    loss = float(losses[-1]) if losses else math.nan
    return diagnose(type(method).__name__, method.causes, watch, loss, method.loss_of_nothing(training.batch_size))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The steps between two checks, seen from their last one."""

    step: Step
    output: Output | None  # None where the last step was skipped
    learning_rate: float
    gradient_norm: Tensor
    first_bad: int  # the first step with a loss or gradient that is not finite, or -1


def _train(
    method: Method,
    updates: Optimizer,
    data: Data,
    training: Training,
    position: Position,
    stop: int,
    device: torch.device,
) -> _Stretch:
    """Steps `position.step` to `stop` - 1, without once waiting for the device."""
    first_bad, norm, rate, output = torch.tensor(-1, device=device), torch.tensor(0.0, device=device), 0.0, None
    for number in range(position.step, stop):
        step = _step_at(number, method, data, training, device)
        if method.refresh_due(step):
            method.refresh(data.scan(training.batch_size, device), step)
        if number in position.skipped:
            output = None
            continue
        batch = data.batch(number, training.batch_size, training.steps).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
            views = method.views(batch, data.rng.fork("views", number), data.chains)
            output = backward(method, views, step, training.chunk_size)
        rate = optimizer.set_rates(updates, training, step.progress, step.epoch)
        norm = _clip(updates, training.clip_norm)
        bad = ~(torch.isfinite(output.loss.detach()) & torch.isfinite(norm))
        first_bad = torch.where(bad & (first_bad < 0), number, first_bad)
        updates.step()
        updates.zero_grad(set_to_none=True)
        method.after_step(output.carry, step)
    return _Stretch(step, output, rate, norm, int(first_bad))


def _step_at(number: int, method: Method, data: Data, training: Training, device: torch.device) -> Step:
    progress = number / training.steps
    scheduled = {name: torch.tensor(value(progress), device=device) for name, value in method.schedules().items()}
    epoch, within = divmod(number, data.steps_per_epoch(training.batch_size))
    return Step(number, epoch, within == 0, progress, data.rng.fork("step", number), scheduled)


def _clip(updates: Optimizer, clip_norm: float) -> Tensor:
    """Norm of the whole gradient before clipping, 0-d; scales the gradient down to `clip_norm` if that is above 0."""
    parameters = [p for p in optimizer.parameters(updates) if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if clip_norm > 0:
        clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def _resume(folder: Path | None, method: Method, updates: Optimizer) -> tuple[Position, list[str]]:
    if folder is None:
        return Position(), []
    folder.mkdir(parents=True, exist_ok=True)
    snapshot, notes = checkpoint.load_latest(folder / "checkpoint")
    return (Position() if snapshot is None else snapshot.restore(method, updates)), notes


def _go_back(
    snapshot: Snapshot, method: Method, updates: Optimizer, bad_step: int, position: Position, notes: list[str]
) -> Position:
    """To the last snapshot, with one more step to leave out."""
    name = type(method).__name__
    if len(position.skipped) >= MOST_SKIPPED:
        raise RunError(
            f"{name}: loss or gradient is not a finite number at step {bad_step}, after {MOST_SKIPPED} batches were already left "
            f"out. {NOT_FINITE_CAUSES}"
        )
    notes.append(f"{name}: loss or gradient was not finite at step {bad_step}; went back and left that batch out")
    restored = snapshot.restore(method, updates)
    restored.skipped = [*position.skipped, bad_step]
    return restored


def _record(
    method: Method, data: Data, training: Training, stretch: _Stretch, position: Position, watch: Watch, check_every: int,
    device: torch.device,
) -> dict[str, float | int]:  # fmt: skip
    """One line of the log: where training stands, what the last step saw, and the health of its embeddings."""
    record: dict[str, float | int] = {
        "step": position.step, "epoch": stretch.step.epoch, "images_seen": position.step * training.batch_size,
        "seconds": position.seconds, "learning_rate": stretch.learning_rate, "gradient_norm": float(stretch.gradient_norm),
    }  # fmt: skip
    if stretch.output is not None:
        record["loss"] = float(stretch.output.loss.detach())
        record |= {name: float(value) for name, value in stretch.output.metrics.items()}
        record |= watch.look(stretch.output.watch, stretch.output.watched_views)
    per_epoch = data.steps_per_epoch(training.batch_size)
    crossed_epoch = position.step // per_epoch != (position.step - check_every) // per_epoch
    if data.held_out is not None and (crossed_epoch or position.step == training.steps):
        found = _validate(method, data, stretch.step, training.batch_size, device)
        record |= {f"validation_{name}": value for name, value in found.items()}
    return record


@torch.no_grad()
def _validate(method: Method, data: Data, step: Step, batch_size: int, device: torch.device) -> dict[str, float]:
    """Mean loss and metrics of the held-out images in eval mode, seen through the same views at every call."""
    assert data.held_out is not None
    method.eval()
    size = min(batch_size, len(data.held_out))
    rows = [part for part in torch.arange(len(data.held_out)).split(size) if len(part) == size]
    rng = data.rng.fork("held out")
    outputs = [method(method.views(data.held_out.at(part).to(device), rng, data.chains), step) for part in rows]
    method.train()
    values = [{"loss": output.loss, **output.metrics} for output in outputs]
    return {name: sum(float(value[name]) for value in values) / len(values) for name in values[0]}
