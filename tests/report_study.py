"""Small synthetic studies with everything a report can show: maps, views, explanations, probabilities, fractions, attributes."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy
import torch
import yaml

from selfstudy.evaluation import ATTRIBUTE_METRICS
from selfstudy.explain import Findings, Picture, save
from selfstudy.explain.map import embedding_map
from selfstudy.images import ImageSet
from selfstudy.study.thumbnails import write_thumbnails
from selfstudy.views import draw_sheet
from tests.synthetic_study import ACCURACY, Truth, add_along, write_study

TRUTH = Truth(num_test=200)
HOSTILE = ("</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a' & <b>")


def write_full_study(folder: Path, truth: Truth = TRUTH) -> Path:
    """A synthetic study whose runs also have a map and a sheet; returns its folder."""
    write_study(folder, truth)
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    splits["skipped"] = [{"path": "scans/<torn>.png", "reason": "it is cut off after 812 bytes"}]
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    labels = torch.tensor(splits["test_labels"])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(truth.num_classes, 16, generator=generator)[labels]
    features = features + torch.randn(len(labels), 16, generator=generator)
    plane = embedding_map(features, labels, splits["test"])  # the same for all: it takes a second
    for path in sorted(folder.glob("cells/*/run.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["seed"] == 0 and card["status"] != "failed":
            plane.to_csv(path.parent / "map.csv", index=False)
            originals = (torch.rand(4, 1, 16, 16, generator=generator) * 255).byte()
            draw_sheet(originals, {"first": originals.float() / 255}, path.parent / "views.png")
    _log_supervised(folder)
    _add_probabilities(folder, truth.num_classes)
    _add_explanations(folder)
    write_thumbnails(folder, _images(splits["test"]))
    return folder


def write_fractions_study(folder: Path) -> Path:
    """A study of one learned row on a tenth, a half and all of the images, and of its baselines."""
    accuracy = {name: ACCURACY[name][::3] for name in ("majority", "random", "supervised", "simclr")}
    write_study(folder, Truth(accuracy=accuracy, labels=("1", "all"), draws={"1": 3}, num_test=200))
    settings = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    (folder / "study.yaml").write_text(yaml.safe_dump(settings | {"unlabelled": [0.1, 0.5, 1.0]}), encoding="utf-8")
    for fraction, lost in ((0.1, 0.3), (0.5, 0.0)):
        _copy_row(folder, "simclr", fraction, lost)
    return folder


def write_along_study(folder: Path) -> Path:
    """A study that names two scores, of which one is never reached; one of its two learned rows was judged along training."""
    accuracy = {name: ACCURACY[name][::3] for name in ("random", "supervised", "simclr", "byol")}
    write_study(folder, Truth(accuracy=accuracy, labels=("1", "all"), draws={"1": 2}, num_test=100))
    add_along(folder, "simclr", {75: -0.3, 150: -0.1, 300: -0.02, 450: 0.0})
    with (folder / "study.yaml").open("a", encoding="utf-8") as file:
        file.write("time_to: [0.8, 0.9999]\n")
    return folder


def write_backbones_study(folder: Path) -> Path:
    """A study of one method on two backbones, judged layer by layer too."""
    accuracy = dict.fromkeys(("simclr conv4", "simclr conv2"), ACCURACY["simclr"][::3])
    truth = Truth(accuracy=accuracy, labels=("1", "all"), draws={"1": 2}, protocols=("linear", "layers"), num_test=100)
    write_study(folder, truth)
    table = pd.read_csv(folder / "results.csv", dtype=str)
    table.loc[table["entry"] == "simclr conv2", "backbone"] = "conv2"
    table.to_csv(folder / "results.csv", index=False)
    for cell in table.loc[table["protocol"] == "layers", "cell"].unique():
        path = folder / "cells" / cell / "scores.json"
        layers = {name: {"metrics": {"accuracy": score}} for name, score in (("stage1", 0.5), ("stage2", 0.8))}
        scores = json.loads(path.read_text(encoding="utf-8")) | {"details": {"layers": layers}}
        path.write_text(json.dumps(scores), encoding="utf-8")
    return folder


def write_attributes_study(folder: Path) -> Path:
    """A study whose images have three attributes each, one of them constant in the test part."""
    accuracy = {name: ACCURACY[name][::3] for name in ("majority", "random", "supervised", "simclr")}
    truth = Truth(accuracy=accuracy, labels=("1", "all"), draws={"1": 3}, num_test=100, metric="macro_auc")
    write_full_study(folder, truth)
    rng = np.random.default_rng(0)
    marks = rng.integers(0, 2, (100, 3))
    marks[:, 2] = 1
    marks[:4, 1] = -1
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    splits |= {"classes": ["hat", "<b>coat</b>", "shoes"], "test_labels": marks.tolist()}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    values = {}
    for path in sorted(folder.glob("cells/*/predictions.safetensors")):
        probabilities = np.clip(0.5 + 0.3 * (2 * marks - 1) + rng.normal(0, 0.3, marks.shape), 0, 1).astype(np.float32)
        answers = {"predictions": (probabilities > 0.5).astype(np.int64), "probabilities": probabilities}
        safetensors.numpy.save_file(answers, path)
        values[path.parent.name] = ATTRIBUTE_METRICS["macro_auc"](marks, probabilities)
    table = pd.read_csv(folder / "results.csv", dtype=str).query("metric == 'accuracy'").assign(metric="macro_auc")
    table.assign(value=table["cell"].map(values)).to_csv(folder / "results.csv", index=False)
    for path in folder.glob("cells/*/map.csv"):
        pd.read_csv(path, dtype={"id": str}).assign(label=-1).to_csv(path, index=False)
    return folder


def write_pages_study(folder: Path) -> Path:
    """A study of pages, each of two tiles, that the source divided into pages to learn from and pages to test with."""
    truth = Truth(
        accuracy={name: ACCURACY[name][::3] for name in ("random", "supervised", "simclr")},
        labels=("1", "all"),
        num_test=60,
    )
    write_full_study(folder, truth)
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    tiles = {part: [f"{name}:{tile}" for name in splits[part] for tile in range(2)] for part in ("train", "test")}
    splits |= {
        **tiles,
        "test_pages": [page for page in range(60) for _ in range(2)],
        "num_labelled": 240,
        "dictated": True,
    }
    splits["notes"] = ["one page is upside down"]
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    for path in folder.glob("cells/*/map.csv"):
        plane = pd.read_csv(path, dtype={"id": str})
        plane.assign(id=plane["id"] + ":0").to_csv(path, index=False)
    return folder


def write_hostile_study(folder: Path) -> Path:
    """A full study whose classes and one of whose rows have names that would run, were they not escaped."""
    accuracy = {name: ACCURACY[name][1::2] for name in ("supervised", "random")} | {
        HOSTILE[0]: ACCURACY["simclr"][1::2]
    }
    truth = Truth(accuracy=accuracy, labels=("4", "all"), num_test=100, num_classes=len(HOSTILE), draws={"4": 3})
    write_full_study(folder, truth)
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps(splits | {"classes": HOSTILE}), encoding="utf-8")
    return folder


def _log_supervised(folder: Path) -> None:
    """What a training on labels leaves beside its scores."""
    for path in folder.glob("cells/*/cell.json"):
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell["kind"] == "evaluate" and cell["entry"] == "supervised":
            lines = [
                {
                    "step": step,
                    "epoch": step // 10,
                    "images_seen": 64 * step,
                    "loss": 2.0 - step / 100,
                    "h_std": 0.7,
                    "h_rank": 9.0,
                }
                for step in range(0, 100, 10)
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (path.parent / "metrics.jsonl").write_text(text, encoding="utf-8")
            scores = json.loads((path.parent / "scores.json").read_text(encoding="utf-8"))
            scores["chosen"] = {"chosen_by": "fixed: the recipe"}
            scores["costs"] = {"images_seen": 6400, "images_per_second": 640.0, "trainable_parameters": 300_000}
            (path.parent / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


def _images(ids: list[str]) -> ImageSet:
    """Colour pictures of noise under these names."""
    names = np.asarray(ids)
    pixels = torch.randint(0, 256, (len(ids), 3, 20, 20), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ImageSet(name="noise", images=pixels, image_size=20, ids=names, groups=names, paths=names)


def _add_probabilities(folder: Path, num_classes: int) -> None:
    """Beside every cell's predictions the probabilities of an over-confident row."""
    rng = np.random.default_rng(0)
    for path in sorted(folder.glob("cells/*/predictions.safetensors")):
        predictions = safetensors.numpy.load_file(path)["predictions"]
        logits = rng.normal(0, 1, (len(predictions), num_classes))
        logits[np.arange(len(predictions)), predictions] = logits.max(1) + rng.exponential(2, len(predictions))
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        safetensors.numpy.save_file({"predictions": predictions, "probabilities": shares.astype(np.float32)}, path)


def _add_explanations(folder: Path) -> None:
    """What explain/ writes: for the first run of one row two analyses, and the agreement of two rows."""
    rng = np.random.default_rng(0)
    run = next(path for path in _runs(folder) if path["entry"] not in ("random",) and path["seed"] == 0)
    shown = Picture(
        pixels=rng.integers(0, 256, (40, 120, 4), dtype=np.uint8), caption="Above <the image>, below it its neighbour.",
        alternative="Four images & their neighbours.",
    )  # fmt: skip
    where = folder / "cells" / str(run["hash"]) / "explain"
    for name in ("neighbours", "a_new_analysis"):
        found = Findings(
            sentence=f"A neighbour is of the same class in 9 of 10 cases, says {name}.", pictures={"sheet": shown}
        )
        save(found, where, name, {"version": 1, "settings": {}, "about": {"entry": run["entry"]}})
    shares = np.linspace(0, 1, 9)
    curves = {
        "deletion": 1 - shares**0.5,
        "insertion": shares**0.5,
        "random_deletion": 1 - shares,
        "random_insertion": shares,
    }
    found = Findings(sentence="The map points at what matters.", table=pd.DataFrame({"share": shares, **curves}))
    save(found, where, "deletion", {"version": 1, "settings": {}, "about": {"entry": run["entry"]}})
    (folder / "explain").mkdir()
    lines = (
        "first,second,method,num_images,rmse,ssim,rank,floor_rmse,floor_ssim,floor_rank\n"
        "simclr,byol,saliency,8,0.031,0.91,0.52,0.02,0.95,0.81\nsimclr,supervised,saliency,8,0.04,0.9,0.2,,,\n"
        "simclr,simclr,saliency,8,0.02,0.95,0.81,,,\n"
    )
    (folder / "explain" / "agreement.csv").write_text(lines, encoding="utf-8")


def _runs(folder: Path) -> Iterator[dict[str, object]]:
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cells"]
    return (cell for cell in plan if cell["kind"] == "pretrain" and cell["method"] != "random")


def _copy_row(folder: Path, entry: str, fraction: float, lost: float) -> None:
    """The cells of a row once more, as pretrained on a fraction of the images; a share `lost` of its answers is wrong."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cells"]
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    truth = np.asarray(json.loads((folder / "splits.json").read_text(encoding="utf-8"))["test_labels"])
    rng, names = np.random.default_rng(1), {}
    for cell in [cell for cell in plan if cell["entry"] == entry and cell["unlabelled"] == 1.0]:
        names[cell["hash"]] = f"{cell['hash'][:-3]}{int(100 * fraction):03d}"
        target = folder / "cells" / names[cell["hash"]]
        shutil.copytree(folder / "cells" / cell["hash"], target)
        plan.append({**cell, "hash": names[cell["hash"]], "unlabelled": fraction})
        if (target / "run.json").is_file():
            card = json.loads((target / "run.json").read_text(encoding="utf-8")) | {"unlabelled": fraction}
            (target / "run.json").write_text(json.dumps(card), encoding="utf-8")
    right = {}
    for old, new in names.items():
        path = folder / "cells" / new / "predictions.safetensors"
        if path.is_file():
            predictions = safetensors.numpy.load_file(path)["predictions"]
            answers = np.where(rng.random(len(truth)) < lost, (truth + 1) % 10, predictions)
            safetensors.numpy.save_file({"predictions": answers}, path)
            right[old] = float((answers == truth).mean())
    for line in [line for line in table if line["cell"] in right and line["metric"] == "accuracy"]:
        table.append(
            {**line, "unlabelled": str(fraction), "value": str(right[line["cell"]]), "cell": names[line["cell"]]}
        )
    (folder / "plan.json").write_text(json.dumps({"cells": plan}), encoding="utf-8")
    with (folder / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
