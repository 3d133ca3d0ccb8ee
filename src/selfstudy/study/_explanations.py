"""A study's explanations: of seed 0 of every row, once all scores are there; what is there already is not made again.

A row's classifier is the one that its first protocol to leave one learned from the study's most labels; of rows without such
a protocol a linear probe. What that protocol kept of its score is taken; a classifier of another seed, or of cross-validation,
is trained for it. Where the results lie is said in `explain/_findings.py`; `cells/HASH/explain.json` says what was asked for and what
does not apply to the row.

Images with attributes have no class to ask about: what needs classes is left out, and maps say instead why an image is taken
for like the one nearest to it, of which `similarity` tells where an attribution was asked for.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from selfstudy import catalog, config, files
from selfstudy.encoder import Encoder
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import Budget, LinearMap, Protocol, features
from selfstudy.evaluation.finetune import KEPT
from selfstudy.evaluation.linear import Linear
from selfstudy.explain import MEASURES, Analysis, Subject, Viewer, compare, save
from selfstudy.explain.agreement import Agreement, at_size, class_maps
from selfstudy.explaining import read_shown, spread
from selfstudy.rng import Rng
from selfstudy.study._record import StudyRecord
from selfstudy.study._study import Study
from selfstudy.study.cell import FEATURE_BATCH, Bench
from selfstudy.study.plan import Cell, Evaluation
from selfstudy.study.settings import StudySettings

LOOKED_AT = 8  # images on a sheet: a phone's width shows them
COMPARED = 16  # images whose maps are compared between rows; the looked at are among them
NO_SEARCH = 1e9  # a gradient that every fit is below when it begins
PAIRS = "agreement"  # the analysis that is made of pairs of rows
ALIKE = "similarity"  # the analysis that asks an encoder alone for a map
OF_CLASSES = "explanations that need classes are left out, and maps say why images are taken for alike"


@dataclass(frozen=True)
class _Row:
    """An entry to be explained: the evaluation that gives the classifier, and the encoder's cell if it has one."""

    evaluation: Cell
    encoder: Cell | None
    twin: Cell | None  # the same with seed 1

    @property
    def hash(self) -> str:
        return self.encoder.hash if self.encoder else self.evaluation.hash


def explain(study: Study) -> None:
    """Make what is missing. A row that cannot be explained is said and left out; it never ends a study."""
    settings, bench = study.settings, study.bench
    if not settings.explain:
        return
    if bench.material.images.multi_label:
        bench.progress.say(f"{bench.material.images.name} has attributes rather than classes: {OF_CLASSES}")
    explainer = _Explainer(settings, bench)
    rows = list(_rows(study))
    bench.progress.start("explain", len(rows), "rows")
    explained = []
    for number, row in enumerate(rows, start=1):
        try:
            explainer.row(row)
            explained.append(row)
        except (UserError, RunError, torch.OutOfMemoryError) as error:
            if isinstance(error.__cause__, OSError):  # a disk that takes no more
                raise
            bench.progress.say(f"{row.evaluation.entry} is not explained: {error}")
        bench.progress.update(number)
    if explainer.compares:
        explainer.pairs(explained)
    for kept in study.folder.glob(f"cells/*/{KEPT}"):  # as large as an encoder, and asked for no more
        kept.unlink()
    bench.progress.finish("")


def _rows(study: Study) -> Iterator[_Row]:
    """One for every entry whose seed 0 is done, on the largest fraction of the unlabelled images.

    Of several trials the one that stands for the row, and its twin is the same trial.
    """
    standing = {path.name for path in StudyRecord.read(study.folder).runs.values()}
    done = [
        cell for cell in study.cells if cell.hash in study.outcomes and study.outcomes[cell.hash].status != "failed"
    ]
    encoders = {(cell.entry, cell.unlabelled, cell.seed, cell.trial): cell for cell in done if cell.kind == "pretrain"}
    most = study.most_labels
    for entry in study.settings.entries:
        own = [
            cell for cell in done if cell.kind == "evaluate" and cell.entry == entry.name and cell.method != "majority"
        ]
        own = [cell for cell in own if (cell.labels, cell.draw, cell.seed) == (most, 0, 0)]
        own = [cell for cell in own if not cell.needs or cell.needs in standing]
        if not own:
            continue
        fraction = max(cell.unlabelled for cell in own)
        own = [cell for cell in own if cell.unlabelled == fraction]
        first = next((cell for cell in own if _leaves_a_classifier(cell)), own[0])
        encoder, twin = (encoders.get((entry.name, fraction, seed, first.trial)) for seed in (0, 1))
        yield _Row(first, encoder, twin)


def _leaves_a_classifier(cell: Cell) -> bool:
    assert isinstance(cell.work, Evaluation)
    return catalog.find("evaluation", cell.work.protocol, Protocol).hand_over is not Protocol.hand_over


@dataclass(frozen=True)
class _Explainer:
    settings: StudySettings
    bench: Bench

    @property
    def attributes(self) -> bool:
        """Whether images have attributes rather than one class each."""
        return self.bench.material.images.multi_label

    @property
    def compares(self) -> bool:
        """Whether the maps of rows are held against each other: they must ask the same, which is an image's class."""
        return PAIRS in self.settings.explain and not self.attributes

    def row(self, row: _Row) -> None:
        """The analyses of a row, and its maps for the comparison with others."""
        folder = self.bench.folder / "cells" / row.hash
        asked = self._asked(row)
        record = folder / "explain.json"
        if (
            record.is_file()
            and json.loads(record.read_text(encoding="utf-8"))["asked"] == asked
            and self._has_maps(row)
        ):
            return
        subject = self._subject(row)
        left_out: dict[str, str] = {}
        for name, analysis in self._analyses().items():
            try:
                save(analysis.explain(subject), folder / "explain", name, asked[name])
            except UserError as error:
                left_out[name] = str(error)
        if PAIRS in self.settings.explain and self.attributes:
            left_out[PAIRS] = f"{PAIRS} asks all rows about one class of an image, and these images have attributes"
        if self.compares:
            self._write_maps(row.hash, subject.viewer)
            if row.encoder and row.twin:
                self._write_maps(row.twin.hash, self._viewer(row, row.twin))
        files.write_json(record, {"asked": asked, "left_out": left_out})  # last: all is there

    def _has_maps(self, row: _Row) -> bool:
        hashes = [row.hash, *([row.twin.hash] if row.encoder and row.twin else [])]
        return not self.compares or all(self._maps_path(hash).is_file() for hash in hashes)

    def _maps_path(self, hash: str) -> Path:
        return self.bench.folder / "cells" / hash / "explain" / "maps.safetensors"

    def _analyses(self) -> dict[str, Analysis[Any]]:
        names = [name for name in self.settings.explain if name != PAIRS]
        kinds = {name: catalog.find("explain", name, Analysis) for name in names}
        if self.attributes and any(kind.needs == {"classifier"} for kind in kinds.values()):  # an attribution
            kinds.setdefault(ALIKE, catalog.find("explain", ALIKE, Analysis))
        return {
            Path(name).stem: kind(config.validate(kind.Config, {}, f"explain: {name}")) for name, kind in kinds.items()
        }

    def _asked(self, row: _Row) -> dict[str, Any]:
        """What decides the findings of a row, by analysis; equal to the record's, nothing is to be done."""
        cell, material = row.evaluation, self.bench.material
        about = {
            "entry": cell.entry, "unlabelled": cell.unlabelled, "seed": cell.seed, "protocol": cell.protocol,
            "labels": str(cell.labels), "draw": cell.draw, "evaluation": cell.hash, "num_test": len(material.split.test_rows),
        }  # fmt: skip
        asked = {name: analysis.how(about) for name, analysis in self._analyses().items()}
        if self.compares:
            twin = row.twin.hash if row.encoder and row.twin else ""
            asked[PAIRS] = {**Agreement(Agreement.Config()).how(about), "twin": twin}
        return asked

    def _subject(self, row: _Row) -> Subject:
        material = self.bench.material
        test_rows = torch.from_numpy(material.split.test_rows)
        viewer = self._viewer(row, row.encoder)
        folder = self.bench.folder / "cells" / row.hash
        return Subject(
            viewer=viewer, images=material.images, rows=self.compared_rows(LOOKED_AT), judged_rows=test_rows,
            answers=self._answers(row.evaluation, len(test_rows)), shown=read_shown(folder) if row.encoder else {},
            device=self.bench.device, rng=material.rng.fork("explain"),
        )  # fmt: skip

    def compared_rows(self, count: int) -> Tensor:
        """Int64: test images spread over the classes, if there are any; the same ones for every row of the study."""
        material = self.bench.material
        assert material.images.labels is not None
        order = material.rng.fork("explain", "rows").permutation(len(material.split.test_rows))
        candidates = torch.from_numpy(material.split.test_rows)[order]
        if self.attributes:
            return candidates[:count].sort().values
        return spread(material.images.labels, candidates, count)

    def _answers(self, cell: Cell, num_test: int) -> Tensor | None:
        """The probabilities that the study scored, float32 [num_test, K]; None where it kept none, or those of pages."""
        path = self.bench.folder / "cells" / cell.hash / "predictions.safetensors"
        if self.attributes:  # of which no class can be asked about
            return None
        if not _leaves_a_classifier(cell):  # another protocol's, not those of the classifier that is explained
            return None
        kept = safetensors.torch.load(path.read_bytes()).get("probabilities")
        return kept.float() if kept is not None and len(kept) == num_test else None

    def _viewer(self, row: _Row, encoder_cell: Cell | None) -> Viewer:
        """The row's encoder, or its twin, with the classifier that its protocol learned, if that names classes."""
        bench, cell = self.bench, row.evaluation
        assert isinstance(cell.work, Evaluation)
        images = bench.material.images
        if encoder_cell is not None:
            encoder, values = bench.encoded(encoder_cell.hash)
        else:
            assert cell.work.start is not None
            encoder, values = bench.untrained(cell.work.start), None
        protocol = catalog.find("evaluation", cell.work.protocol, Protocol)(self._decided(cell))
        if not _leaves_a_classifier(cell):
            protocol = Linear(Linear.Config())
        if self.attributes and values is not None and protocol.needs == "features":
            return Viewer(name=cell.entry, encoder=encoder, features=values)
        seed = encoder_cell.seed if encoder_cell else cell.seed
        found, head = self._hand_over(cell, protocol, encoder, values, seed)
        if values is None or found is not encoder:
            values = features(found, images, bench.device, FEATURE_BATCH)
        return Viewer(name=cell.entry, encoder=found, features=values, classifier=None if self.attributes else head)

    def _decided(self, cell: Cell) -> object:
        """The protocol's settings; of a linear probe with what its score has chosen, so that nothing is searched again.

        The twin takes the same. One candidate is still cross-validated: at a tolerance that ends each fit at once. Where every
        labelled image was tested in its turn, each part has chosen for itself, and all labels together choose anew.
        """
        assert isinstance(cell.work, Evaluation)
        settings = cell.work.config
        scores = self.bench.folder / "cells" / cell.hash / "scores.json"
        chosen = json.loads(scores.read_text(encoding="utf-8"))["chosen"]
        if not isinstance(settings, Linear.Config) or "C" not in chosen or self.bench.material.rounds is not None:
            return settings
        weights = chosen.get("class_weight", settings.class_weight)
        return replace(settings, C=(chosen["C"],), class_weight=weights, search_tolerance=NO_SEARCH)

    def _hand_over(
        self, cell: Cell, protocol: Protocol[Any], encoder: Encoder, values: Tensor | None, seed: int
    ) -> tuple[Encoder, LinearMap]:
        """A protocol that trains does so in a folder of its own, unless its score has kept what is asked for."""
        material = self.bench.material
        scratch = self.bench.folder / "cells" / cell.hash / ".explain"
        scratch.mkdir(exist_ok=True)
        try:
            for kept in (scratch.parent / KEPT, scratch.parent / "search.json"):
                if kept.is_file() and seed == cell.seed:
                    shutil.copyfile(kept, scratch / kept.name)
            with self.bench.shown(f"{cell.entry}, seed {seed}, for its explanation") as lane:
                budget = Budget(
                    images=material.images, train_rows=torch.from_numpy(material.draw(cell.labels, cell.draw).rows),
                    pool_rows=torch.from_numpy(material.split.train_rows), encoder=encoder, features=values,
                    device=self.bench.device, progress=lane, folder=scratch,
                )  # fmt: skip
                return protocol.hand_over(budget, Rng.from_seed(seed).fork("protocol"))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _write_maps(self, hash: str, viewer: Viewer) -> None:
        """The viewer's maps of the images that are compared, float32 [n, H, W]."""
        subject = Subject(
            viewer=viewer,
            images=self.bench.material.images,
            rows=self.compared_rows(COMPARED),
            device=self.bench.device,
        )
        maps = class_maps(subject, viewer, Agreement.Config().method)
        path = self._maps_path(hash)
        path.parent.mkdir(exist_ok=True)
        files.write_bytes(path, safetensors.torch.save({"maps": maps.contiguous()}))

    def pairs(self, rows: list[_Row]) -> None:
        """explain/agreement.csv from the maps of all rows."""
        maps = {row.evaluation.entry: self._read_maps(row.hash) for row in rows}
        floors = {row.evaluation.entry: self._read_maps(row.twin.hash) for row in rows if row.encoder and row.twin}
        floor = {name: _means(maps[name], twin) for name, twin in floors.items()}
        lines: list[Mapping[str, object]] = []
        names = list(maps)
        for place, first in enumerate(names):
            shared = {"first": first, "method": Agreement.Config().method, "num_images": len(maps[first])}
            own = {f"floor_{key}": value for key, value in floor.get(first, {}).items()}
            if first in floor:
                lines.append({**shared, "second": first, **floor[first], **own})
            lines += [
                {**shared, "second": second, **_means(maps[first], maps[second]), **own}
                for second in names[place + 1 :]
            ]
        columns = ["first", "second", "method", "num_images", *MEASURES, *(f"floor_{name}" for name in MEASURES)]
        folder = self.bench.folder / "explain"
        folder.mkdir(exist_ok=True)
        files.write_text(
            folder / "agreement.csv", pd.DataFrame(lines, columns=columns).to_csv(index=False, lineterminator="\n")
        )

    def _read_maps(self, hash: str) -> Tensor:
        return safetensors.torch.load(self._maps_path(hash).read_bytes())["maps"]


def _means(first: Tensor, second: Tensor) -> dict[str, float]:
    """Mean of every measure over the images."""
    return {name: float(np.mean(values)) for name, values in compare(first, at_size(second, first.shape[1:])).items()}
