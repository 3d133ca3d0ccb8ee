"""What a study is made of: its images, who is tested, whose labels are known, and what may be seen without labels."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from selfstudy.encoder import match_channels
from selfstudy.errors import UserError
from selfstudy.images import ImageSet, LabelDraw, Skipped, Split, SplitRecord, draw_labels, draw_unlabelled, load, split
from selfstudy.rng import Rng
from selfstudy.study.settings import Label, StudySettings


class SavedSplit(SplitRecord):
    """What splits.json holds."""

    asked_test: float
    split_seed: int
    skipped: list[dict[str, str]]  # files that could not be read, and why


@dataclass(frozen=True, eq=False)
class Material:
    """The images after every choice that does not depend on a row of the study."""

    images: ImageSet  # the labelled set, test images included
    split: Split
    pool: ImageSet  # what methods are pretrained on: no labels, no test image
    excluded: int  # images that may not be pretrained on: copies of test images, or of their groups
    rng: Rng  # decides split and draws
    others: Mapping[str, ImageSet] = field(
        default_factory=dict
    )  # what rows with `data:` of their own are pretrained on

    def draw(self, label: Label, draw: int) -> LabelDraw:
        """Whose labels are known. Raises UserError where there are fewer images than labels asked for."""
        return draw_labels(self.images, self.split, label, draw, self.rng)

    def pool_rows(self, fraction: float) -> np.ndarray:
        """The rows of the pool that a fraction stands for; a smaller one is a subset of a larger one."""
        return draw_unlabelled(self.pool, np.arange(len(self.pool)), fraction, self.rng)

    @property
    def skipped(self) -> list[Skipped]:
        """Files that could not be read."""
        return list(dict.fromkeys([*self.images.skipped, *self.pool.skipped]))

    @cached_property
    def test_content(self) -> str:
        return self.labelled_content(self.split.test_rows)

    @cached_property
    def train_content(self) -> str:
        """Of the training images without their labels."""
        return _digest([_format(self.images), self.images.ids[self.split.train_rows].tolist()])

    def labelled_content(self, rows: np.ndarray) -> str:
        """Of labelled rows, in order: pictures, labels and groups, wherever they lie and whatever else there is."""
        assert self.images.labels is not None
        labels = self.images.labels[torch.from_numpy(rows)].tolist()
        return _digest([
            _format(self.images), self.images.ids[rows].tolist(), labels, self.images.groups[rows].tolist(), self.images.classes,
        ])  # fmt: skip

    def pool_content(self, rows: np.ndarray) -> str:
        """Of rows of the pool, in order: pictures alone."""
        return _digest([_format(self.pool), self.pool.ids[rows].tolist()])

    def other_content(self, source: str) -> str:
        """Of all images of another source."""
        return _digest([_format(self.others[source]), self.others[source].ids.tolist()])


def gather(settings: StudySettings, earlier: SavedSplit | None) -> Material:
    """Load the images and divide them. `earlier` is the study's splits.json, if there is one: nobody changes sides."""
    rng = Rng.from_seed(settings.split_seed)
    unlabelled_source, labelled_source = _sources(settings)
    images = _load(settings, labelled_source, labelled=True)
    test = settings.test if settings.test < 1 else int(settings.test)
    if earlier and (earlier.get("asked_test"), earlier.get("split_seed")) != (settings.test, settings.split_seed):
        earlier = None  # another division was asked for
    parts = split(images, test=test, rng=rng, earlier=earlier)
    if unlabelled_source is None:
        pool = images.select(parts.train_rows)
        excluded = len(images) - len(pool) - len(parts.test_rows)
    else:
        everything = _load(settings, unlabelled_source, labelled=False)
        pool = everything.select(_apart_from_test(everything, images, parts))
        excluded = len(everything) - len(pool)
        if not len(pool):
            raise UserError(
                f"all images of {everything.name} are test images of {images.name}, so nothing is left to pretrain on"
            )
    channels = max(images.channels, pool.channels)
    images = replace(images, images=match_channels(images.images, channels))
    pool = replace(pool, images=match_channels(pool.images, channels), labels=None, classes=(), parts=None)
    others = {}
    for entry in settings.entries:
        if name := own_source(entry.overrides):
            found = _load(settings, entry.overrides["data"], labelled=False)
            found = found.select(_apart_from_test(found, images, parts))
            others[name] = replace(found, images=match_channels(found.images, channels))
    return Material(images, parts, pool, excluded, rng, others)


def own_source(overrides: Mapping[str, object]) -> str:
    """The key of `Material.others` for a row with `data:` of its own, such as noise:4000; "" for all other rows."""
    return json.dumps(overrides["data"], sort_keys=True) if "data" in overrides else ""


def saved_split(material: Material, settings: StudySettings) -> SavedSplit:
    """The split by ids, what was asked for, and what could not be used."""
    return {
        **material.split.to_json(material.images),
        "asked_test": settings.test,
        "split_seed": settings.split_seed,
        "skipped": [asdict(skipped) for skipped in material.skipped],
    }


def decide_metric(settings: StudySettings, material: Material) -> StudySettings:
    """The settings with a metric named: macro F1 where one class has more than twice the images of another."""
    if settings.metric != "by_balance":
        return settings
    assert material.images.labels is not None
    labelled = material.images.labels[material.images.labels >= 0]
    counts = torch.bincount(labelled, minlength=len(material.images.classes))
    return replace(settings, metric="macro_f1" if int(counts.max()) > 2 * int(counts.min()) else "accuracy")


def _sources(settings: StudySettings) -> tuple[object | None, object]:
    """The unlabelled source, None where the labelled one serves for both, and the labelled one."""
    data = settings.data
    if not isinstance(data, Mapping) or not ({"labelled", "unlabelled"} & set(data)):
        return None, data
    for key in data:
        if key not in ("labelled", "unlabelled"):
            raise UserError(
                f'data: there is no setting "{key}" beside labelled and unlabelled; put it inside one of them'
            )
    if "labelled" not in data:
        raise UserError("data names no labelled images: a study needs some to evaluate with (`labelled: ...`)")
    return data.get("unlabelled"), data["labelled"]


def _load(settings: StudySettings, source: object, *, labelled: bool) -> ImageSet:
    return load(
        source,  # type: ignore[arg-type]
        image_size=settings.image_size,
        labelled=labelled,
        fit=settings.fit,
        most_unreadable=settings.most_unreadable,
    )


def _apart_from_test(everything: ImageSet, images: ImageSet, split: Split) -> np.ndarray:
    """Positions of the images that are no test image's copy and of no test image's group, in either source's grouping."""
    test_content = {_content(name) for name in images.ids[split.test_rows].tolist()}
    groups = everything.groups.tolist()
    copied = {
        group for group, name in zip(groups, everything.ids.tolist(), strict=True) if _content(name) in test_content
    }
    taken = copied | set(images.groups[split.test_rows].tolist())
    return np.flatnonzero([group not in taken for group in groups])


def _content(name: str) -> str:
    """An id without the number that tells equal pictures apart."""
    return name.partition("-")[0]


def _format(images: ImageSet) -> Sequence[object]:
    """How pictures became arrays, as far as their ids do not say it."""
    return [list(images.images.shape[1:]), images.image_size, images.fit]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
