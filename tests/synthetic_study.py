"""Writes a study folder in the format on disk, with scores drawn from a known model, in about a second.

The truth is chosen, so tests can ask whether a verdict, a sentence or a figure says it. A cell is right about image i
with probability sigmoid(row + draw + seed + cell + image_i), effects normal; the draw's and the images' effects are
shared by the rows, as the labels and the test images are.
"""

import csv
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.numpy
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

COLUMNS = ("study", "entry", "method", "backbone", "weights", "unlabelled", "labels", "protocol", "seed", "draw",
           "split", "metric", "value", "seconds", "cell", "status")  # fmt: skip
LEARNED = ("autoencoder", "simclr", "byol")  # the rows with pretraining to pay for
ACCURACY: Mapping[str, Sequence[float]] = {  # by row, one per entry of Truth.labels
    "majority": (0.10, 0.10, 0.10, 0.11),
    "random": (0.48, 0.70, 0.80, 0.93),
    "supervised": (0.72, 0.945, 0.965, 0.986),
    "autoencoder": (0.56, 0.78, 0.86, 0.95),
    "simclr": (0.83, 0.935, 0.957, 0.981),
    "byol": (0.80, 0.930, 0.955, 0.979),
}


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the synthetic study is made of. Effects are in logits; rows named supervised* train once per draw."""

    name: str = "synthetic"
    accuracy: Mapping[str, Sequence[float]] = field(default_factory=lambda: ACCURACY)
    labels: Sequence[str] = ("1", "4", "10", "all")
    protocols: Sequence[str] = ("linear", "knn")
    draws: Mapping[str, int] = field(default_factory=lambda: {"1": 5, "4": 5, "10": 3})
    seeds: int = 2
    metric: str = "accuracy"
    num_test: int = 1000
    images_per_group: int = 1
    num_classes: int = 10
    draw_sd: Mapping[str, float] = field(default_factory=lambda: {"1": 0.25, "4": 0.15, "10": 0.10})
    seed_sd: float = 0.05
    cell_sd: float = 0.05
    image_sd: float = 1.5  # some images are hard for every row
    collapsed: Collection[str] = ()  # rows whose pretraining collapsed in every seed
    failed: Collection[tuple[str, int]] = ()  # (row, seed) whose pretraining failed: its cells have no scores
    missing: Collection[tuple[str, str]] = ()  # (row, labels) not yet computed
    validation: Mapping[tuple[str, str], float] = field(default_factory=dict)  # (row, labels): score of the choice


def write_study(folder: Path, truth: Truth = Truth(), seed: int = 0) -> Path:
    """Write study.yaml, splits.json, plan.json, results.csv and cells/ under `folder`, which must not exist; returns it."""
    rng = np.random.default_rng(seed)
    (folder / "cells").mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(_settings(truth), sort_keys=False), encoding="utf-8")
    test_labels = np.arange(truth.num_test) % truth.num_classes
    _write_json(folder / "splits.json", _splits(truth, test_labels))
    images = rng.normal(0, truth.image_sd, truth.num_test)
    draws = {labels: rng.normal(0, truth.draw_sd.get(labels, 0), truth.draws.get(labels, 1)) for labels in truth.labels}
    table: list[dict[str, object]] = []
    plan: list[dict[str, object]] = []
    for entry, accuracies in truth.accuracy.items():
        seeds = rng.normal(0, truth.seed_sd, 100)
        status = _write_runs(folder, truth, entry, rng)
        plan += [_planned(truth, "pretrain", entry, run_seed) for run_seed in status]
        for labels, accuracy in zip(truth.labels, accuracies, strict=True):
            for protocol, run_seed, draw in _design(truth, entry, labels):
                cell = _planned(truth, "evaluate", entry, run_seed, protocol, labels, draw)
                plan.append(cell)
                if (entry, labels) in truth.missing:
                    continue
                effects = draws[labels][draw] + seeds[run_seed] + rng.normal(0, truth.cell_sd)
                right = _right(accuracy - 0.02 * (protocol == "knn"), effects, images, rng)
                wrong = (test_labels + rng.integers(1, truth.num_classes, truth.num_test)) % truth.num_classes
                predictions = np.zeros_like(test_labels) if entry == "majority" else np.where(right, test_labels, wrong)
                table += _write_cell(folder, truth, cell, status.get(run_seed, "done"), predictions, test_labels)
    _write_json(folder / "plan.json", {"cells": plan})
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)
    return folder


def _settings(truth: Truth) -> dict[str, object]:
    return {
        "name": truth.name,
        "question": "Does pretraining pay, and with how many labels?",
        "data": "mnist5k",
        "image_size": 28,
        "metric": truth.metric,
        "margin": 0.01,
        "backbone": "conv4",
        "methods": list(truth.accuracy),
        "unlabelled": [1.0],
        "labels": [int(labels) if labels.isdigit() else labels for labels in truth.labels],
        "protocols": list(truth.protocols),
        "seeds": truth.seeds,
        "draws": dict(truth.draws),
    }


def _splits(truth: Truth, test_labels: np.ndarray) -> dict[str, object]:
    return {
        "fingerprint": "f00d",
        "classes": [str(name) for name in range(truth.num_classes)],
        "train": [f"train{row}" for row in range(4 * truth.num_test)],
        "test": [f"test{row}" for row in range(truth.num_test)],
        "test_labels": test_labels.tolist(),
        "test_groups": [f"group{row // truth.images_per_group}" for row in range(truth.num_test)],
    }


def _design(truth: Truth, entry: str, labels: str) -> Iterator[tuple[str, int, int]]:
    """(protocol, seed, draw) of every cell of a row at a label count."""
    draws = range(truth.draws.get(labels, 1))
    if entry == "majority":
        yield from (("majority", 0, draw) for draw in draws)
    elif entry.startswith("supervised"):  # one training per draw, each with a seed of its own
        pairs = [(seed, 0) for seed in range(truth.seeds)] if len(draws) == 1 else [(draw, draw) for draw in draws]
        yield from (("finetune", seed, draw) for seed, draw in pairs)
    else:
        yield from ((p, seed, draw) for p in truth.protocols for seed in range(truth.seeds) for draw in draws)


def _right(accuracy: float, effects: float, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bool [T]: which images a cell gets right."""
    accuracy = min(max(accuracy, 0.005), 0.995)
    flattened = np.sqrt(1 + 0.346 * images.var())  # the mean of a logistic-normal: its logit shrinks by this
    logit = np.log(accuracy / (1 - accuracy)) * flattened
    return rng.random(len(images)) < 1 / (1 + np.exp(-(logit + effects + images)))


def _write_runs(folder: Path, truth: Truth, entry: str, rng: np.random.Generator) -> dict[int, str]:
    """The pretraining run folders of a row; its seeds' statuses."""
    if entry in ("majority",) or entry.startswith("supervised"):
        return {}
    statuses = {}
    for seed in range(truth.seeds):
        status = "collapsed" if entry in truth.collapsed else "failed" if (entry, seed) in truth.failed else "done"
        cell = _planned(truth, "pretrain", entry, seed)
        run = folder / "cells" / str(cell["hash"])
        run.mkdir()
        _write_json(run / "cell.json", cell)
        steps = 0 if entry == "random" else 600
        spread = 0.02 if status == "collapsed" else 0.93
        card = {
            "method": entry,
            "entry": entry,
            "unlabelled": 1.0,
            "settings": {"backbone": "conv4", "epochs": 20, "batch_size": 128, "image_size": 28, "method": {}},
            "origins": {"epochs": "recipe small"},
            "data": {"name": "mnist5k", "fingerprint": "f00d", "num_images": 4 * truth.num_test},
            "seed": seed,
            "device": "cpu",
            "threads": 2,
            "versions": {"selfstudy": "0.1.0", "torch": "2.10.0"},
            "images_seen": steps * 128,
            "steps": steps,
            "seconds": 0.1 if steps == 0 else round(80 + 20 * rng.random(), 2),
            "images_per_second": 0.0 if steps == 0 else 850.0,
            "peak_memory_mb": 640.0,
            "trainable_parameters": 0 if steps == 0 else 520_000,
            "checkpoint_mb": 2.1,
            "status": status,
            "health": {
                "z": {"std": spread, "effective_rank": 1.2 if status == "collapsed" else 41.0},
                "h": {"std": spread, "effective_rank": 1.9 if status == "collapsed" else 63.0},
                "verdict": "collapsed" if status == "collapsed" else "healthy",
                "message": "the embeddings are nearly all equal"
                if status == "collapsed"
                else "the embeddings are spread out",
            },
        }
        if status == "failed":
            card = {name: card[name] for name in ("method", "settings", "origins", "data", "seed", "status")} | {
                "error": "the loss is not finite"
            }
        _write_json(run / "run.json", card)
        (run / "metrics.jsonl").write_text("".join(_metrics(steps, spread)), encoding="utf-8")
        statuses[seed] = status
    return statuses


def _metrics(steps: int, spread: float) -> Iterator[str]:
    for step in range(0, steps, 20):
        progress = step / max(steps, 1)
        yield json.dumps({
            "step": step, "epoch": step // 31, "images_seen": step * 128, "loss": 5.0 - 2.5 * progress**0.5,
            "learning_rate": 0.03 * (1 - progress), "gradient_norm": 1.5 - progress, "seconds": step * 0.15,
            "z_std": 0.5 + (spread - 0.5) * progress, "z_rank": 10 + 31 * progress, "h_std": 0.8, "h_rank": 63.0,
            **({"validation_loss": 5.1 - 2.4 * progress**0.5} if step % 100 == 0 else {}),
        }) + "\n"  # fmt: skip


def _planned(
    truth: Truth, kind: str, entry: str, seed: int, protocol: str = "", labels: str = "", draw: int = 0
) -> dict[str, object]:
    """One cell of plan.json."""
    content = (truth.name, kind, entry, seed, protocol, labels, draw)
    return {
        "hash": hashlib.sha256(repr(content).encode()).hexdigest()[:16], "kind": kind, "entry": entry, "method": entry,
        "backbone": "none" if entry == "majority" else "conv4", "unlabelled": 1.0, "seed": seed, "needs": "",
        "protocol": protocol, "labels": int(labels) if labels.isdigit() else labels, "draw": draw,
    }  # fmt: skip


def _write_cell(
    folder: Path, truth: Truth, cell: Mapping[str, object], status: str, predictions: np.ndarray, labels: np.ndarray
) -> list[dict[str, object]]:
    """One evaluation's folder; its lines of results.csv."""
    path = folder / "cells" / str(cell["hash"])
    path.mkdir()
    _write_json(path / "cell.json", cell)
    seconds = 25.0 if cell["protocol"] == "finetune" else 0.4
    line = {
        name: cell[name] for name in ("entry", "method", "backbone", "unlabelled", "labels", "protocol", "seed", "draw")
    }
    line |= {"study": truth.name, "weights": "random" if cell["method"] == "random" else "none", "split": "test"}
    line |= {"cell": cell["hash"], "seconds": seconds, "status": status}
    if status == "failed":
        return [{**line, "metric": truth.metric, "value": ""}]
    metrics = {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0.0)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predictions)),
    }
    score = truth.validation.get((str(cell["entry"]), str(cell["labels"])))
    chosen = {"C": 1.0} if score is None else {"C": 1.0, "validation_score": score}
    safetensors.numpy.save_file({"predictions": predictions.astype(np.int64)}, path / "predictions.safetensors")
    _write_json(path / "scores.json", {"metrics": metrics, "chosen": chosen, "seconds": seconds})
    return [{**line, "metric": metric, "value": value} for metric, value in metrics.items()]


def add_along(
    folder: Path, entry: str, way: Mapping[int, float], *, protocol: str = "linear", labels: str = "all",
    seeds: Collection[int] = (0, 1), keys: Collection[str] = ("accuracy",),
) -> None:  # fmt: skip
    """along.json in the runs of a row: `way` is by step how far its scores lie above those of the end."""
    path = folder / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))["cells"]
    runs = {cell["seed"]: cell["hash"] for cell in plan if (cell["kind"], cell["entry"]) == ("pretrain", entry)}
    for cell in plan:
        if (cell["kind"], cell["entry"]) == ("evaluate", entry):
            cell["needs"] = runs[cell["seed"]]
    _write_json(path, {"cells": plan})
    for seed in seeds:
        judging = [c for c in plan if (c["protocol"], str(c["labels"]), c["needs"]) == (protocol, labels, runs[seed])]
        ends = {
            c["hash"]: json.loads((folder / "cells" / c["hash"] / "scores.json").read_text("utf-8")) for c in judging
        }
        seconds = json.loads((folder / "cells" / runs[seed] / "run.json").read_text("utf-8"))["seconds"]
        points = [
            {
                "step": step,
                "images_seen": 128 * step,
                "seconds": seconds * step / 600,
                "scores": {name: {key: end["metrics"][key] + more for key in keys} for name, end in ends.items()},
            }
            for step, more in [*way.items(), (600, 0.0)]
        ]
        _write_json(
            folder / "cells" / runs[seed] / "along.json", {"protocol": protocol, "labels": labels, "points": points}
        )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
