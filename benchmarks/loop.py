"""What `fit` adds to a hand-written loop of the same step: SimCLR on mnist5k, both in turn in one process.

python benchmarks/loop.py            # writes benchmarks/loop.md
"""

import statistics
import time
from datetime import date
from pathlib import Path

import torch

from benchmarks.machine import describe
from selfstudy.images import load
from selfstudy.nn.schedules import warmup_cosine
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, fit, resolve
from selfstudy.training.pretrain import build_method
from selfstudy.types import Step

STEPS, ROUNDS = 30, 5


def main() -> None:
    images = load("mnist5k", image_size=28)
    settings = resolve(
        "simclr",
        {"backbone": "conv4", "views": "digits", "images_seen": 256 * STEPS, "batch_size": 256},
        images.card,
        "loop",
    )
    rng = Rng.from_seed(0)
    data = Data(images, settings.chains(), rng)
    ours, plain = [], []
    for round_ in range(ROUNDS + 1):
        method = build_method(settings, images, rng)
        started = time.perf_counter()
        fit(method, data, settings.training, device=torch.device("cpu"), progress=Progress(quiet=True))
        ours.append(time.perf_counter() - started)
        method = build_method(settings, images, rng)
        started = time.perf_counter()
        by_hand(method, data, settings.training)
        plain.append(time.perf_counter() - started)
        if round_ == 0:  # the first round warms up both
            ours.clear(), plain.clear()
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    table = (
        f"# The cost of the loop\n\n{date.today()}, {describe()}\n\n"
        f"SimCLR, conv4, 28 px, batch 256, {STEPS} steps, {ROUNDS} rounds in turn after one that is not counted.\n\n"
        "| | median s | least s | most s |\n|---|---|---|---|\n"
        f"| fit | {statistics.median(ours):.2f} | {min(ours):.2f} | {max(ours):.2f} |\n"
        f"| by hand | {statistics.median(plain):.2f} | {min(plain):.2f} | {max(plain):.2f} |\n\n"
        f"Ratio round by round: median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); the bound is 1.05.\n"
        "fit also logs, watches health and takes a snapshot every half epoch.\n"
    )
    print(table)
    (Path(__file__).parent / "loop.md").write_text(table, encoding="utf-8")


def by_hand(method, data, training) -> None:
    """The same step with nothing around it."""
    method.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(method.parameters(), lr=training.lr, weight_decay=training.weight_decay, fused=True)
    rate = warmup_cosine(training.warmup, 0.0)
    per_epoch = len(data.images) // training.batch_size
    for number in range(training.steps):
        if number % per_epoch == 0:
            order = torch.randperm(len(data.images))
        batch = data.images.at(order[number % per_epoch * training.batch_size :][: training.batch_size])
        optimizer.param_groups[0]["lr"] = training.lr * rate(number / training.steps)
        views = method.views(batch, data.rng.fork(number), data.chains)
        method(views, Step(number, 0, False, 0.0, data.rng)).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
