"""The tables of benchmarks.methods and benchmarks.methods_longer, and the numbers of `selfstudy list methods`, from the CSV files."""

import csv
from pathlib import Path

import pandas as pd

from benchmarks.machine import describe
from selfstudy import catalog, config
from selfstudy.listing import MEASURED
from selfstudy.method import Method
from tests.learns.gates import file_of

HERE = Path(__file__).parent
RUNS, SCORES, LONGER = HERE / "methods.csv", HERE / "methods-scores.csv", HERE / "methods-longer.csv"
TABLE = HERE / "methods.md"
DRAWS = {1: 5, 10: 3}  # of the labels, by labels per class
ANGLES = {  # rows of rotation with other angles than its default, 0, 90, 180, 270
    "rotation 0,180": (0, 180), "rotation 90,270": (90, 270), "rotation 8": (0, 45, 90, 135, 180, 225, 270, 315),
}  # fmt: skip
JOINT_EMBEDDING = (  # or clustering: these are expected to be level with SimCLR
    "moco", "mocov3", "dcl", "nnclr", "byol", "simsiam", "barlow", "vicreg", "dino", "lejepa", "swav", "sela", "deepcluster",
)  # fmt: skip
BEHIND = 2.0  # points below SimCLR from which methods-notes.yaml has to say why
TEACHER = (
    "The teacher of **distill** is no published one, since none could be fetched: timm's test_resnet, trained beforehand by SimCLR on the "
    "same 4,000 digits, as long as any row here (benchmarks/distill_teacher.py). Its seconds are without the teacher's training."
)
PAPER = {  # Gidaris et al. 2018, arXiv:1803.07728, §3.1: CIFAR-10
    "rotation": 89.06, "rotation 8": 88.51, "rotation 0,180": 87.46, "rotation 90,270": 85.52,
}  # fmt: skip


def method_of(row: str) -> str:
    return "rotation" if row in ANGLES else row


def version_of(row: str) -> int:
    method = method_of(row)
    return catalog.find("methods", method, Method).version if method in catalog.names("methods") else 1


def hash_of(row: str) -> str:
    """Of the method's file; "-" for what has none."""
    return file_of(method_of(row)) if method_of(row) in catalog.names("methods") else "-"


def append(path: Path, rows: list[dict[str, object]]) -> None:
    new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def write_tables() -> None:
    runs = pd.read_csv(RUNS, dtype={"file": str}, keep_default_na=False)
    scores = pd.read_csv(SCORES)
    per_seed = scores.groupby(["method", "seed", "protocol", "labels"])["accuracy"].mean()
    mean, spread = (per_seed.groupby(["method", "protocol", "labels"]).agg(how) for how in ("mean", "std"))
    cost = runs.groupby("method").agg(
        seconds=("seconds", "median"), memory=("peak_memory_mb", "max"), backbone=("backbone", "first"),
    )  # fmt: skip
    notes = config.read_yaml(HERE / "methods-notes.yaml")
    lines = [
        *_all(scores, mean, spread, cost), "", *_rotation(mean, spread), "", *_longer(scores),
        "", "## Why some are behind", "", *(f"- **{name}**: {note}" for name, note in notes.items()),
    ]  # fmt: skip
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    MEASURED.unlink(missing_ok=True)
    append(MEASURED, [
        {
            "method": name, "linear": f"{mean[name, 'linear', 10]:.3f}", "linear_sd": f"{spread[name, 'linear', 10]:.3f}",
            "knn": f"{mean[name, 'knn', 10]:.3f}", "seconds": f"{cost.seconds[name]:.0f}", "version": str(version_of(name)),
        }
        for name in catalog.names("methods") if name in cost.index
    ])  # fmt: skip
    behind = [
        name for name in JOINT_EMBEDDING
        if name not in notes and min(_difference(scores, name, labels).mean() for labels in DRAWS) < -BEHIND / 100
    ]  # fmt: skip
    print(f"{BEHIND:g} points or more behind SimCLR and without a note: {', '.join(behind) or 'none'}")


def _all(scores: pd.DataFrame, mean: pd.Series, spread: pd.Series, cost: pd.DataFrame) -> list[str]:
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
    for name in mean.xs(("linear", 10), level=("protocol", "labels")).sort_values(ascending=False).index:
        if name in ANGLES:
            continue
        cells = [_points(mean, spread, name, p, n) for p, n in (("linear", 1), ("linear", 10), ("knn", 10))]
        paired = [_against(scores, name, labels) for labels in DRAWS]
        lines.append(
            f"| {' | '.join([name, cost.backbone[name], *cells, *paired, f'{cost.seconds[name]:.0f}', str(cost.memory[name])])} |"
        )
    lines += ["", _left_out(list(cost.index)), "", TEACHER]
    return lines


def _left_out(measured: list[str]) -> str:
    """Why a method has no row, with what its gate found elsewhere."""
    gains = (
        pd.read_csv(HERE.parent / "tests" / "learns" / "gains.csv").groupby("method")[["untrained", "trained"]].mean()
    )
    said = {
        "colorization": "has no row, since digits have no colours; on the shapes of its gate, of which its encoder sees the lightness,",
    }
    return " ".join(
        f"**{name}** {why} (tests/learns, ten labels, three seeds) it goes from {100 * gains.untrained[name]:.1f} points untrained to "
        f"{100 * gains.trained[name]:.1f}."
        for name, why in said.items() if name not in measured
    )  # fmt: skip


def _rotation(mean: pd.Series, spread: pd.Series) -> list[str]:
    """Sets of angles in the order that was found, beside the paper's numbers; nothing if they were not measured."""
    found = [name for name in PAPER if (name, "linear", 10) in mean.index]
    found.sort(key=lambda name: -mean[name, "linear", 10])
    lines = [
        "## Rotation: sets of angles", "",
        "The same budget and seeds as above, in the order found here. Beside them the paper's accuracy on CIFAR-10 (arXiv:1803.07728, "
        "§3.1), whose order is 4, 8, then 2 angles.", "",
        "| angles | linear, 1 label | linear, 10 labels | paper, CIFAR-10 |", "|---|---|---|---|",
    ]  # fmt: skip
    for name in found:
        angles = ", ".join(str(angle) for angle in ANGLES.get(name, (0, 90, 180, 270)))
        lines.append(
            f"| {angles} | {_points(mean, spread, name, 'linear', 1)} | {_points(mean, spread, name, 'linear', 10)} | {PAPER[name]} |"
        )
    return lines


def _longer(scores: pd.DataFrame) -> list[str]:
    rows = pd.read_csv(LONGER, dtype={"file": str}, keep_default_na=False)
    base = rows[rows["method"] == "simclr"].iloc[0]
    lines = [
        "## Four times the images", "",
        f"Written by `python -m benchmarks.methods_longer`: {base.images_seen:,} images seen, one seed; what is changed is named. Linear "
        "accuracy in points; its distance to SimCLR in the first table, and here.", "",
        "| method | changed | 1 label | against SimCLR, then and now | 10 labels | against SimCLR, then and now | health |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows.sort_values("ten_labels", ascending=False).itertuples():
        cells = []
        for labels, accuracy, best in ((1, row.one_label, base.one_label), (10, row.ten_labels, base.ten_labels)):
            then = "" if row.changed else f"{100 * _difference(scores, row.method, labels).mean():+.1f} → "
            distance = "" if row.method == "simclr" else f"{then}{100 * (accuracy - best):+.1f}"
            cells += [f"{100 * accuracy:.1f}", distance]
        lines.append(f"| {' | '.join([row.method, row.changed, *cells, row.health])} |")
    return lines


def _points(mean: pd.Series, spread: pd.Series, name: str, protocol: str, labels: int) -> str:
    return f"{100 * mean[name, protocol, labels]:.1f} ± {100 * spread[name, protocol, labels]:.1f}"


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
