"""head: a small network on the frozen encoder's last map: what is in the features beyond what a line reads.

Source  the label-efficiency study on autoencoders (source S1): convolutions and one fully connected layer with dropout,
        trained by cross-entropy while the encoder stays as it is. Two 3 x 3 convolutions, each with BatchNorm and ReLU;
        an encoder without a map of more than one place gets one hidden layer on its features instead.
Scale   cross-entropy of classes, mean over images; binary cross-entropy of attributes, mean over the known marks.
Rows    N images of the label budget; their maps are computed once, without augmentation, and standardised per channel
        over the pool. A map is averaged to at most 8 x 8 places, and to fewer if the labelled maps would not fit in
        1 GiB.
Chosen  nothing, or with search=N learning rate, weight decay and class weights by N trials inside the label budget.
Needs   labels. It sees the same number of maps whatever the number of labels: fewer labels never mean fewer steps.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Encoder, Feed
from selfstudy.errors import UserError
from selfstudy.evaluation._features import BATCH, require_finite
from selfstudy.evaluation._protocol import Budget, Protocol, Task
from selfstudy.evaluation._search import Trial, search
from selfstudy.evaluation._trained import LabelLoss, TrainingSettings, probabilities, repeated_rows
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.rng import Rng
from selfstudy.training import Data, Fit, costs, fit
from selfstudy.types import Batch, DataCard, Embedded, Output, Scores, Step, Views
from selfstudy.views import Chain

MOST_PLACES = 8  # a side: what a backbone without a small stem leaves of 256 pixels
MOST_BYTES = 2**30  # of the labelled images' maps


@dataclass(frozen=True, kw_only=True)
class Config(TrainingSettings):
    width: Annotated[int, Field(ge=1)] = 64  # channels of the convolutions; four times as many units without a map
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # Srivastava et al., JMLR 2014: a half for hidden units


_Settings = Config  # what the classes below call their own


class Head(Protocol[Config]):
    Config = Config
    needs = "encoder"

    def run(self, task: Task, rng: Rng) -> Scores:
        started = time.perf_counter()
        trial, chosen_by, record = search(self.config, task, rng, self._learn)
        network, outcome = self._trained(task, trial, rng)
        answers = probabilities(network.logits(task, task.test_rows), task.multi_label)
        places = "x".join(str(size) for size in network.maps.shape[1:])
        chosen = {**asdict(self.config), **asdict(trial), "map": places, "chosen_by": chosen_by}
        scores = task.scores(answers, chosen, time.perf_counter() - started, {"search": record} if record else {})
        weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
        return replace(scores, costs={**costs(outcome, network), "checkpoint_mb": weights / 1e6})

    def _learn(self, budget: Budget, trial: Trial, rng: Rng, rows: Tensor) -> Tensor:
        return probabilities(self._trained(budget, trial, rng)[0].logits(budget, rows), budget.multi_label)

    def _trained(self, budget: Budget, trial: Trial, rng: Rng) -> tuple["Network", Fit]:
        loss = LabelLoss.of(budget, self.config.label_smoothing, trial.class_weight)
        network = Network(budget, self.config, loss, rng)
        data = Data(_blank(budget, repeated_rows(budget, self.config.batch_size)), {}, rng)
        training = self.config.training(trial.lr, trial.weight_decay)
        return network, fit(
            network, data, training, device=budget.device, progress=budget.progress, folder=budget.folder
        )


@dataclass(frozen=True)
class _Maps:
    """Makes the encoder's last maps, [N, channels, side, side], or its features as maps of one place."""

    encoder: Encoder
    layer: str  # "": the features
    side: int

    @classmethod
    def of(cls, budget: Budget) -> "_Maps":
        assert budget.encoder is not None
        layer, first = _last_map(budget, budget.train_rows[:1])
        side = min(MOST_PLACES, *first.shape[2:])
        while side > 1 and 4 * len(budget.train_rows) * first.shape[1] * side**2 > MOST_BYTES:
            side -= 1
        return cls(budget.encoder, layer if side > 1 else "", side)

    @torch.no_grad()
    def parts(self, images: ImageSet, rows: Tensor, device: torch.device) -> Iterator[Tensor]:
        """Float32 on the CPU, batch by batch. Raises RunError for NaN or infinity."""
        backbone = self.encoder.backbone.to(device).eval()
        for part in rows.split(BATCH):
            fed = self.encoder.feed(images.images[part].to(device))
            if self.layer:
                maps = F.adaptive_avg_pool2d(backbone.layers(fed, (self.layer,))[self.layer].float(), self.side)
            else:
                maps = self.encoder.pool(fed).float()[:, :, None, None]
            require_finite(maps.flatten(1))
            yield maps.cpu()


def _last_map(budget: Budget, row: Tensor) -> tuple[str, Tensor]:
    """The last layer, with what it makes of one image; "" and the features where it is no map of several places."""
    assert budget.encoder is not None
    encoder = budget.encoder
    backbone = encoder.backbone.to(budget.device).eval()
    with torch.no_grad():
        fed = encoder.feed(budget.images.images[row].to(budget.device))
        try:
            name = backbone.layer_names[-1]
        except UserError:  # it shows no layers
            name = ""
        values = backbone.layers(fed, (name,))[name] if name else fed
        if name and values.ndim == 4 and min(values.shape[2:]) > 1:
            return name, values
        return "", encoder.pool(fed)[:, :, None, None]


class Network(Method):
    """The head alone: the frozen encoder is none of its parts, only the maps that it made of the labelled images."""

    Config = Config
    recipes: ClassVar[Mapping[str, Any]] = {}
    uses_labels = True
    causes = "a learning rate too high for this optimiser (try a tenth)"

    def __init__(self, budget: Budget, config: "_Settings", loss: LabelLoss, rng: Rng) -> None:
        nn.Module.__init__(self)  # it has no recipe and makes no backbone
        self.source = _Maps.of(budget)
        self.mean, self.scale = _moments(self.source.parts(budget.images, budget.pool_rows, budget.device))
        self.maps = torch.cat(list(self._standard(budget, budget.train_rows)))  # [n, channels, side, side]
        self.loss, self.dropout = loss, config.dropout
        with rng.fork("head").seeding_torch():
            channels, side = self.maps.shape[1], self.source.side
            width = config.width if side > 1 else 4 * config.width
            self.body = _convolutions(channels, width) if side > 1 else _hidden_layer(channels, width)
            self.classify = nn.Linear(width * side**2, budget.num_classes)

    @classmethod
    def chains(cls, config: Any, data: DataCard) -> Mapping[str, Chain]:
        return {}

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        assert batch.labels is not None
        maps = self.maps[batch.index.cpu() % len(self.maps)]  # the set repeats the budget whole
        return Views(batch.index, {"map": maps.to(batch.index.device), "label": batch.labels})

    def embed(self, views: Views, step: Step) -> Embedded:
        return {"h": self.body(views["map"]).flatten(1)}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        hidden = embedded["h"]
        if self.dropout:
            drawn = step.rng.fork("dropout").per_image(views.index).uniform(hidden.shape[1])
            hidden = hidden * (drawn >= self.dropout) / (1 - self.dropout)
        return Output(loss=self.loss(self.classify(hidden).float(), views["label"]))

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.source.encoder.backbone, self.source.encoder.feed

    @torch.no_grad()
    def logits(self, budget: Budget, rows: Tensor) -> Tensor:
        """Float32 [len(rows), K] on the CPU, without dropout."""
        self.eval()
        parts = self._standard(budget, rows)
        return torch.cat([self.classify(self.body(part.to(budget.device)).flatten(1)).float().cpu() for part in parts])

    def _standard(self, budget: Budget, rows: Tensor) -> Iterator[Tensor]:
        for maps in self.source.parts(budget.images, rows, budget.device):
            yield (maps - self.mean) / self.scale


def _convolutions(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
    )  # fmt: skip


def _hidden_layer(units: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(units, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)
    )


def _moments(parts: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel over all images and places, [1, channels, 1, 1]; 1 where it is constant."""
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for maps in parts:
        values = maps.double().transpose(0, 1).flatten(1)
        count, total, squares = count + values.shape[1], total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    scale = torch.where(
        deviation > 1e-5 * mean.abs(), deviation, 1.0
    )  # below it float32 rounding passes for information
    return mean.float().view(1, -1, 1, 1), scale.float().view(1, -1, 1, 1)


def _blank(budget: Budget, rows: Tensor) -> ImageSet:
    """Those rows with their labels, and one black pixel for a picture: the maps stand for the pictures."""
    pixels = torch.zeros(len(budget.images), 1, 1, 1, dtype=torch.uint8)
    return replace(budget.images, images=pixels).select(rows.numpy())
