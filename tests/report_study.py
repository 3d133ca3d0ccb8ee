"""A small synthetic study with everything a report can show: maps, sheets of views, trained baselines, skipped files."""

import json
from pathlib import Path

import torch

from selfstudy.explain.map import embedding_map
from selfstudy.views import draw_sheet
from tests.synthetic_study import ACCURACY, Truth, write_study

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
    return folder


def write_hostile_study(folder: Path) -> Path:
    """A full study whose classes and one of whose rows have names that would run, were they not escaped."""
    accuracy = {name: ACCURACY[name] for name in ("supervised", "random")} | {HOSTILE[0]: ACCURACY["simclr"]}
    write_full_study(folder, Truth(accuracy=accuracy, num_test=100, num_classes=len(HOSTILE)))
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
