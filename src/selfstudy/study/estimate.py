"""What a study will cost, from a few real steps of every row, and how small a difference it will be able to find."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from selfstudy import catalog
from selfstudy.backbones.timm import changed_for_small_images
from selfstudy.encoder import Encoder
from selfstudy.errors import MissingWeights, RunError
from selfstudy.evaluation import NUM_FOLDS, Protocol, Task, TrainingSettings, features, folds
from selfstudy.images import left_out
from selfstudy.progress import duration
from selfstudy.rng import Rng
from selfstudy.study._classes import supports
from selfstudy.study._power import effective_groups, smallest_detectable_difference
from selfstudy.study.cell import FEATURE_BATCH, Bench, Outcome
from selfstudy.study.material import Material
from selfstudy.study.plan import PRETRAINED, Cell, Evaluation, Published, Untrained, default_stem
from selfstudy.study.rates import describe_budget
from selfstudy.study.settings import BASELINES, Label, StudySettings
from selfstudy.training import RunSettings, measure_seconds_per_step
from selfstudy.training.memory import hand_back
from selfstudy.training.pretrain import ENOUGH_SECONDS
from selfstudy.weights import published_shape

TIMED_STEPS = 4  # after a first one that is not counted
# Of a linear probe with cross-validation on 4,000 labels of 128 features, two cores of 2020: 4.6 s. Only an order of
# magnitude is asked of it: probes take a small part of a study's time.
PROBE_SECONDS = 9e-6  # per label and feature
PROBE_SECONDS_AT_LEAST = 0.05
TRUSTED_SECONDS = 30.0  # of the estimate, before the pace seen weighs more: some groups of cells
WEIGHT_BYTES = 4
CELL_BYTES = 4096  # its three small JSON files
MOST_NAMED = 5  # rare classes in one line


@dataclass(frozen=True)
class Estimate:
    """Of what is still to be done."""

    seconds: Mapping[str, float]  # by hash, in the order of the plan
    megabytes: float
    workers: int  # at it beside each other, as if there were work for all of them to the end

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values()) / self.workers

    def left(self, done: Mapping[str, Outcome], elapsed: float) -> float:
        """Seconds that the cells not in `done` will take, at the pace of those that took `elapsed` seconds so far."""
        left = sum(seconds for name, seconds in self.seconds.items() if name not in done) / self.workers
        pace = (elapsed + TRUSTED_SECONDS) / (self.total_seconds - left + TRUSTED_SECONDS)
        return left * pace


def estimate(cells: Sequence[Cell], found: Mapping[str, Outcome], bench: Bench, workers: int) -> Estimate:
    """Time a few steps of everything of which something is left to do; nothing is written."""
    clock = _Clock(bench)
    seconds: dict[str, float] = {}
    megabytes = 0.0
    left = {cell.hash: cell for cell in cells if cell.hash not in found}
    timed = set[str]()
    bench.progress.start("timing a few steps of each row", len({cell.entry for cell in left.values()}), "rows")
    for cell in left.values():
        seconds[cell.hash] = clock.seconds(cell)
        timed.add(cell.entry)
        bench.progress.update(len(timed))
        num_bytes = CELL_BYTES + 8 * len(bench.material.split.test_rows)
        if cell.kind == "pretrain":
            num_bytes = CELL_BYTES + WEIGHT_BYTES * clock.encoder(cell).num_weights
        megabytes += num_bytes / 1e6
    bench.progress.finish("")
    hand_back()  # this process may wait for its workers for hours
    return Estimate(seconds, megabytes, workers)


def describe(
    settings: StudySettings, cells: Sequence[Cell], found: Mapping[str, Outcome], cost: Estimate, bench: Bench
) -> list[str]:
    """The lines that are printed before a study starts."""
    material = bench.material
    done = f", {len(found)} of them done before" if found else ""
    counts, *others = announcements(settings, material)
    threads = torch.get_num_threads()
    each = f" for each of {cost.workers} workers" if cost.workers > 1 else ""
    cost_line = (
        f"{len(settings.entries)} rows, {len({cell.hash for cell in cells})} cells{done}; about {duration(cost.total_seconds)} "
        f"on {bench.device} with {threads} thread{'' if threads == 1 else 's'}{each}, {cost.megabytes:.0f} MB on the disk"
    )
    lines = [f"{settings.name}: {counts}", cost_line, *_searched(settings), *_lengths(settings, cells), *others]
    lines += _changed_backbones(cells, material.pool.image_size)
    differences = [f"{100 * smallest_difference(settings, bench, label):.1f} at {label}" for label in settings.labels]
    lines.append(
        f"the smallest difference it is likely to find, in points of {settings.metric}, by labels: {', '.join(differences)}"
    )
    return lines + _rare_classes(material)


def _changed_backbones(cells: Sequence[Cell], image_size: int) -> list[str]:
    works = [cell.work for cell in cells if isinstance(cell.work, RunSettings | Untrained)]
    found = dict.fromkeys(changed_for_small_images(work.backbone, work.stem, image_size) for work in works)
    return [f"{clause}; stem: imagenet keeps it as it was" for clause in found if clause]


def _searched(settings: StudySettings) -> list[str]:
    if not settings.tune:
        return []
    return [
        f"{settings.num_trials} trials of learning rate and weight decay for each row that is trained, the first as the row is "
        "written; the best in cross-validation inside the label budget is its result, or the first where labels are too few"
    ]


def _lengths(settings: StudySettings, cells: Sequence[Cell]) -> list[str]:
    if "seconds" not in settings.budget:
        return []
    given = {entry.name for entry in settings.entries if not {"epochs", "images_seen"} & set(entry.overrides)}
    runs = [(cell.entry, cell.work) for cell in cells if isinstance(cell.work, RunSettings) and cell.entry in given]
    return [describe_budget(settings.budget["seconds"], runs)] if runs else []


def announcements(settings: StudySettings, material: Material) -> list[str]:
    """What there is to say of the images before anything is computed; the first line counts them."""
    pages = material.pages(material.split.test_rows)
    lines = [f"{len(material.pool)} images to pretrain on, {len(pages)} to test with"]
    if material.images.pages is not None:
        lines = [
            f"{len(material.pool)} tiles of pages to pretrain on, {len(pages)} pages to test with ({len(pages.page)} tiles)"
        ]
    if material.excluded:
        lines.append(
            f"left out of pretraining, {len(material.excluded)}: near-duplicates of test images, or of their groups "
            f"(splits.json names them; the first: {material.excluded[0]})"
        )
    if skipped := material.skipped:
        lines.append(left_out(skipped))
    lines += material.notes
    for label in settings.labels:
        if short := material.draw(label, 0).short:
            few = ", ".join(f"{name} ({count})" for name, count in short.items())
            lines.append(f"labels {label}: these classes have fewer and give all they have: {few}")
    return lines


def _rare_classes(material: Material) -> list[str]:
    """What the test images cannot say of the classes of which they hold few; nothing where there are none."""
    rows, images = material.split.test_rows, material.images
    assert images.labels is not None
    found = supports(images.labels[torch.from_numpy(rows)].numpy(), images.groups[rows], images.classes)
    rare = [
        f"{each['name']} ({each['num_test_groups']}: +-{100 * each['half_width']:.0f} points)"
        for each in found
        if each["rare"]
    ]
    if not rare:
        return []
    more = f" and {len(rare) - MOST_NAMED} more" if len(rare) > MOST_NAMED else ""
    return [f"rare in the test images, so that recall will be known roughly: {', '.join(rare[:MOST_NAMED])}{more}"]


def smallest_difference(settings: StudySettings, bench: Bench, label: Label) -> float:
    """Of a learned row to supervised training at this label count, as a share."""
    num_labels = len(bench.material.pages(bench.material.draw(label, 0).rows))
    learned = sum(entry.method not in BASELINES or entry.method == "pretrained" for entry in settings.entries)
    return smallest_detectable_difference(
        num_draws=settings.num_draws(label),
        num_seeds=settings.seeds,
        num_test=effective_groups(bench.material.images.groups[bench.material.split.test_rows]),
        labels_per_class=num_labels / len(bench.material.images.classes),
        num_verdicts=max(1, learned),
    )


@dataclass(frozen=True)
class _EncoderCost:
    num_weights: int
    dim: int
    seconds: float  # of one pass over all labelled images


class _Clock:
    """Measures every kind of work once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.encoders: dict[tuple[str, bool], _EncoderCost] = {}
        self.steps: dict[object, float] = {}

    def seconds(self, cell: Cell) -> float:
        match cell.work:
            case Untrained() | Published():
                return self.encoder(cell).seconds
            case RunSettings() as run:
                # Over the labelled images: by its end, and by what it keeps on its way.
                passes = 1 + len(self.bench.keep_at)
                return run.training.steps * self._step(run) + passes * self.encoder(cell).seconds
            case Evaluation(config=TrainingSettings() as config):
                return (
                    len(self.bench.material.parts(0))
                    * self._trainings(cell, config)
                    * config.images_seen
                    / config.batch_size
                    * self._training_step(cell, config)
                )
            case Evaluation(protocol="layers"):
                widths = 1 + len(self._untrained(cell).backbone.layer_names)
                return widths * self._probe(cell) + self.encoder(cell).seconds
            case Evaluation():
                if cell.backbone == "none":
                    return 0.0
                return self._probe(cell)

    def _trainings(self, cell: Cell, config: TrainingSettings) -> int:
        """On the labels, for one score: where they are too few to choose by, nothing is searched."""
        material = self.bench.material
        rows = material.draw(cell.labels, cell.draw, material.parts(cell.draw)[0]).rows
        assert material.images.labels is not None
        labels = material.images.labels[torch.from_numpy(rows)].numpy()
        enough = folds(labels, material.images.groups[rows], Rng.from_seed(0)) is not None
        return 1 + (NUM_FOLDS * config.search if enough else 0)

    def _probe(self, cell: Cell) -> float:
        num_labels = len(self.bench.material.draw(cell.labels, cell.draw).rows)
        once = max(PROBE_SECONDS_AT_LEAST, PROBE_SECONDS * num_labels * self.encoder(cell).dim)
        return len(self.bench.material.parts(0)) * once

    def encoder(self, cell: Cell) -> _EncoderCost:
        key = cell.backbone, cell.method == PRETRAINED
        if key not in self.encoders:
            images = self.bench.material.images
            some = images.select(self.bench.material.split.test_rows[:FEATURE_BATCH])
            encoder = self._untrained(cell)
            started = time.perf_counter()
            features(encoder, some, self.bench.device, FEATURE_BATCH)
            seconds = (time.perf_counter() - started) * len(images) / len(some)
            weights = sum(value.numel() for value in encoder.backbone.state_dict().values())
            self.encoders[key] = _EncoderCost(weights, encoder.dim, seconds)
        return self.encoders[key]

    def _untrained(self, cell: Cell) -> Encoder:
        """An encoder as costly as the cell's."""
        images = self.bench.material.images
        if cell.method == PRETRAINED:
            return published_shape(cell.backbone, images.channels)
        if isinstance(cell.work, Evaluation) and cell.work.start:
            return self.bench.untrained(cell.work.start)
        stem = cell.work.stem if isinstance(cell.work, RunSettings | Untrained) else default_stem(images.image_size)
        return self.bench.untrained(Untrained(backbone=cell.backbone, stem=stem, seed=0))

    def _step(self, run: RunSettings) -> float:
        alike = replace(run, seed=0, lr=1.0, weight_decay=0.0, images_seen=run.batch_size, origins={})
        key = str(alike)
        if key not in self.steps:
            pool = self.bench.material.pool
            some = pool.select(torch.arange(min(len(pool), 2 * run.batch_size)).numpy())
            try:
                self.steps[key] = measure_seconds_per_step(run, some, self.bench.device, 1 + TIMED_STEPS)
            except (RunError, MissingWeights, torch.OutOfMemoryError):
                self.steps[key] = 0.0  # it will fail as soon; the study records why, and goes on with the other rows
        return self.steps[key]

    def _training_step(self, cell: Cell, config: TrainingSettings) -> float:
        key = (cell.backbone, cell.method == PRETRAINED, str(config))
        if key not in self.steps:
            first, few = (self._train(cell, replace(config, images_seen=config.batch_size)) for _ in range(2))
            if first + few > ENOUGH_SECONDS:
                self.steps[key] = few  # with what comes once: small beside so long a step
            else:
                more = self._train(cell, replace(config, images_seen=(1 + TIMED_STEPS) * config.batch_size))
                self.steps[key] = max(0.0, more - few) / TIMED_STEPS
        return self.steps[key]

    def _train(self, cell: Cell, config: TrainingSettings) -> float:
        """Seconds of a training on labels that searches nothing and writes nothing."""
        material = self.bench.material
        assert isinstance(cell.work, Evaluation)
        part = material.parts(cell.draw)[0]
        known = torch.from_numpy(material.draw(cell.labels, cell.draw, part).rows)
        task = Task(
            images=material.images,
            train_rows=known,
            test_rows=torch.from_numpy(part.test_rows[:FEATURE_BATCH]),
            pool_rows=known,
            encoder=replace(self._untrained(cell), provenance={"method": "random"}),  # so that no probe is fitted first
            features=None,
            device=self.bench.device,
        )
        kind = catalog.find("evaluation", cell.work.protocol, Protocol)
        alike = replace(config, search=0, class_weight="none")
        return kind(alike).run(task, Rng.from_seed(0)).seconds
