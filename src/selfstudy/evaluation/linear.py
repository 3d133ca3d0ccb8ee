"""linear: logistic regression on frozen, standardised features: what a linear map can read from them.

Source  L2-penalised, fitted by L-BFGS, the strength chosen by validation: the transfer protocol of Chen et al., ICML
        2020, arXiv:2002.05709, App. B.8. The solver is scikit-learn's; C is the inverse of the penalty's weight in
        C * (sum of the losses) + |weights|^2 / 2, so over the mean loss the weight is 1 / (C n). Two classes are
        fitted with one logit instead of two, as scikit-learn does. Attributes have one regression each, at one C.
Range   accuracy in [0, 1]; chance is the share of the largest class.
Chosen  C, by cross-validation inside the label budget, of equally good ones the smallest. Along the path of rising C
        every fit starts from the one before; the path ends when two values in a row are worse than the best.
        Below 5 labels per class C = 1, scikit-learn's default: at 1, 2 and 4 per class all of 0.1 to 10 were within
        1.5 points of each other on learned and untrained features of MNIST.
Weights class_weight balanced: every class counts alike in the loss, whatever its labels; choose: that is decided with C.
Rows    n labels, D width.
"""

import time
from dataclasses import dataclass

from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation._choice import folds
from selfstudy.evaluation._features import location_and_scale, standardise
from selfstudy.evaluation._logistic import Fitted, ProbeSettings, fit_probe, nothing_to_tell_apart
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task
from selfstudy.rng import Rng
from selfstudy.types import Scores


@dataclass(frozen=True, kw_only=True)
class Config(ProbeSettings):
    """The settings of the fit: there are no others."""


class Linear(Protocol[Config]):
    Config = Config
    needs = "features"

    def run(self, task: Task, rng: Rng) -> Scores:
        assert task.features is not None
        started = time.perf_counter()
        fitted = self._fitted(task, rng)
        probabilities = fitted.probe.probabilities(standardise(task.features, task.pool_rows, task.test_rows).numpy())
        return task.scores(probabilities, fitted.chosen, time.perf_counter() - started)

    def hand_over(self, budget: Budget, rng: Rng) -> tuple[Encoder, LinearMap]:
        """The standardisation is folded into the map."""
        assert budget.encoder is not None and budget.features is not None
        if nothing_to_tell_apart(budget.train_labels.numpy()):
            raise UserError(f"all labels of {budget.images.name} are of one class, so there is nothing to tell apart")
        probe = self._fitted(budget, rng).probe
        return budget.encoder, probe.linear_map(*location_and_scale(budget.features, budget.pool_rows))

    def _fitted(self, budget: Budget, rng: Rng) -> Fitted:
        """The probe on standardised features, and how it was chosen."""
        assert budget.features is not None
        labels = budget.train_labels.numpy()
        train = standardise(budget.features, budget.pool_rows, budget.train_rows).numpy()
        fold = folds(labels, budget.train_groups, rng.fork("folds"))
        return fit_probe(self.config, train, labels, fold, budget.num_classes)
