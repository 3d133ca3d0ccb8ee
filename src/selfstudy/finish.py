"""Finishing a study: the row that does best on held-out labels is fitted once more, on all labels, and handed over.

The choice reads no test image: one fifth of the labels is held out, every row that leaves a classifier behind learns
from the other four, and the held-out fifth decides, gives the temperature and gives the threshold. What the model is
expected to score is what the study measured on its test images, before they joined the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from selfstudy import catalog
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import METRICS, Budget, LinearMap, Pages, Protocol, folds
from selfstudy.model import KEPT, Model, choose_threshold, fit_temperature
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.study._record import StudyRecord
from selfstudy.study._study import Study
from selfstudy.study.cell import Bench
from selfstudy.study.compare import summarise
from selfstudy.study.plan import Cell, Evaluation
from selfstudy.study.run import reopen
from selfstudy.training.pretrain import versions

HELD_OUT_FOLD = 0  # of five


@dataclass(frozen=True)
class _Tried:
    """A candidate, its score on the held-out labels, and how sure it was of each."""

    cell: Cell
    score: float
    logits: torch.Tensor  # float32 [held out, K], of tiles where images are tiles of pages


def finish(folder: Path, *, row: str, progress: Progress) -> Model:
    """Fit the best row of a study, or the one named, on all its labelled images, and write it to `folder`/model.

    Raises UserError if the study has no row that leaves a classifier behind, or none of that name.
    """
    study = reopen(folder, progress)
    if study.bench.material.images.multi_label:
        raise UserError(
            f"the images of {folder} have attributes, and a model names one class of each: there is nothing to finish; `selfstudy "
            "evaluate` and the report have the probabilities of the attributes"
        )
    candidates = _candidates(study, row)
    metric = study.settings.metric
    tried, labels, pages = _try(study.bench, candidates, metric)
    if tried:
        best = max(tried, key=lambda one: one.score)
        cell, how = best.cell, f"best {metric} on {len(pages)} labelled images held out from all candidates"
        temperature = fit_temperature(best.logits, labels)
        answers = pages.average((best.logits / temperature).softmax(1)).float()
        threshold, caught = choose_threshold(answers, labels[pages.first])
    else:
        results = study.results_of(study.cells)
        cell = max(candidates, key=lambda one: _study_score(study, results, one))
        how = f"best {metric} in the study itself: there are too few labels to hold any out, so this is optimistic"
        temperature, threshold, caught = 1.0, 0.0, 0.0
    progress.say(f"Fitting {cell.entry} on all labelled images")
    images = study.bench.material.images
    assert images.labels is not None
    labelled = torch.nonzero(images.labels >= 0)[:, 0].numpy()
    encoder, head = _fit(study.bench, cell, labelled, np.arange(len(images)))
    model = Model(
        encoder, head, images.classes, temperature, threshold,
        {
            "study": study.settings.name, "row": cell.entry, "method": cell.method, "seed": cell.seed,
            "protocol": cell.protocol, "metric": metric, "chosen_by": how,
            "held_out_scores": {f"{one.cell.entry}, seed {one.cell.seed}": one.score for one in tried},
            "expected": _expected(folder, cell), "labels": len(Pages.of(images, torch.from_numpy(labelled))),
            "calibrated_on": len(pages) if tried else 0, "right_answers_kept": KEPT if tried else 1.0,
            "wrong_answers_caught": caught, "versions": versions(),
        },
    )  # fmt: skip
    model.save(folder / "model")
    return model


def _candidates(study: Study, row: str) -> list[Cell]:
    """At the most labels of the study, one evaluation of each encoder and one of each row that trains from scratch.

    Of the trials of a row only the encoder that stands for it, seed by seed.
    """
    record = StudyRecord.read(study.folder)
    standing = {path.name for path in record.runs.values()}
    most = max(study.settings.labels, key=lambda label: record.num_labels(str(label)))
    fractions = {entry: max(cell.unlabelled for cell in study.cells if cell.entry == entry) for entry in record.entries}
    found: dict[tuple[object, ...], Cell] = {}
    for cell in study.cells:
        outcome = study.outcomes.get(cell.hash)
        if cell.kind != "evaluate" or cell.labels != most or outcome is None or outcome.status != "done":
            continue
        if cell.needs and cell.needs not in standing:
            continue
        if cell.protocol in ("linear", "finetune") and cell.unlabelled == fractions[cell.entry]:
            found.setdefault((cell.entry, cell.protocol, cell.needs), cell)
    rows = {cell.entry for cell in found.values()}
    if row and row not in rows:
        raise UserError(
            f'there is no finished row "{row}" that names classes by linear or finetune.{nearest(row, rows)}'
        )
    chosen = [cell for cell in found.values() if row in ("", cell.entry)]
    if not chosen:
        raise UserError(
            f"{study.folder} has no finished row that was judged by linear or finetune, which leave a classifier behind: "
            "run the study (again) with protocols=linear"
        )
    return chosen


def _try(bench: Bench, candidates: Sequence[Cell], metric: str) -> tuple[list[_Tried], torch.Tensor, Pages]:
    """Every candidate on the held-out fifth of the labels, the held-out labels and their pages; nothing where labels are few."""
    material = bench.material
    images = material.images
    assert images.labels is not None
    rows = material.draw(candidates[0].labels, 0).rows
    labels = images.labels[torch.from_numpy(rows)].numpy()
    fold = folds(labels, images.groups[rows], Rng.from_seed(0).fork("finish"))
    if fold is None:
        nobody = torch.empty(0, dtype=torch.int64)
        return [], nobody, Pages(nobody, nobody)
    kept, held_out, tried = rows[fold != HELD_OUT_FOLD], torch.from_numpy(rows[fold == HELD_OUT_FOLD]), []
    pool = np.setdiff1d(material.split.train_rows, held_out.numpy())
    pages = Pages.of(images, held_out)
    truth = images.labels[held_out[pages.first]].numpy()
    bench.progress.start("finish", len(candidates), "candidates")
    for number, cell in enumerate(candidates, start=1):
        encoder, head = _fit(bench, cell, kept, pool)
        logits = head(encoder(images.images[held_out], device=bench.device))
        score = METRICS[metric](truth, pages.average(logits.softmax(1)).argmax(1).numpy())  # type: ignore[index]
        tried.append(_Tried(cell, score, logits))
        bench.progress.say(
            f"{cell.entry}, seed {cell.seed}, {cell.protocol}: {metric} {score:.3f} on {len(pages)} held out"
        )
        bench.progress.update(number)
    bench.progress.finish("")
    return tried, images.labels[held_out], pages


def _fit(bench: Bench, cell: Cell, rows: np.ndarray, pool: np.ndarray) -> tuple[Encoder, LinearMap]:
    """The candidate, fitted on the labels of `rows`; `pool` may be seen without its labels."""
    assert isinstance(cell.work, Evaluation)
    protocol = catalog.find("evaluation", cell.work.protocol, Protocol)(cell.work.config)
    encoder, values = (bench.untrained(cell.work.start), None) if cell.work.start else bench.encoded(cell.needs)
    budget = Budget(
        images=bench.material.images, train_rows=torch.from_numpy(rows), pool_rows=torch.from_numpy(pool), encoder=encoder,
        features=values, device=bench.device, progress=bench.progress,
    )  # fmt: skip
    found, head = protocol.hand_over(budget, Rng.from_seed(cell.seed).fork("protocol"))
    return replace(found, provenance=encoder.provenance), head


def _study_score(study: Study, results: Sequence[Cell], cell: Cell) -> float:
    """Mean test score over the draws of a candidate's row."""
    alike = [
        study.outcomes[other.hash].metrics[study.settings.metric]
        for other in results
        if (other.entry, other.protocol, other.labels) == (cell.entry, cell.protocol, cell.labels)
        and study.outcomes[other.hash].status == "done"
    ]  # fmt: skip
    return sum(alike) / len(alike)


def _expected(folder: Path, cell: Cell) -> dict[str, object]:
    """What the study measured of this row on its test images with the labels that the study had."""
    record = StudyRecord.read(folder)
    row = next(row for row in record.rows if (row.entry, row.unlabelled) == (cell.entry, cell.unlabelled))
    wanted = row.name, cell.protocol, str(cell.labels)
    point = next(
        point for point in summarise(record)["points"] if (point["row"], point["protocol"], point["labels"]) == wanted
    )
    return {name: point[name] for name in ("mean", "low", "high", "confidence", "labels")}
