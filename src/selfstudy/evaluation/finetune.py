"""Fine-tune: train encoder and linear classifier together on the labels. On an untrained encoder: the supervised baseline.

Source  the baseline of every label-efficiency study; the small recipe's numbers are in benchmarks/digits.md. A trained
        encoder's classifier starts from the linear probe fitted to its frozen features: LP-FT, Kumar et al., ICLR 2022,
        arXiv:2202.10054, so that a random classifier's gradients do not spoil the features. Layer decay is timm's.
Scale   cross-entropy of classes, mean over images; binary cross-entropy of attributes, mean over the known marks.
Rows    N images of the label budget, repeated so that every batch is full; each repetition gets another view.
Chosen  nothing, or with search=N learning rate, weight decay and class weights by N trials inside the label budget.
Needs   labels. It sees the same number of images whatever the number of labels: fewer labels never mean fewer steps.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import safetensors.torch
import torch
from pydantic import Field
from torch import Tensor, nn

from selfstudy import files
from selfstudy.encoder import Backbone, Encoder, Feed, state_of
from selfstudy.evaluation._choice import folds
from selfstudy.evaluation._features import encode, location_and_scale
from selfstudy.evaluation._logistic import ProbeSettings, fit_probe, nothing_to_tell_apart
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task
from selfstudy.evaluation._search import Trial, search
from selfstudy.evaluation._trained import LabelLoss, TrainingSettings, Weighting, probabilities, repeated
from selfstudy.method import Method, ParamGroup, split_decay
from selfstudy.rng import Rng
from selfstudy.training import Data, Fit, costs, fit
from selfstudy.types import Batch, DataCard, Embedded, Output, Scores, Step, Views
from selfstudy.views import Chain, Crop, parse, preset

KEPT = "classifier.safetensors"  # in a budget's folder: what `run` has learned, where it is to be kept, for `hand_over` to find
WHOLE = Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
_FAR = 10.0  # in logits, odds of e^-10: how far off a class without labels starts, or an attribute of one value only


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    views: str | Sequence[Any] = "photo"  # a preset or a list of operations, as in a study file
    start: Literal["by_encoder", "probe", "random"] = "by_encoder"  # the classifier: probe for trained encoders
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # each layer's rate, as a share of the one behind it


class Finetune(Protocol[Config]):
    Config = Config
    needs: ClassVar[Literal["labels", "features", "encoder"]] = "encoder"
    version: ClassVar[int] = 2  # trained encoders start from the probe

    def run(self, task: Task, rng: Rng) -> Scores:
        started = time.perf_counter()
        trial, chosen_by, record = search(self.config, task, rng, self._learn)
        classifier, outcome = self._trained(task, trial, rng)
        encoder, classify = classifier.parts()
        values = encode(encoder, task.images, task.test_rows, task.device)
        if task.keep and task.folder is not None:
            classifier.save(task.folder / KEPT)
        chosen = {
            **asdict(self.config), **asdict(trial), "views": "the study's", "start": self._start(task),
            "chosen_by": chosen_by,
        }  # fmt: skip
        seconds = time.perf_counter() - started
        answers = probabilities(classify(values), task.multi_label)
        scores = task.scores(answers, chosen, seconds, {"search": record} if record else {})
        weights = sum(value.numel() * value.element_size() for value in classifier.state_dict().values())
        return replace(scores, costs={**costs(outcome, classifier), "checkpoint_mb": weights / 1e6})

    def hand_over(self, budget: Budget, rng: Rng) -> tuple[Encoder, LinearMap]:
        if budget.folder is not None and (budget.folder / KEPT).is_file():
            return self._classifier(budget, "none", rng).load(budget.folder / KEPT).parts()
        trial, _, _ = search(self.config, budget, rng, self._learn)
        return self._trained(budget, trial, rng)[0].parts()

    def _learn(self, budget: Budget, trial: Trial, rng: Rng, rows: Tensor) -> Tensor:
        encoder, classify = self._trained(budget, trial, rng)[0].parts()
        return probabilities(classify(encode(encoder, budget.images, rows, budget.device)), budget.multi_label)

    def _trained(self, budget: Budget, trial: Trial, rng: Rng) -> tuple["Classifier", Fit]:
        config, classifier = self.config, self._classifier(budget, trial.class_weight, rng)
        assert budget.encoder is not None
        if self._start(budget) == "probe":
            classifier.start_from(_probe(config, budget, rng))
        data = Data(repeated(budget, config.batch_size), {"base": _chain(config, budget.encoder.feed.size)}, rng)
        training = config.training(trial.lr, trial.weight_decay)
        outcome = fit(classifier, data, training, device=budget.device, progress=budget.progress, folder=budget.folder)
        return classifier, outcome

    def _classifier(self, budget: Budget, class_weight: Weighting, rng: Rng) -> "Classifier":
        """As it begins, where it does not start from a probe."""
        assert budget.encoder is not None
        loss = LabelLoss.of(budget, self.config.label_smoothing, class_weight)
        return Classifier(budget.encoder, budget.num_classes, loss, rng, self.config.layer_decay)

    def _start(self, budget: Budget) -> Literal["probe", "random"]:
        """What the classifier starts from. Labels that tell nothing apart give no probe."""
        assert budget.encoder is not None
        if nothing_to_tell_apart(budget.train_labels.numpy()):
            return "random"
        if self.config.start == "by_encoder":
            return "random" if budget.encoder.provenance.get("method") == "random" else "probe"
        return self.config.start


class Classifier(Method):
    """A backbone and a linear layer on its features, trained on labels: a method that uses them."""

    Config = Config
    recipes: ClassVar[Mapping[str, Any]] = {}
    uses_labels = True
    causes = "a learning rate too high for this optimiser (try a tenth)"

    def __init__(self, encoder: Encoder, num_classes: int, loss: LabelLoss, rng: Rng, layer_decay: float = 1.0) -> None:
        nn.Module.__init__(self)  # it has no recipe and makes no backbone: it is given one
        self.backbone: Backbone = copy.deepcopy(encoder.backbone)  # the encoder itself stays frozen
        self.feed: Feed = encoder.feed
        self.loss, self.layer_decay = loss, layer_decay
        with rng.fork("classifier").seeding_torch():
            self.classify = nn.Linear(encoder.dim, num_classes)

    @classmethod
    def chains(cls, config: Any, data: DataCard) -> Mapping[str, Chain]:
        return {"base": _chain(config, data.image_size)}

    @torch.no_grad()
    def start_from(self, classify: LinearMap) -> None:
        """Set the classifier to this map. What has no finite bias starts far off, where training can still reach it.

        A class without labels starts below the mean of all others' logits, hence below the largest, whatever the image.
        """
        weight, bias = classify.weight.clone(), classify.bias.clone()
        known = bias.isfinite()
        if self.loss.multi_label:
            bias[~known] = bias[~known].sign() * _FAR
        else:
            weight[~known], bias[~known] = weight[known].mean(0), bias[known].mean() - _FAR
        self.classify.weight.copy_(weight)
        self.classify.bias.copy_(bias)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        assert batch.labels is not None
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng), "label": batch.labels})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": Encoder(self.backbone, self.feed, {}).pool(self.feed.of_view(views["base"]))}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        logits = self.classify(embedded["h"]).float()
        return Output(loss=self.loss(logits, views["label"]), watch={"h": embedded["h"]})

    def param_groups(self) -> Sequence[ParamGroup]:
        """One rate for all; with layer decay the classifier's, times decay once for every layer that lies behind."""
        if self.layer_decay == 1.0:
            return super().param_groups()
        depths = self.backbone.depths()
        behind = 1 + max(depths.values())
        groups = list(split_decay(self.classify.parameters()))
        for depth in sorted(set(depths.values())):
            scale = self.layer_decay ** (behind - depth)
            own = [parameter for name, parameter in self.backbone.named_parameters() if depths[name] == depth]
            groups += [replace(group, lr_scale=scale) for group in split_decay(own)]
        return groups

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, self.feed

    def save(self, path: Path) -> None:
        """The weights alone: whoever loads them makes the same classifier first."""
        files.write_bytes(path, safetensors.torch.save(state_of(self)))

    def load(self, path: Path) -> Self:
        self.load_state_dict(safetensors.torch.load(path.read_bytes()))
        return self

    def parts(self) -> tuple[Encoder, LinearMap]:
        """The trained encoder, and the classifier on its features."""
        weight, bias = (value.detach().cpu() for value in (self.classify.weight, self.classify.bias))
        return Encoder(self.backbone, self.feed, {}), LinearMap(weight, bias)


def _probe(config: Config, budget: Budget, rng: Rng) -> LinearMap:
    """The linear probe of the frozen encoder, fitted to the same labels."""
    assert budget.encoder is not None
    pool = encode(budget.encoder, budget.images, budget.pool_rows, budget.device)
    known = encode(budget.encoder, budget.images, budget.train_rows, budget.device)
    mean, scale = location_and_scale(pool, torch.arange(len(pool)))
    labels = budget.train_labels.numpy()
    fold = folds(labels, budget.train_groups, rng.fork("probe"))
    settings = ProbeSettings(metric=config.metric)
    return fit_probe(settings, ((known - mean) / scale).numpy(), labels, fold, budget.num_classes).probe.linear_map(
        mean, scale
    )


def _chain(config: Config, size: int) -> Chain:
    entries = preset(config.views, "views") if isinstance(config.views, str) else config.views
    return Chain(size=size, crop=WHOLE, steps=()).with_steps(parse(entries, "views"))
