"""All methods on the built-in digits: same encoder, same number of images seen, three seeds; and lightly's parts beside them.

    python -m benchmarks.methods            # what is not measured yet, then the tables
    python -m benchmarks.methods swav       # of one method

Every training is a line of methods.csv, every test of it a line of methods-scores.csv; methods.md and the numbers that
`selfstudy list methods` shows are written from them. A method whose file changed is measured again.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import torch

from benchmarks.distill_teacher import teacher
from benchmarks.lightly_methods import EPOCHS, LIGHTLY, train
from benchmarks.methods_tables import ANGLES, DRAWS, RUNS, SCORES, append, hash_of, method_of, version_of, write_tables
from selfstudy import catalog, config
from selfstudy.encoder import Encoder
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.images import ImageSet, Split, draw_labels, load, split
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import pretrain, resolve, untrained
from tests.learns.gates import SEEDS, settings_of

CPU = torch.device("cpu")
ELSEWHERE = ("colorization",)  # no colours here: methods.md says so


def main(methods: list[str]) -> None:
    digits, parts, pool, rng = material()
    for name, seed in ((name, seed) for seed in SEEDS for name in methods):
        if _is_there(name, seed):
            continue
        started = time.perf_counter()
        costs: Mapping[str, object] = {"seconds": 0.0, "images_seen": 0, "peak_memory_mb": 0.0}
        if name == "random":
            encoder = untrained("conv4", "small", pool, seed)
        elif name.startswith("lightly "):
            encoder, costs = train(name.removeprefix("lightly "), pool, seed)
        else:
            method = method_of(name)
            own: dict[str, object] = {"method.angles": ANGLES[name]} if name in ANGLES else {}
            if name == "distill":
                own["method.weights"] = str(teacher())
            overrides = {**settings_of(method), "epochs": EPOCHS, "seed": seed, **own}
            settings = resolve(method, overrides, pool.card, "benchmark")
            with tempfile.TemporaryDirectory() as folder:
                run = pretrain(settings, pool, Path(folder) / "run", progress=Progress(quiet=True), device=CPU)
            encoder, costs = run.encoder, run.card
        rows = list(judge(encoder, digits, parts, rng))
        append(RUNS, [{
            "method": name, "version": version_of(name), "file": hash_of(name), "seed": seed, "backbone": encoder.backbone.spec.name,
            "images_seen": costs["images_seen"], "seconds": round(float(costs["seconds"]), 1),  # type: ignore[arg-type]
            "peak_memory_mb": round(float(costs["peak_memory_mb"])), "health": costs.get("health", {}).get("verdict", ""),  # type: ignore
        }])  # fmt: skip
        append(SCORES, [{"method": name, "seed": seed, **row} for row in rows])
        print(f"{name} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    write_tables()


def material() -> tuple[ImageSet, Split, ImageSet, Rng]:
    """All digits, how they are split, those to pretrain on, and the stream of both."""
    digits = load("mnist5k", image_size=28, labelled=True)
    rng = Rng.from_seed(0)
    parts = split(digits, test=1000, rng=rng)
    return digits, parts, digits.select(parts.train_rows), rng


def judge(encoder: Encoder, digits: ImageSet, parts: Split, rng: Rng) -> Iterator[dict[str, object]]:
    """Accuracies of linear probe and nearest neighbours, by labels per class and draw of them."""
    values = features(encoder, digits, CPU, 512)
    for labels, draws in DRAWS.items():
        for draw in range(draws):
            rows = torch.from_numpy(draw_labels(digits, parts, labels, draw, rng).rows)
            task = Task(
                images=digits, train_rows=rows, test_rows=torch.from_numpy(parts.test_rows),
                pool_rows=torch.from_numpy(parts.train_rows), encoder=None, features=values,
            )  # fmt: skip
            for name in ("linear", "knn"):
                kind = catalog.find("evaluation", name, Protocol)
                score = kind(config.validate(kind.Config, {}, name)).run(task, rng.fork("protocol"))
                yield {
                    "labels": labels,
                    "draw": draw,
                    "protocol": name,
                    "accuracy": round(score.metrics["accuracy"], 4),
                }


def _is_there(name: str, seed: int) -> bool:
    """Whether this very file was measured. An older measurement of it is dropped."""
    if not RUNS.is_file():
        return False
    runs = pd.read_csv(RUNS, dtype={"file": str}, keep_default_na=False)
    mine = (runs["method"] == name) & (runs["seed"] == seed)
    if (runs[mine]["file"] == hash_of(name)).any():
        return True
    if mine.any():
        runs[~mine].to_csv(RUNS, index=False, lineterminator="\n")
        scores = pd.read_csv(SCORES)
        scores[~((scores["method"] == name) & (scores["seed"] == seed))].to_csv(
            SCORES, index=False, lineterminator="\n"
        )
    return False


if __name__ == "__main__":
    torch.set_num_threads(1)
    ours = [name for name in catalog.names("methods") if name not in ELSEWHERE]
    main(sys.argv[1:] or ["random", *ours, *ANGLES, *(f"lightly {name}" for name in LIGHTLY)])
