"""What a study is made of: its images, who is tested, whose labels are known, and what may be seen without labels."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from selfstudy.errors import UserError
from selfstudy.evaluation import Pages
from selfstudy.images import (
    FOLDS_OF_A_ROUND,
    ImageSet,
    LabelDraw,
    Skipped,
    Split,
    SplitRecord,
    draw_labels,
    draw_unlabelled,
    have_twins,
    labels_of,
    load,
    rounds,
    split,
    tested_in_turn,
    too_few_to_test,
)
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study._cross_validation import Rounds
from selfstudy.study.settings import Label, StudySettings

NOT_IN_TURN = (
    "test images are few, but they cannot be tested in turn: in one fold or more every attribute has one value only, so that "
    "nothing could be measured there"
)


class SavedSplit(SplitRecord):
    """What splits.json holds. Where rows are tiles, `test_labels` and `test_groups` are those of the pages."""

    test_pages: list[int]  # beside `test`: the place of its page in `test_labels`; [] where no row is a tile
    num_labelled: int  # pictures, which are pages where rows are tiles, that labels may be drawn from
    dictated: bool  # whether the source says which images are tested
    asked_test: float
    split_seed: int
    skipped: list[dict[str, str]]  # files that could not be read, and why
    excluded: list[str]  # images that were kept from pretraining: of test images' groups, or near-duplicates of them
    fold_size: int  # images of a published draw of labels; 0 where there are none
    rounds: list[
        list[int]
    ]  # of cross-validation: the fold of each picture beside `test_labels`; [] where there is one test part
    notes: list[str]  # what whoever reads the results should know of the images


@dataclass(frozen=True, eq=False)
class Material:
    """The images after every choice that does not depend on a row of the study."""

    images: ImageSet  # the labelled set, test images included
    split: Split
    pool: ImageSet  # what methods are pretrained on: no labels, no test image
    excluded: Sequence[
        str
    ]  # paths of images that may not be pretrained on: near-duplicates of test images, or of their groups
    rng: Rng  # decides split and draws
    others: Mapping[str, ImageSet] = field(
        default_factory=dict
    )  # what rows with `data:` of their own are pretrained on

    rounds: Rounds | None = None  # of cross-validation, where one test part would be too small
    remark: str = ""  # on how images are tested

    def parts(self, draw: int) -> Sequence[Split]:
        """The splits that a draw of labels is tested by: one, or the folds of its round."""
        if self.rounds is None:
            return [self.split]
        return [self.rounds.part(draw, fold) for fold in range(self.rounds.num_folds)]

    def draw(self, label: Label, draw: int, part: Split | None = None) -> LabelDraw:
        """Whose labels are known, of all or of a part. Raises UserError where there are fewer images than labels asked for."""
        return draw_labels(self.images, part or self.split, label, draw, self.rng)

    def most(self, labels: Sequence[Label]) -> Label:
        """The label count that knows the most labels."""
        return max(labels, key=lambda label: len(self.draw(label, 0).rows))

    def drawn_content(self, label: Label, draw: int) -> str:
        """Of the labelled rows of a draw; in cross-validation of those of every fold, and of who is tested in which."""
        contents = [self.labelled_content(self.draw(label, draw, part).rows) for part in self.parts(draw)]
        tested = [self.images.ids[part.test_rows].tolist() for part in self.parts(draw)]
        return contents[0] if self.rounds is None else _digest([contents, tested])

    def pool_rows(self, fraction: float) -> np.ndarray:
        """The rows of the pool that a fraction stands for; a smaller one is a subset of a larger one."""
        return draw_unlabelled(self.pool, np.arange(len(self.pool)), fraction, self.rng)

    @property
    def skipped(self) -> list[Skipped]:
        """Files that could not be read."""
        return list(dict.fromkeys([*self.images.skipped, *self.pool.skipped]))

    @property
    def notes(self) -> list[str]:
        """What whoever reads the results should know of the images."""
        return list(dict.fromkeys([*self.images.notes, *self.pool.notes, *([self.remark] if self.remark else [])]))

    @cached_property
    def test_content(self) -> str:
        return self.labelled_content(self.split.test_rows)

    @cached_property
    def train_content(self) -> str:
        """Of the training images without their labels."""
        return _digest([self.images.format, self.images.ids[self.split.train_rows].tolist()])

    def pages(self, rows: np.ndarray) -> Pages:
        """The pictures that labelled rows show: themselves, or the pages that they were cut from."""
        return Pages.of(self.images, torch.from_numpy(rows))

    def labelled_content(self, rows: np.ndarray) -> str:
        """Of labelled rows, in order: pictures, labels and groups, wherever they lie and whatever else there is."""
        assert self.images.labels is not None
        labels = self.images.labels[torch.from_numpy(rows)].tolist()
        return _digest([
            self.images.format, self.images.ids[rows].tolist(), labels, self.images.groups[rows].tolist(), self.images.classes,
        ])  # fmt: skip

    def pool_content(self, rows: np.ndarray) -> str:
        """Of rows of the pool, in order: pictures alone."""
        return _digest([self.pool.format, self.pool.ids[rows].tolist()])

    def other_content(self, source: str) -> str:
        """Of all images of another source."""
        return _digest([self.others[source].format, self.others[source].ids.tolist()])


def gather(settings: StudySettings, earlier: SavedSplit | None, progress: Progress | None = None) -> Material:
    """Load the images and divide them. `earlier` is the study's splits.json, if there is one: nobody changes sides."""
    progress = progress or Progress(quiet=True)
    rng = Rng.from_seed(settings.split_seed)
    unlabelled_source, labelled_source = _sources(settings)
    images = _load(settings, labelled_source, progress, labelled=True)
    test = settings.test if settings.test < 1 else int(settings.test)
    if earlier and (earlier.get("asked_test"), earlier.get("split_seed")) != (settings.test, settings.split_seed):
        earlier = None  # another division was asked for
    in_rounds = bool(earlier and earlier.get("rounds"))  # then every labelled image stands in both parts
    parts = split(images, test=test, rng=rng, earlier=None if in_rounds else earlier)
    everything = images if unlabelled_source is None else _load(settings, unlabelled_source, progress, labelled=False)
    in_turn, remark = _in_turn(settings, images, parts, None if unlabelled_source is None else everything)
    dealt = None
    if in_turn:
        whole = tested_in_turn(images, earlier)
        num_rounds = max(settings.num_draws(label) for label in settings.labels)
        folds = rounds(images, whole.test_rows, num_rounds, rng.fork("rounds"))
        dealt = Rounds(images, whole.test_rows, whole.arrivals, folds)
        remark = "; ".join(filter(None, (remark, dealt.remark)))
        if dealt.can_be_scored:
            parts = whole
        else:
            dealt, remark = None, NOT_IN_TURN
    apart = (
        np.ones(len(everything), dtype=bool) if settings.transductive else _apart_from_test(everything, images, parts)
    )
    pool = everything.select(np.flatnonzero(apart))
    if not len(pool):
        raise UserError(
            f"all images of {everything.name} are test images of {images.name}, so nothing is left to pretrain on"
        )
    if unlabelled_source is None:
        apart[parts.test_rows] = True  # the test images themselves are where they belong
    channels = max(images.channels, pool.channels)
    others = {}
    for entry in settings.entries:
        if name := own_source(entry.overrides):
            found = _load(settings, entry.overrides["data"], progress, labelled=False)
            rows = np.flatnonzero(_apart_from_test(found, images, parts))
            others[name] = found.select(rows).with_channels(channels)
    images = images.with_channels(channels)
    return Material(
        images=images,
        split=parts,
        pool=replace(pool.with_channels(channels), labels=None, classes=(), parts=None),
        excluded=everything.paths[~apart].tolist(),
        rng=rng,
        others=others,
        rounds=None if dealt is None else replace(dealt, images=images),
        remark=remark,
    )


def _in_turn(settings: StudySettings, images: ImageSet, parts: Split, everything: ImageSet | None) -> tuple[bool, str]:
    """Whether every labelled image is tested in its turn, by cross-validation; and a sentence on it, if there is one to say.

    One encoder serves all folds, so pretraining must do without the labelled images, or may see the test images.
    """
    labels = labels_of(images)
    groups = images.groups[parts.test_rows]
    if images.parts is not None or not too_few_to_test(labels[parts.test_rows], groups):
        return False, ""
    few = f"{len(np.unique(groups))} test images, or groups of them, are few"
    if not settings.transductive:
        if everything is None:
            return (
                False,
                f"{few}: with a folder of unlabelled images (data.unlabelled), all labelled ones could be tested in turn",
            )
        apart = _apart_from_test(everything, images, tested_in_turn(images))
        if 2 * int(apart.sum()) < len(everything):
            return (
                False,
                f"{few}: most unlabelled images are labelled ones too, so that they cannot all be tested in turn",
            )
    return (
        True,
        f"{few}, so every labelled image is tested in its turn: {FOLDS_OF_A_ROUND} folds for each draw of the labels",
    )


def own_source(overrides: Mapping[str, object]) -> str:
    """The key of `Material.others` for a row with `data:` of its own, such as noise:4000; "" for all other rows."""
    return json.dumps(overrides["data"], sort_keys=True) if "data" in overrides else ""


def saved_split(material: Material, settings: StudySettings) -> SavedSplit:
    """The split by ids, what was asked for, and what could not be used."""
    split, images = material.split.to_json(material.images), material.images
    pages = material.pages(material.split.test_rows)
    for name in ("test_labels", "test_groups"):  # of a page those of its first tile
        split[name] = [split[name][place] for place in pages.first.tolist()]
    return {
        **split,
        "test_pages": [] if images.pages is None else pages.page.tolist(),
        "num_labelled": len(material.pages(material.split.train_rows[material.split.arrivals >= 0])),
        "dictated": images.parts is not None,
        "asked_test": settings.test,
        "split_seed": settings.split_seed,
        "skipped": [asdict(skipped) for skipped in material.skipped],
        "excluded": list(material.excluded),
        "fold_size": len(material.images.folds[0]) if material.images.folds else 0,
        "rounds": material.rounds.folds[:, material.rounds.tested].tolist() if material.rounds else [],
        "notes": material.notes,
    }


def decide_metric(settings: StudySettings, material: Material) -> StudySettings:
    """The settings with a metric named: macro F1 where one class has more than twice the images of another."""
    if settings.metric != "by_balance":
        return settings
    assert material.images.labels is not None
    if material.images.multi_label:
        return replace(settings, metric="macro_auc")
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


def _load(settings: StudySettings, source: object, progress: Progress, *, labelled: bool) -> ImageSet:
    return load(
        source,  # type: ignore[arg-type]
        labelled=labelled,
        progress=progress,
        image_size=settings.image_size,
        fit=settings.fit,
        tiles=settings.tiles,
        channels=settings.channels,
        levels=settings.levels,
        near_duplicates=settings.near_duplicates,
        most_unreadable=settings.most_unreadable,
    )


def _apart_from_test(everything: ImageSet, images: ImageSet, split: Split) -> np.ndarray:
    """Bool [N]: the images that are no copy of a test image, nor near-duplicate, nor of its group in either grouping."""
    test_content = {_content(name) for name in images.ids[split.test_rows].tolist()}
    groups, ids = everything.groups.tolist(), everything.ids.tolist()
    alike = np.array([_content(name) in test_content for name in ids])
    if everything is not images and everything.looks is not None and images.looks is not None:
        test = images.select(split.test_rows)
        assert test.looks is not None
        alike |= have_twins(everything.looks, everything.images, test.looks, test.images)
    taken = {group for group, copied in zip(groups, alike.tolist(), strict=True) if copied}
    taken |= set(images.groups[split.test_rows].tolist())
    apart = np.array([group not in taken for group in groups])
    return apart if everything.parts is None else apart & (everything.parts != "test")


def _content(name: str) -> str:
    """An id without the numbers that tell tiles and equal pictures apart."""
    return name.partition("-")[0].partition(":")[0]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
