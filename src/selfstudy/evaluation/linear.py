"""linear: multinomial logistic regression on frozen, standardised features: what a linear map can read from them.

Source  L2-penalised, fitted by L-BFGS, the strength chosen by validation: the transfer protocol of Chen et al., ICML
        2020, arXiv:2002.05709, App. B.8. The solver is scikit-learn's; C is the inverse of the penalty's weight in
        C * (sum of the losses) + |weights|^2 / 2, so over the mean loss the weight is 1 / (C n). Two classes are
        fitted with one logit instead of two, as scikit-learn does.
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  C, by cross-validation inside the label budget, of equally good ones the smallest. Along the path of rising C
        every fit starts from the one before; the path ends when two values in a row are worse than the best.
        Below 5 labels per class C = 1, scikit-learn's default: at 1, 2 and 4 per class all of 0.1 to 10 were within
        1.5 points of each other on learned and untrained features of MNIST.
Rows    n labels, D width.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation._choice import CROSS_VALIDATED, FIXED, NUM_FOLDS, ONE_CLASS, choose, folds
from selfstudy.evaluation._features import location_and_scale, standardise
from selfstudy.evaluation._metrics import METRICS, Metric
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores

_FIXED_C = 1.0
_PATIENCE = 2  # values of C in a row that are worse than the best before the path ends


@dataclass(frozen=True, kw_only=True)
class Config:
    metric: Metric = "accuracy"  # decides the choice of C
    C: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    # Largest gradient of the mean loss: in cross-validation, and of the fit that predicts. 1e-4 in the former gave the
    # same accuracy within 0.1 point on MNIST features for 1.4 times the time; 1e-3 stops fits of large C too early.
    search_tolerance: Annotated[float, Field(gt=0)] = 3e-4
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    max_iterations: Annotated[int, Field(ge=1)] = 5000


class Linear(Protocol[Config]):
    Config = Config
    needs = "features"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.features is not None
        started = time.perf_counter()
        labels = task.train_labels.numpy()
        if (labels == labels[0]).all():
            predictions = torch.full_like(task.test_rows, int(labels[0]))
            return task.scores(predictions, {"chosen_by": ONE_CLASS}, time.perf_counter() - started)
        model, chosen = self._fitted(task, rng)
        test = standardise(task.features, task.pool_rows, task.test_rows).numpy()
        with threadpool_limits(1, user_api="blas"):
            predictions = torch.from_numpy(model.predict(test.astype(np.float64)))
        return task.scores(predictions, chosen, time.perf_counter() - started)

    def hand_over(self, budget: Budget, rng: Rng) -> tuple[Encoder, LinearMap]:
        """The standardisation is folded into the map."""
        assert budget.encoder is not None and budget.features is not None
        if (budget.train_labels == budget.train_labels[0]).all():
            raise UserError(f"all labels of {budget.images.name} are of one class, so there is nothing to tell apart")
        model, _ = self._fitted(budget, rng)
        mean, scale = (value.double() for value in location_and_scale(budget.features, budget.pool_rows))
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(model.classes_) == 2:  # scikit-learn gives one logit
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        known = torch.from_numpy(model.classes_)
        full = LinearMap(
            torch.zeros(budget.num_classes, weight.shape[1]), torch.full((budget.num_classes,), -torch.inf)
        )
        full.weight[known] = (weight / scale).float()
        full.bias[known] = (bias - weight @ (mean / scale)).float()
        return budget.encoder, full

    def _fitted(self, budget: Budget, rng: Rng) -> tuple[LogisticRegression, dict[str, float | int | str]]:
        """The model on standardised features, and how C was chosen."""
        assert budget.features is not None
        labels = budget.train_labels.numpy()
        train = standardise(budget.features, budget.pool_rows, budget.train_rows).numpy()
        fold = folds(labels, budget.train_groups, rng.fork("folds"))
        # Products this small gain nothing from a second BLAS thread, and on cores that are shared the threads wait for
        # each other: a probe of 4,000 x 128 took 3 s on one and 240 s on two. The result depends on no thread count.
        with threadpool_limits(1, user_api="blas"):
            C, converged = (_FIXED_C, []) if fold is None else self._choose(train, labels, fold)
            # From zero and in float64, so that one line of scikit-learn repeats it.
            model = LogisticRegression(C=C, tol=self.config.tolerance, max_iter=self.config.max_iterations)
            converged.append(_fit(model, train.astype(np.float64), labels))
        chosen: dict[str, float | int | str] = {
            "C": C,
            "chosen_by": FIXED if fold is None else CROSS_VALIDATED,
            "converged": "yes" if all(converged) else f"no: {converged.count(False)} of {len(converged)} fits did not",
        }
        return model, chosen

    def _choose(self, features: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> tuple[float, list[bool]]:
        """The C whose fits on the other folds score best over all labels at once, and whether each fit converged."""
        settings = {"tol": self.config.search_tolerance, "max_iter": self.config.max_iterations, "warm_start": True}
        models = [LogisticRegression(**settings) for _ in range(NUM_FOLDS)]
        score = METRICS[self.config.metric]
        scores: dict[float, float] = {}
        converged: list[bool] = []
        for C in sorted(self.config.C):
            predictions = np.empty_like(labels)
            for number, model in enumerate(models):
                held_out = fold == number
                known = labels[~held_out]
                if (known == known[0]).all():  # a rare class that lies in one fold whole
                    predictions[held_out] = known[0]
                    continue
                converged.append(_fit(model.set_params(C=C), features[~held_out], known))
                predictions[held_out] = model.predict(features[held_out])
            scores[C] = score(labels, predictions)
            if all(recent < max(scores.values()) for recent in list(scores.values())[-_PATIENCE:]):
                break
        return choose(scores, scores.__getitem__), converged


def _fit(model: LogisticRegression, features: np.ndarray, labels: np.ndarray) -> bool:
    """Fit in place; whether the solver converged, which scikit-learn says by a warning only."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features, labels)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
