"""Choose the recipes of the built-in study, with the same number of trials for every row and no look at its test images.

    python benchmarks/tune_digits.py simclr 'lr=0.004 method.temperature=0.5'

The study's 4,000 training images are divided again, 3,200 to learn from and 800 to judge by, in a split of their own. A
trial appends a line to benchmarks/digits-trials.csv; what was chosen stands in studies/digits.yaml.
"""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from selfstudy import catalog, config
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.evaluation.finetune import Config as FinetuneConfig
from selfstudy.evaluation.finetune import Finetune
from selfstudy.images import draw_labels, load, split
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import pretrain, resolve, untrained

TRIALS = Path(__file__).parent / "digits-trials.csv"
STUDY = Path(__file__).parents[1] / "src" / "selfstudy" / "studies" / "digits.yaml"
DRAWS = {1: 5, 4: 3, 10: 3, "all": 1}
INNER_SPLIT = 1  # its own stream: the study's split is seed 0


def main(row: str, overrides: dict[str, object]) -> None:
    seed = int(overrides.get("seed", 0))
    study = config.read_yaml(STUDY)
    whole = load("mnist5k", image_size=28, labelled=True)
    images = whole.select(split(whole, test=1000, rng=Rng.from_seed(0)).train_rows)
    rng = Rng.from_seed(INNER_SPLIT)
    parts = split(images, test=800, rng=rng)
    views = overrides.pop("views", None) or study["views"]
    if isinstance(views, str):
        views = json.loads(Path(views).read_text())
    progress = Progress(quiet=True)
    started, losses = time.perf_counter(), ""
    device = torch.device("cpu")
    encoder, values = untrained("conv4", "small", images.select(parts.train_rows), seed), None
    if row not in ("supervised", "random"):
        pool = images.select(parts.train_rows)
        settings = resolve(row, {"backbone": "conv4", "views": views, **overrides}, pool.card, "trial")
        folder = Path("/tmp") / f"trial-{time.time_ns()}"
        run = pretrain(settings, pool, folder, progress=progress, device=device)
        encoder, losses = run.encoder, json.dumps(run.card["health"].get("z") or run.card["health"]["h"])
    seconds = time.perf_counter() - started
    if row != "supervised":
        values = features(encoder, images, device, 512)
    found: dict[str, list[float]] = {}
    for label, draws in DRAWS.items():
        for draw in range(draws):
            known = draw_labels(images, parts, label, draw, rng).rows
            task = Task(
                images=images, train_rows=torch.from_numpy(known), test_rows=torch.from_numpy(parts.test_rows),
                pool_rows=torch.from_numpy(parts.train_rows), encoder=encoder, features=values,
            )  # fmt: skip
            if row == "supervised":
                if (label != 1 and draw > 0) or draw > 2:
                    continue
                protocol: Protocol = Finetune(config.validate(FinetuneConfig, {"views": views, **overrides}, "trial"))
                scores = protocol.run(task, Rng.from_seed(draw))
                found.setdefault(str(label), []).append(scores.metrics["accuracy"])
                continue
            kind = catalog.find("evaluation", "linear", Protocol)
            grid = (0.03, 0.1, 1.0) if label in (1, 4) else ((0.1,) if label == 10 else (0.01, 0.1))
            for c in grid:
                protocol = kind(config.validate(kind.Config, {"C": (c,)}, "trial"))
                scores = protocol.run(task, Rng.from_seed(draw))
                found.setdefault(f"{label}@C{c:g}", []).append(scores.metrics["accuracy"])
    means = {key: round(float(np.mean(value)), 4) for key, value in found.items()}
    line = [row, json.dumps(overrides), seed, json.dumps(means), round(seconds, 1), losses]
    with TRIALS.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(line)
    print(*line, f"total {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], config.parse_overrides(" ".join(sys.argv[2:]).split()))
