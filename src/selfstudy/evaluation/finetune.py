"""Fine-tune: train encoder and linear classifier together on the labels. On an untrained encoder: the supervised baseline.

Source  the baseline of every label-efficiency study; the small recipe's numbers are in benchmarks/digits.md.
Scale   cross-entropy, mean over images.
Rows    N images of the label budget, repeated so that every batch is full; each repetition gets another view.
Needs   labels. It sees the same number of images whatever the number of labels: fewer labels never mean fewer steps.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import nn

from selfstudy.encoder import Backbone, Encoder, Feed
from selfstudy.evaluation._protocol import Budget, LinearMap, Protocol, Task
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.rng import Rng
from selfstudy.training import Data, Fit, Training, costs, fit
from selfstudy.types import Batch, DataCard, Embedded, Output, Scores, Step, Views
from selfstudy.views import Chain, Crop, parse, preset

WHOLE = Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class Config:
    views: str | Sequence[Any] = "photo"  # a preset or a list of operations, as in a study file
    optimizer: Literal["sgd", "adamw", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    images_seen: int = 38_400
    batch_size: int = 64
    warmup: float = 0.1  # share of the steps
    label_smoothing: float = 0.0


class Finetune(Protocol[Config]):
    Config = Config
    needs: ClassVar[Literal["labels", "features", "encoder"]] = "encoder"

    def run(self, task: Task, rng: Rng) -> Scores:
        started = time.perf_counter()
        classifier, outcome = self._trained(task, rng)
        encoder, classify = classifier.parts()
        values = encoder(task.images.images[task.test_rows], device=task.device)
        predictions = classify(values).argmax(1)
        chosen = {**asdict(self.config), "views": "the study's", "chosen_by": "fixed: the recipe, last epoch"}
        scores = task.scores(predictions, chosen, time.perf_counter() - started)
        weights = sum(value.numel() * value.element_size() for value in classifier.state_dict().values())
        return replace(scores, costs={**costs(outcome, classifier), "checkpoint_mb": weights / 1e6})

    def hand_over(self, budget: Budget, rng: Rng) -> tuple[Encoder, LinearMap]:
        return self._trained(budget, rng)[0].parts()

    def _trained(self, budget: Budget, rng: Rng) -> tuple["Classifier", Fit]:
        assert budget.encoder is not None
        config = self.config
        classifier = Classifier(budget.encoder, budget.num_classes, config.label_smoothing, rng)
        training = Training(
            optimizer=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, momentum=0.9, betas=(0.9, 0.999),
            warmup=config.warmup, final_lr_factor=0.0, clip_norm=0.0, batch_size=config.batch_size,
            steps=-(-config.images_seen // config.batch_size), on_collapse="continue",
        )  # fmt: skip
        data = Data(_repeated(budget, config.batch_size), {"base": _chain(config, budget.encoder.feed.size)}, rng)
        outcome = fit(classifier, data, training, device=budget.device, progress=budget.progress, folder=budget.folder)
        return classifier, outcome


class Classifier(Method):
    """A backbone and a linear layer on its features, trained by cross-entropy: a method that uses labels."""

    Config = Config
    recipes: ClassVar[Mapping[str, Any]] = {}
    uses_labels = True
    causes = "a learning rate too high for this optimiser (try a tenth)"

    def __init__(self, encoder: Encoder, num_classes: int, label_smoothing: float, rng: Rng) -> None:
        nn.Module.__init__(self)  # it has no recipe and makes no backbone: it is given one
        self.backbone: Backbone = copy.deepcopy(encoder.backbone)  # the encoder itself stays frozen
        self.feed: Feed = encoder.feed
        self.label_smoothing = label_smoothing
        with rng.fork("classifier").seeding_torch():
            self.classify = nn.Linear(encoder.dim, num_classes)

    @classmethod
    def chains(cls, config: Any, data: DataCard) -> Mapping[str, Chain]:
        return {"base": _chain(config, data.image_size)}

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        assert batch.labels is not None
        return Views(batch.index, {"base": chains["base"](batch.images, batch.index, rng), "label": batch.labels})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": Encoder(self.backbone, self.feed, {}).pool(self.feed.of_view(views["base"]))}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        logits = self.classify(embedded["h"]).float()
        loss = F.cross_entropy(logits, views["label"], label_smoothing=self.label_smoothing)
        return Output(loss=loss, watch={"h": embedded["h"]})

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, self.feed

    def parts(self) -> tuple[Encoder, LinearMap]:
        """The trained encoder, and the classifier on its features."""
        weight, bias = (value.detach().cpu() for value in (self.classify.weight, self.classify.bias))
        return Encoder(self.backbone, self.feed, {}), LinearMap(weight, bias)


def _chain(config: Config, size: int) -> Chain:
    entries = preset(config.views, "views") if isinstance(config.views, str) else config.views
    return Chain(size=size, crop=WHOLE, steps=()).with_steps(parse(entries, "views"))


def _repeated(budget: Budget, batch_size: int) -> ImageSet:
    """The label budget, repeated to at least ten batches: each copy has its own index, hence its own views."""
    rows = budget.train_rows
    copies = max(1, -(-10 * batch_size // len(rows)))
    return budget.images.select(rows.repeat(copies).numpy())
