"""A look before any training: the images as they were understood, and what each method would be shown of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from selfstudy.images import ImageSet
from selfstudy.rng import Rng
from selfstudy.study._study import Study
from selfstudy.study.estimate import announcements
from selfstudy.study.plan import Cell
from selfstudy.training import Data, RunSettings
from selfstudy.training.pretrain import build_method, hold_out, sample_views
from selfstudy.views import draw_sheet


@dataclass(frozen=True)
class Sheet:
    """What one row would be shown at its first step."""

    row: str
    path: Path  # PNG: originals above, views below
    chains: str  # the operations of every slot, as YAML


@dataclass(frozen=True)
class Preview:
    """All that can be seen of a study before it is run."""

    name: str
    question: str
    facts: tuple[str, ...]
    classes: tuple[tuple[str, int, int], ...]  # name, images to learn from, images to test with
    sheets: tuple[Sheet, ...]


def preview(study: Study, folder: Path) -> Preview:
    """Write a sheet of views for every row that is pretrained here. Nothing is trained, and no weights are fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, Cell] = {}
    for cell in study.cells:
        if isinstance(cell.work, RunSettings):
            first.setdefault(cell.entry, cell)
    material = study.bench.material
    sheets = []
    for number, cell in enumerate(first.values(), start=1):
        images = material.others[cell.source] if cell.source else study.bench.pool(cell.unlabelled)
        assert isinstance(cell.work, RunSettings)
        sheets.append(_sheet(cell.entry, cell.work, images, folder / f"views-{number}.png"))
    return Preview(
        name=study.settings.name,
        question=study.settings.question,
        facts=tuple(announcements(study.settings, material)),
        classes=_classes(study),
        sheets=tuple(sheets),
    )


def _sheet(row: str, settings: RunSettings, images: ImageSet, path: Path) -> Sheet:
    rng = Rng.from_seed(settings.seed)
    settings = replace(settings, init="")
    trained, _ = hold_out(replace(images, labels=None), settings, rng)
    method, chains = build_method(settings, trained, rng), settings.chains()
    draw_sheet(*sample_views(method, Data(trained, chains, rng)), path)
    described = {slot: chain.to_json() for slot, chain in chains.items()}
    return Sheet(row, path, yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=100))


def _classes(study: Study) -> tuple[tuple[str, int, int], ...]:
    """Every class or attribute with its numbers of images in both parts."""
    material = study.bench.material
    images, parts = material.images, material.split
    assert images.labels is not None
    labels = images.labels.numpy()

    def count(rows: np.ndarray) -> Sequence[int]:
        if images.multi_label:
            return (labels[rows] == 1).sum(0).tolist()
        found = Counter(labels[rows].tolist())
        return [found[number] for number in range(len(images.classes))]

    return tuple(zip(images.classes, count(parts.train_rows), count(parts.test_rows), strict=True))
