"""Random search over learning rate, weight decay and class weights, by cross-validation inside the label budget.

Source  training/trials.py has the rule, which is that of pretraining too; class weights are drawn beside it.
Fair    the trials are the same for every row and every draw of the labels: they follow from their number and the recipe.
        Every trial is trained once for each of the five folds; below 5 labels per class the recipe is taken as it is.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from selfstudy import files
from selfstudy.evaluation._choice import FIXED, NUM_FOLDS, ONE_CLASS, ONE_VALUE, choose, folds
from selfstudy.evaluation._logistic import nothing_to_tell_apart
from selfstudy.evaluation._metrics import decide, score
from selfstudy.evaluation._protocol import Budget
from selfstudy.evaluation._trained import TrainingSettings, Weighting
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training.trials import varied

RECIPE = "fixed: the recipe, last epoch"


@dataclass(frozen=True, slots=True)
class Trial:
    """What is searched."""

    lr: float
    weight_decay: float
    class_weight: Weighting


# Learns from a budget by a trial, and gives the probabilities [R, K] of its other rows.
Learn = Callable[[Budget, Trial, Rng, Tensor], Tensor]


def trials(settings: TrainingSettings) -> list[Trial]:
    """The recipe, then `search` - 1 random ones; more trials begin with the same ones."""
    first: Weighting = "balanced" if settings.class_weight == "balanced" else "none"
    found = [Trial(settings.lr, settings.weight_decay, first)]
    for number in range(1, settings.search):
        lr, weight_decay, other = varied(number, settings.lr)
        weight: Weighting = "balanced" if settings.class_weight == "choose" and other < 0.5 else first
        found.append(Trial(lr, weight_decay, weight))
    return found


def search(
    settings: TrainingSettings, budget: Budget, rng: Rng, learn: Learn
) -> tuple[Trial, str, list[dict[str, object]]]:
    """The best trial (of equal ones the first), how it was chosen, and every trial with its score.

    What is done is kept in `search.json` of the budget's folder, so that an interrupted search goes on.
    """
    candidates = trials(settings)
    if settings.search == 0:
        return candidates[0], RECIPE, []
    labels = budget.train_labels.numpy()
    fold = folds(labels, budget.train_groups, rng.fork("folds"))
    if fold is None or nothing_to_tell_apart(labels):
        return candidates[0], FIXED if fold is None else ONE_VALUE if budget.multi_label else ONE_CLASS, []
    metric = decide(settings.metric, multi_label=budget.multi_label)
    scores = _scores_so_far(budget)
    budget.progress.start("search", len(candidates), "trials")
    for number in range(len(scores), len(candidates)):
        answers = np.empty((len(labels), budget.num_classes))
        for held_out in range(NUM_FOLDS):
            kept, asked = (torch.from_numpy(fold != held_out), torch.from_numpy(fold == held_out))
            part = _part(budget, budget.train_rows[kept])
            answers[asked.numpy()] = learn(
                part, candidates[number], rng.fork("trial", held_out), budget.train_rows[asked]
            )
        scores.append(score(metric, labels, answers))
        _keep(budget, scores)
        budget.progress.update(number + 1)
    budget.progress.finish("")
    best = choose(range(len(candidates)), scores.__getitem__)
    record = [{**asdict(trial), metric: value} for trial, value in zip(candidates, scores, strict=True)]
    return (
        candidates[best],
        f"{len(candidates)} trials by {NUM_FOLDS}-fold cross-validation inside the label budget",
        record,
    )


def _part(budget: Budget, rows: Tensor) -> Budget:
    """The budget with fewer labels, and no test images; it leaves nothing in the folder."""
    return Budget(
        images=budget.images, train_rows=rows, pool_rows=budget.pool_rows, encoder=budget.encoder, features=None,
        device=budget.device, progress=Progress(quiet=True),
    )  # fmt: skip


def _scores_so_far(budget: Budget) -> list[float]:
    path = None if budget.folder is None else budget.folder / "search.json"
    return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else []


def _keep(budget: Budget, scores: Sequence[float]) -> None:
    if budget.folder is not None:
        budget.folder.mkdir(parents=True, exist_ok=True)
        files.write_json(budget.folder / "search.json", list(scores))
