"""All methods on the built-in digits: same encoder, same number of images seen, three seeds; and lightly's parts beside them.

    python -m benchmarks.methods            # what is not measured yet, then the tables
    python -m benchmarks.methods swav       # of one method

Every training is a line of methods.csv, every test of it a line of methods-scores.csv; methods.md and the numbers that
`selfstudy list methods` shows are written from them. A method whose file changed is measured again.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import torch

from benchmarks.lightly_methods import EPOCHS, LIGHTLY, train
from benchmarks.machine import describe
from selfstudy import catalog, config
from selfstudy.encoder import Encoder
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.images import draw_labels, load, split
from selfstudy.listing import MEASURED
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import pretrain, resolve, untrained
from tests.learns.gates import SEEDS, file_of, settings_of

HERE = Path(__file__).parent
RUNS, SCORES, TABLE = HERE / "methods.csv", HERE / "methods-scores.csv", HERE / "methods.md"
DRAWS = {1: 5, 10: 3}  # of the labels, by labels per class
CPU = torch.device("cpu")
JOINT_EMBEDDING = (  # or clustering: these are expected to be level with SimCLR
    "moco", "mocov3", "dcl", "nnclr", "byol", "simsiam", "barlow", "vicreg", "dino", "lejepa", "swav", "sela", "deepcluster",
)  # fmt: skip
ELSEWHERE = ("colorization", "distill")  # no colours here, and no teacher that knows anything: see tests/learns
BEHIND = 2.0  # points below SimCLR from which methods-notes.yaml has to say why


def main(methods: list[str]) -> None:
    digits = load("mnist5k", image_size=28, labelled=True)
    rng = Rng.from_seed(0)
    parts = split(digits, test=1000, rng=rng)
    pool = digits.select(parts.train_rows)
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
            settings = resolve(name, {**settings_of(name), "epochs": EPOCHS, "seed": seed}, pool.card, "benchmark")
            with tempfile.TemporaryDirectory() as folder:
                run = pretrain(settings, pool, Path(folder) / "run", progress=Progress(quiet=True), device=CPU)
            encoder, costs = run.encoder, run.card
        rows = list(_judge(encoder, digits, parts, rng))
        _append(RUNS, [{
            "method": name, "version": _version(name), "file": _file(name), "seed": seed, "backbone": encoder.backbone.spec.name,
            "images_seen": costs["images_seen"], "seconds": round(float(costs["seconds"]), 1),  # type: ignore[arg-type]
            "peak_memory_mb": round(float(costs["peak_memory_mb"])), "health": costs.get("health", {}).get("verdict", ""),  # type: ignore
        }])  # fmt: skip
        _append(SCORES, [{"method": name, "seed": seed, **row} for row in rows])
        print(f"{name} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    _write_tables()


def _judge(encoder: Encoder, digits, parts, rng: Rng) -> Iterator[dict[str, object]]:
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
    if (runs[mine]["file"] == _file(name)).any():
        return True
    if mine.any():
        runs[~mine].to_csv(RUNS, index=False, lineterminator="\n")
        scores = pd.read_csv(SCORES)
        scores[~((scores["method"] == name) & (scores["seed"] == seed))].to_csv(
            SCORES, index=False, lineterminator="\n"
        )
    return False


def _version(name: str) -> int:
    return catalog.find("methods", name, Method).version if name in catalog.names("methods") else 1


def _file(name: str) -> str:
    return file_of(name) if name in catalog.names("methods") else "-"


def _append(path: Path, rows: list[dict[str, object]]) -> None:
    new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def _write_tables() -> None:
    runs = pd.read_csv(RUNS, dtype={"file": str}, keep_default_na=False)
    scores = pd.read_csv(SCORES)
    per_seed = scores.groupby(["method", "seed", "protocol", "labels"])["accuracy"].mean()
    mean, spread = (per_seed.groupby(["method", "protocol", "labels"]).agg(how) for how in ("mean", "std"))
    cost = runs.groupby("method").agg(
        seconds=("seconds", "median"),
        memory=("peak_memory_mb", "max"),
        backbone=("backbone", "first"),
        images=("images_seen", "first"),
    )
    order = mean.xs(("linear", 10), level=("protocol", "labels")).sort_values(ascending=False).index
    lines = [
        "# All methods on the built-in digits", "",
        "Written by `python -m benchmarks.methods`; nothing here is typed by hand but the notes. mnist5k, 4,000 images to pretrain on, "
        "1,000 to test on, three seeds, the settings of tests/learns/gates.yaml: the same encoder (conv4, but where a method needs a "
        "vision transformer), the same number of images seen, no tuning beyond a learning check. So this compares the methods as "
        "they come, at a very small budget, on grey digits: it is no ranking for photographs. Accuracy in points: mean over seeds and "
        "draws of the labels ± deviation over seeds. Against SimCLR: the mean over seeds and draws of the paired difference ± its "
        "standard error. Seconds are of one thread, with another process on the other core; the peak is that of the process, which ran "
        "the methods one after another, so it is no more than a bound.", "", describe(), "",
        "| method | backbone | linear, 1 label | linear, 10 labels | kNN, 10 labels | against SimCLR, 1 label | against SimCLR, 10 labels "
        "| seconds | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in order:
        cells = [
            f"{100 * mean[name, p, n]:.1f} ± {100 * spread[name, p, n]:.1f}"
            for p, n in (("linear", 1), ("linear", 10), ("knn", 10))
        ]
        paired = [_against(scores, name, labels) for labels in DRAWS]
        lines.append(
            f"| {' | '.join([name, cost.backbone[name], *cells, *paired, f'{cost.seconds[name]:.0f}', str(cost.memory[name])])} |"
        )
    lines += ["", "## Why some are behind", ""]
    notes = config.read_yaml(HERE / "methods-notes.yaml")
    lines += [f"- **{name}**: {note}" for name, note in notes.items()]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    measured = [
        {
            "method": name, "linear": f"{mean[name, 'linear', 10]:.3f}", "linear_sd": f"{spread[name, 'linear', 10]:.3f}",
            "knn": f"{mean[name, 'knn', 10]:.3f}", "seconds": f"{cost.seconds[name]:.0f}", "version": str(_version(name)),
        }
        for name in catalog.names("methods") if name in cost.index
    ]  # fmt: skip
    MEASURED.unlink(missing_ok=True)
    _append(MEASURED, measured)
    behind = [
        name for name in order
        if name in JOINT_EMBEDDING and name not in notes and _difference(scores, name, 10).mean() < -BEHIND / 100
    ]  # fmt: skip
    print(f"{BEHIND:g} points or more behind SimCLR and without a note: {', '.join(behind) or 'none'}")


def _difference(scores: pd.DataFrame, name: str, labels: int) -> pd.Series:
    """Per seed, the mean over draws of the paired difference to SimCLR, linear."""
    found = scores[(scores["protocol"] == "linear") & (scores["labels"] == labels)]
    found = found.set_index(["method", "seed", "draw"])["accuracy"]
    return (found[name] - found["simclr"]).groupby("seed").mean()


def _against(scores: pd.DataFrame, name: str, labels: int) -> str:
    if name == "simclr":
        return ""
    difference = _difference(scores, name, labels)
    return f"{100 * difference.mean():+.1f} ± {100 * difference.std() / len(difference) ** 0.5:.1f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    ours = [name for name in catalog.names("methods") if name not in ELSEWHERE]
    main(sys.argv[1:] or ["random", *ours, *(f"lightly {name}" for name in LIGHTLY)])
