"""One process with all cores, or one process for each core: how many images a second they train on, in turn.

python benchmarks/workers.py            # five minutes; writes benchmarks/workers.md
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import torch

from benchmarks.machine import describe
from selfstudy.images import load
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, fit, resolve
from selfstudy.training.pretrain import build_method

ROUNDS = 3  # of each, some ten seconds long
WARM_UP_STEPS = 3
TASKS: Mapping[str, tuple[str, dict[str, object], int]] = {  # method, settings, timed steps of one thread
    "conv4, 64 digits a step (autoencoder)": ("autoencoder", {"backbone": "conv4", "batch_size": 64}, 60),
    "conv4, 2 views of 128 digits a step (simclr)": ("simclr", {"backbone": "conv4", "batch_size": 128}, 20),
    "resnet18, 2 views of 64 digits a step (simclr)": ("simclr", {"backbone": "resnet18", "batch_size": 64}, 2),
}


def main() -> None:
    cores = torch.get_num_threads()
    lines = [
        "# Several cells at a time", "", f"{date.today()}, {describe()}", "",
        f"Images a second of training at 28 px, views included; medians of {ROUNDS} rounds in turn, with the least and the most.", "",
        f"| | one process, {cores} threads | {cores} processes, one thread each | gain, round by round |", "|---|---|---|---|",
    ]  # fmt: skip
    for task in TASKS:
        rounds = [(race(task, 1, cores), race(task, cores, 1)) for _ in range(ROUNDS)]
        alone, together = zip(*rounds, strict=True)
        gains = [after / before for before, after in rounds]
        lines.append(f"| {task} | {spread(alone, ',.0f')} | {spread(together, ',.0f')} | {spread(gains, '.2f')} |")
        print(lines[-1])
    (Path(__file__).parent / "workers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def spread(values: "tuple[float, ...] | list[float]", form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def race(task: str, processes: int, threads: int) -> float:
    """Images a second of all processes together, which start as one: each waits until all are ready."""
    command = [sys.executable, "-m", "benchmarks.workers", task, str(threads)]
    team = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        for _ in range(processes)
    ]
    for process in team:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in team:
        assert process.stdin is not None
        print("go", file=process.stdin, flush=True)
    return sum(float(process.communicate()[0]) for process in team)


def run(task: str, threads: int) -> None:
    """Train, and print images a second."""
    torch.set_num_threads(threads)
    name, overrides, steps = TASKS[task]
    images = load("mnist5k", image_size=28)
    batch_size = int(str(overrides["batch_size"]))

    def train(steps: int) -> float:
        settings = resolve(name, {**overrides, "views": "digits", "images_seen": batch_size * steps}, images.card, "")
        rng = Rng.from_seed(0)
        data = Data(images, settings.chains(), rng)
        method = build_method(settings, images, rng)
        started = time.perf_counter()
        fit(method, data, settings.training, device=torch.device("cpu"), progress=Progress(quiet=True))
        return time.perf_counter() - started

    train(WARM_UP_STEPS)
    print("ready", flush=True)
    input()
    print(batch_size * steps / train(steps))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(sys.argv[1], int(sys.argv[2]))
    else:
        main()
