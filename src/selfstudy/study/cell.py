"""One cell: what it left on the disk, and doing it."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from selfstudy import catalog, files
from selfstudy.encoder import Encoder
from selfstudy.errors import MissingWeights, RunError
from selfstudy.evaluation import Protocol, Task, features
from selfstudy.explain.map import embedding_map
from selfstudy.images import ImageSet, Split, feed_for
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study.material import Material
from selfstudy.study.plan import Cell, Evaluation, Published, Untrained
from selfstudy.study.settings import Label
from selfstudy.training import RunSettings, load_run, pretrain, untrained
from selfstudy.training.pretrain import versions
from selfstudy.types import Scores
from selfstudy.weights import published

FEATURE_BATCH = 512  # images in one pass of an encoder

Status = Literal["done", "collapsed", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell."""

    status: Status
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # of an evaluation that was done, each in [0, 1]
    error: str = ""


@dataclass
class Bench:
    """Where cells are worked on. It keeps the features of the last encoder, since many cells in a row ask for them."""

    folder: Path  # of the study
    material: Material
    device: torch.device
    progress: Progress
    keep_at: Sequence[float] = ()  # shares of its steps at which a run keeps its encoder, to be judged as it was then
    explained: Label | None = None  # labels of the evaluation by which a row is explained, its first draw, with seed 0
    _last: tuple[str, Encoder, Tensor] | None = None

    def found(self, cell: Cell) -> Outcome | None:
        """What an earlier process left of the cell; None if it is still to be done. Failed cells are tried again."""
        record = _read(self._folder(cell) / ("run.json" if cell.kind == "pretrain" else "scores.json"))
        if cell.kind == "evaluate":
            return Outcome("done", record["seconds"], record["metrics"]) if record else None
        if record is None or record["status"] not in ("done", "collapsed"):
            return None
        return Outcome(record["status"], record["seconds"])

    def do(self, cell: Cell) -> Outcome:
        """Work on the cell to its end. A failure is an outcome; a disk that takes no more ends the study (RunError)."""
        self._write_card(cell)
        try:
            return self._pretrain(cell) if cell.kind == "pretrain" else self._evaluate(cell)
        except (RunError, MissingWeights, torch.OutOfMemoryError) as error:
            if isinstance(error.__cause__, OSError):
                raise
            return self.fail(cell, str(error))

    def fail(self, cell: Cell, error: str) -> Outcome:
        """Record why the cell could not be done."""
        self._write_card(cell, status="failed", error=error)
        return Outcome("failed", error=error)

    def _write_card(self, cell: Cell, **ending: str) -> None:
        folder = self._folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        record = {**cell.to_json(), "device": str(self.device), "threads": torch.get_num_threads(), **ending}
        files.write_json(folder / "cell.json", record)

    def _pretrain(self, cell: Cell) -> Outcome:
        folder = self._folder(cell)
        if isinstance(cell.work, RunSettings):
            images = self.material.others[cell.source] if cell.source else self.pool(cell.unlabelled)
            with self.shown(cell.row + (f", trial {cell.trial + 1}" if cell.trial else "")) as lane:
                pretrain(cell.work, images, folder, progress=lane, device=self.device, keep_at=self.keep_at)
        else:
            assert isinstance(cell.work, Untrained | Published)
            self._write_as_it_is(cell, cell.work)
        card = dict(load_run(folder).card)
        files.write_json(folder / "run.json", {**card, "entry": cell.entry, "unlabelled": cell.unlabelled})
        if cell.trial == 0:  # of the other trials only those that stand for their row are looked at
            self.add_map(cell)
        return Outcome(card["status"], card["seconds"])

    def judge(self, cell: Cell) -> Scores:
        """Run the protocol of an evaluation. In cross-validation: of every fold, put together."""
        assert isinstance(cell.work, Evaluation)
        folder = self._folder(cell)
        protocol = catalog.find("evaluation", cell.work.protocol, Protocol)(cell.work.config)
        rng, parts = Rng.from_seed(cell.seed).fork("protocol"), self.material.parts(cell.draw)
        name = f"{cell.row}, {cell.labels} labels, draw {cell.draw}"
        if self.material.rounds is None:
            with self.shown(name) as lane:
                return protocol.run(self._task(cell, protocol.needs, parts[0], folder, lane), rng)
        folds = []
        for number, part in enumerate(parts):
            with self.shown(f"{name}, fold {number + 1} of {len(parts)}") as lane:
                task = self._task(cell, protocol.needs, part, folder / f"fold-{number}", lane)
                folds.append(protocol.run(task, rng.fork("fold", number)))
        return self.material.rounds.merge(cell.draw, folds)

    @contextmanager
    def shown(self, about: str) -> Iterator[Progress]:
        """Where work on a cell is shown, under this name, until it ends or fails."""
        lane = self.progress.lane(about)
        try:
            yield lane
        finally:
            lane.abandon()

    def _evaluate(self, cell: Cell) -> Outcome:
        folder, scores = self._folder(cell), self.judge(cell)
        answers = {"predictions": scores.predictions.to(torch.int64).contiguous()}
        if scores.probabilities is not None:
            answers["probabilities"] = (
                scores.probabilities.half().contiguous()
            )  # to three digits: enough to sort and bin
        files.write_bytes(folder / "predictions.safetensors", safetensors.torch.save(answers))
        record = {
            "metrics": dict(scores.metrics),
            "chosen": dict(scores.chosen),
            "seconds": scores.seconds,
            "costs": dict(scores.costs),
            "details": dict(scores.details),
        }
        files.write_json(folder / "scores.json", record)  # last: its presence means that the cell is done
        for left in (folder / "checkpoint", *folder.glob("fold-*")):
            shutil.rmtree(left, ignore_errors=True)
        return Outcome("done", scores.seconds, dict(scores.metrics))

    def _task(self, cell: Cell, needs: str, part: Split, folder: Path, lane: Progress) -> Task:
        work, material = cell.work, self.material
        assert isinstance(work, Evaluation)
        encoder, values = None, None
        if needs == "features":
            values = self.encoded(cell.needs)[1]
        elif needs == "encoder":
            encoder = self.untrained(work.start) if work.start else self.encoded(cell.needs)[0]
            folder.mkdir(exist_ok=True)
        return Task(
            images=material.images,
            train_rows=torch.from_numpy(material.draw(cell.labels, cell.draw, part).rows),
            test_rows=torch.from_numpy(part.test_rows),
            pool_rows=torch.from_numpy(part.train_rows),
            encoder=encoder,
            features=values,
            device=self.device,
            progress=lane,
            folder=folder if needs == "encoder" else None,
            keep=(cell.labels, cell.draw, cell.seed) == (self.explained, 0, 0),
        )

    def encoded(self, encoder_hash: str) -> tuple[Encoder, Tensor]:
        """An encoder of this study and its features of all labelled images, float32 [N, D]."""
        if self._last is None or self._last[0] != encoder_hash:
            # From the disk: what a resumed study would see.
            encoder = Encoder.load(self.folder / "cells" / encoder_hash)
            self._last = encoder_hash, encoder, features(encoder, self.material.images, self.device, FEATURE_BATCH)
        return self._last[1:]

    def add_map(self, cell: Cell) -> None:
        """Lay the test images out on a plane, for the report; a process may have been killed just before it did."""
        path = self._folder(cell) / "map.csv"
        if cell.seed != 0 or path.is_file():  # one map per row is looked at
            return
        images, test_rows = self.material.images, torch.from_numpy(self.material.split.test_rows)
        assert images.labels is not None
        classes = torch.full_like(test_rows, -1) if images.multi_label else images.labels[test_rows]
        plane = embedding_map(self.encoded(cell.hash)[1][test_rows], classes, images.ids[test_rows])
        files.write_text(path, plane.to_csv(index=False))

    def pool(self, fraction: float) -> ImageSet:
        """The images of a fraction of the pool."""
        return self.material.pool if fraction == 1.0 else self.material.pool.select(self.material.pool_rows(fraction))

    def untrained(self, start: Untrained) -> Encoder:
        return untrained(start.backbone, start.stem, self.pool(1.0), start.seed)

    def _write_as_it_is(self, cell: Cell, start: Untrained | Published) -> None:
        """A run folder of no steps, so that all that reads runs reads this one too."""
        started = time.perf_counter()
        folder, images = self._folder(cell), self.pool(1.0)
        if isinstance(start, Untrained):
            encoder = self.untrained(start)
        else:
            encoder = published(start.backbone, start.weights, images.channels)
        encoder = replace(encoder, feed=feed_for(encoder.feed, images))
        encoder.save(folder)
        card: dict[str, Any] = {
            "method": cell.method,
            "settings": {**asdict(start), "image_size": images.image_size, "channels": images.channels},
            "origins": {},
            "data": {"name": images.name, "fingerprint": images.fingerprint, "num_images": len(images)},
            "seed": cell.seed,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "status": "done",
            "images_seen": 0,
            "steps": 0,
            "seconds": time.perf_counter() - started,
            "images_per_second": 0.0,
            "peak_memory_mb": 0.0,
            "trainable_parameters": 0,
            "checkpoint_mb": (folder / "encoder.safetensors").stat().st_size / 1e6,
            "health": {"verdict": "healthy", "message": "nothing was trained"},
        }
        files.write_json(folder / "run.json", card)

    def _folder(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.hash


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
