"""Short trainings that show whether a method learns, and what they gained when they were last measured.

gates.yaml says how each method is trained here; gains.csv holds what three seeds gained, with the version and the file of
the method that gained it. `make learns` writes gains.csv; nothing in it is typed by hand.
"""

import ast
import csv
import datetime
import hashlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch

from selfstudy import catalog, config
from selfstudy.encoder import Encoder
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.images import ImageSet, draw_labels, feed_for, load, split
from selfstudy.method import Method
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import RunSettings, pretrain, resolve
from selfstudy.training.pretrain import build_method

HERE = Path(__file__).parent
CPU = torch.device("cpu")
SEEDS = (0, 1, 2)
PIXELS = 28  # a side of the images, but where gates.yaml says otherwise
FIFTHS = 5  # days until every method had its turn
SHARE = 1 / 3  # of the smallest gain of the seeds: a method that stopped learning fails, one with bad luck does not


@dataclass(frozen=True)
class Gain:
    """What one training gained: accuracy of a linear probe with ten labels per class, before and after."""

    method: str
    version: int
    file: str  # of the method, the first digits of its hash
    seed: int
    untrained: float
    trained: float
    seconds: float  # of the training, on the machine that wrote the table

    @property
    def gained(self) -> float:
        return self.trained - self.untrained


@cache
def recorded() -> tuple[Gain, ...]:
    kinds = {"str": str, "int": int, "float": float}
    with (HERE / "gains.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Gain(**{f.name: kinds[getattr(f.type, "__name__", str(f.type))](row[f.name]) for f in fields(Gain)})
        for row in rows
    )


def record(gains: list[Gain]) -> None:
    with (HERE / "gains.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Gain)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(gain).items()} for gain in gains
        )


def margin(method: str) -> float:
    return SHARE * min(gain.gained for gain in recorded() if gain.method == method)


def is_due(method: str) -> bool:
    """Whether its file changed since the table was written, or today is its day: a fifth of the methods each day."""
    changed = all(gain.file != file_of(method) for gain in recorded() if gain.method == method)
    return changed or (catalog.names("methods").index(method) + datetime.date.today().toordinal()) % FIFTHS == 0


def file_of(method: str) -> str:
    """The first digits of the hash of a method's file, without its words: comments, docstrings, sources of recipes."""
    path = Path(catalog.__file__).parent / "methods" / f"{method}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        elif isinstance(node, ast.keyword) and node.arg == "source":
            node.value = ast.Constant("")
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@cache
def settings_of(method: str) -> Mapping[str, object]:
    """How a method is trained on few digits, by gates, twins and benchmarks."""
    content = config.read_yaml(HERE / "gates.yaml")
    shared, own = content["shared"], content["methods"]
    assert isinstance(shared, Mapping) and isinstance(own, Mapping)
    merged = {**shared, **(own[method] or {})}
    if merged.get("method.weights") == "random":
        merged["method.weights"] = str(random_teacher(str(merged["method.teacher"])))
    return {key: value for key, value in merged.items() if value != "its own" and key != "data"}


def gate_of(method: str) -> Mapping[str, object]:
    """The same in seconds: on the smaller of the CPU encoders, but where a method needs one of its own. `image_size` is the digits'."""
    settings = settings_of(method)
    own = config.read_yaml(HERE / "gates.yaml")["gates"]
    assert isinstance(own, Mapping)
    backbone = "conv3" if settings["backbone"] == "conv4" else settings["backbone"]
    return {**settings, "backbone": backbone, "image_size": PIXELS, **own.get(method, {})}


@cache
def random_teacher(name: str) -> Path:
    """A file of a timm model's weights: none can be fetched, and features of a random network can be learned too."""
    torch.manual_seed(0)
    path = Path(tempfile.mkdtemp()) / "model.safetensors"
    safetensors.torch.save_file(timm.create_model(name).state_dict(), path)
    return path


def pictures_of(method: str, image_size: int = PIXELS) -> ImageSet:
    """The data of a method's gate and of its twin; digits come in the size asked for."""
    entry = config.read_yaml(HERE / "gates.yaml")["methods"]
    assert isinstance(entry, Mapping)
    return shapes() if (entry[method] or {}).get("data") == "shapes" else pictures(image_size)


@cache
def shapes() -> ImageSet:
    """1,500 coloured shapes of six kinds on dark ground, 28 px: the kind decides the colour, all are about equally light."""
    count, size, generator = 1500, 28, torch.Generator().manual_seed(0)
    kind = torch.arange(count) % 6
    down, right = torch.randint(9, size - 9, (2, count, 1, 1), generator=generator)
    radius = torch.randint(5, 8, (count, 1, 1), generator=generator)
    y, x = (torch.arange(size)[:, None] - down).abs(), (torch.arange(size) - right).abs()
    far, near, round_ = torch.maximum(x, y), torch.minimum(x, y), (x**2 + y**2) ** 0.5
    masks = torch.stack([
        round_ <= radius, far <= radius, (near <= 1) & (far <= radius), x + y <= radius + 1, (far <= radius) & (far >= radius - 2),
        (round_ <= radius) & (round_ >= radius - 2),
    ])  # fmt: skip
    colours = torch.tensor([
        [0.85, 0.3, 0.3], [0.2, 0.58, 0.25], [0.35, 0.45, 0.95], [0.6, 0.48, 0.1], [0.7, 0.3, 0.75], [0.1, 0.55, 0.6],
    ])  # fmt: skip
    images = torch.where(masks[kind, torch.arange(count)][:, None], colours[kind][:, :, None, None], 0.12)
    images = images + 0.3 * torch.randn(
        count, 1, size, size, generator=generator
    )  # grey noise: of light, not of colour
    names = np.array([f"shape{number}" for number in range(count)])
    return ImageSet(
        name="shapes", images=(images.clamp(0, 1) * 255).round().to(torch.uint8), image_size=size, ids=names, groups=names, paths=names,
        labels=kind, classes=("disc", "square", "cross", "diamond", "frame", "ring"),
    )  # fmt: skip


@cache
def pictures(image_size: int) -> ImageSet:
    """1,500 digits of MNIST, as many of each class."""
    digits = load("mnist5k", image_size=image_size, labelled=True)
    parts = split(digits, test=1000, rng=Rng.from_seed(0))
    return digits.select(draw_labels(digits, parts, 150, 0, Rng.from_seed(0)).rows)


def measure(method: str, seed: int) -> Gain:
    """Train as the gate says; fails if the run collapses."""
    gate = dict(gate_of(method))
    image_size = gate.pop("image_size")
    assert isinstance(image_size, int)
    images = pictures_of(method, image_size)
    settings = resolve(method, {**gate, "seed": seed}, images.card, "gate")
    before = untrained(settings, images)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(settings, images, Path(folder) / "run", progress=Progress(quiet=True), device=CPU)
        seconds = time.perf_counter() - started
    assert run.card["status"] == "done", run.card["health"]["message"]
    accuracies = [accuracy(images, features(encoder, images, CPU, 512)) for encoder in (before, run.encoder)]
    kind = catalog.find("methods", method, Method)
    return Gain(method, kind.version, file_of(method), seed, accuracies[0], accuracies[1], seconds)


def untrained(settings: RunSettings, images: ImageSet) -> Encoder:
    """The encoder that a run begins with, not that of the row `random`, whose eyes may be others.

    Fed and pooled like the trained one: what colours, the other half of an image or the mean of patches are worth by
    themselves is neither gained nor lost by training.
    """
    backbone, feed = build_method(settings, images, Rng.from_seed(settings.seed)).encoder()
    return Encoder(backbone, feed_for(feed, images), {})


def accuracy(images: ImageSet, values: torch.Tensor) -> float:
    """Of a linear probe with ten labels per class, the mean of five draws."""
    rng = Rng.from_seed(5)
    parts = split(images, test=500, rng=rng)
    kind = catalog.find("evaluation", "linear", Protocol)
    found = []
    for draw in range(5):
        task = Task(
            images=images, train_rows=torch.from_numpy(draw_labels(images, parts, 10, draw, rng).rows), encoder=None, features=values,
            test_rows=torch.from_numpy(parts.test_rows), pool_rows=torch.from_numpy(parts.train_rows),
        )  # fmt: skip
        found.append(kind(config.validate(kind.Config, {"C": [0.1]}, "gate")).run(task, rng).metrics["accuracy"])
    return float(np.mean(found))


@dataclass(frozen=True)
class Twin:
    """A method broken on purpose, and the settings it is trained with."""

    name: str
    method: str  # a name, or the path of a file
    settings: Mapping[str, object]


@cache
def twins() -> tuple[Twin, ...]:
    found = []
    for name, entry in config.read_yaml(HERE / "twins.yaml").items():
        assert isinstance(entry, Mapping)
        method = str(HERE / "broken" / str(entry["file"])) if "file" in entry else name
        own = {key: value for key, value in entry.items() if key not in ("file", "why")}
        found.append(Twin(name, method, {**settings_of(name), **own}))
    return tuple(found)


def health_of(twin: Twin) -> Mapping[str, object]:
    """How a twin's run ends."""
    images = pictures_of(twin.name)
    settings = resolve(twin.method, {**twin.settings, "seed": 0}, images.card, "twin")
    with tempfile.TemporaryDirectory() as folder:
        return pretrain(settings, images, Path(folder) / "run", progress=Progress(quiet=True), device=CPU).card[
            "health"
        ]
