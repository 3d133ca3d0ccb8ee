"""SimSiam: predict the same encoder's projection of the other view, with neither negatives nor a teacher.

Family  joint embedding without negatives, 2021
Source  Chen and He, CVPR 2021, arXiv:2011.10566 (loss: Eq. 1-4; heads and training: §3; small images: App. D).
Scale   mean of both directions' negative cosines: -1 to 1, near 0 at the start. A collapsed encoder also reaches -1,
        so only the spread of z tells the two apart. BYOL's loss is 4 + 4 times this one.
Rows    N images. D = projection width.
Needs   BatchNorm after the projector's last layer and none after the predictor's (§4.4), a predictor whose rate does not
        decay (§4.2), the stop-gradient. It collapses more easily than its kin on small or uniform data.
State   none.
Kin     BYOL's targets come from a slow teacher; Barlow Twins and VICReg forbid collapse in the loss itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfstudy.encoder import Backbone, Feed
from selfstudy.method import MakeBackbone, Method, ParamGroup, Recipe, Requirements
from selfstudy.nn import heads
from selfstudy.nn.precision import in_float32
from selfstudy.rng import Rng
from selfstudy.types import Batch, DataCard, Embedded, Output, Step, Views
from selfstudy.views import Chain, papers


@dataclass(frozen=True, kw_only=True)
class Settings:
    hidden_dim: int = 2048  # width of the projector's hidden layers
    out_dim: int = 2048  # D
    bottleneck_dim: int = 512  # width of the predictor's hidden layer: a quarter of D (paper §3)
    projector_layers: int = 3  # 2 for CIFAR-10 (paper App. D)
    blur: bool = True  # the paper leaves it out for CIFAR-10 (App. D)

    def __post_init__(self) -> None:
        if self.projector_layers < 1:
            raise ValueError(f"projector_layers is {self.projector_layers}, but the projector needs at least 1 layer")


@in_float32
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Mean over rows of -cos(p, z); p and z are [N, D]; no gradient reaches z, without which all collapses (§4.1).

    Range [-1, 1]: -1 where they point the same way, 0 where orthogonal, 1 where opposite.
    """
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


class SimSiam(Method):
    Config = Settings
    causes = (
        "a learning rate too high (try a third; the paper's 0.03 to 0.05 is for SGD, with AdamW 1e-3 or less); images that are "
        "few or nearly all alike (try byol, whose teacher is steadier); batches too small for BatchNorm in the heads (try 256); "
        "views so strong that nothing is left in common"
    )
    recipes = {
        "paper": Recipe(
            source="paper §3 and §4: SGD, learning rate 0.05 x batch / 256, the predictor's constant, ResNet-50",
            optimizer="sgd", lr=0.05, weight_decay=1e-4, batch_size=512, epochs=100, warmup_epochs=0, backbone="resnet50",
        ),
        "small": Recipe(
            source="heads and views: paper App. D (CIFAR-10), which trains by SGD at 0.03 for 800 epochs; optimiser: benchmarks/methods.md",
            optimizer="adamw", lr=1e-3, weight_decay=1e-4, batch_size=256, epochs=200, warmup_epochs=10, backbone="resnet18",
            config={"projector_layers": 2, "blur": False},
        ),
    }  # fmt: skip

    @classmethod
    def requires(cls, config: Settings, data: DataCard) -> Requirements:
        return Requirements(smallest_batch=2)  # BatchNorm in the heads

    @classmethod
    def chains(cls, config: Settings, data: DataCard) -> Mapping[str, Chain]:
        return {"base": papers.moco_v2(data.image_size, blur=config.blur)}

    def __init__(self, make_backbone: MakeBackbone, data: DataCard, config: Settings) -> None:
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        hidden = [config.hidden_dim] * (config.projector_layers - 1)
        # §3: BatchNorm after every layer; the reference code's last one has neither scale nor shift.
        self.project = heads.mlp(self.backbone.dim, *hidden, config.out_dim, last_norm="batch_no_affine")
        self.predict = heads.mlp(config.out_dim, config.bottleneck_dim, config.out_dim)

    def views(self, batch: Batch, rng: Rng, chains: Mapping[str, Chain]) -> Views:
        pair = {name: chains["base"](batch.images, batch.index, rng.fork(name)) for name in ("first", "second")}
        return Views(batch.index, pair)

    def embed(self, views: Views, step: Step) -> Embedded:
        first, second = self.backbone(torch.cat([views["first"], views["second"]])).chunk(2)
        return {"first": first, "second": second}

    def objective(self, embedded: Embedded, views: Views, step: Step) -> Output:
        h = torch.cat([embedded["first"], embedded["second"]])  # [2N, backbone.dim]
        z = self.project(h)  # [2N, D]
        (z_first, z_second), (p_first, p_second) = z.chunk(2), self.predict(z).chunk(2)
        loss = (negative_cosine(p_first, z_second) + negative_cosine(p_second, z_first)) / 2
        return Output(loss=loss, watch={"h": h, "z": z}, watched_views=2)

    def param_groups(self) -> Sequence[ParamGroup]:
        """The predictor keeps its rate: it has to follow the newest z, and slows down too early otherwise (§4.2).

        Weight decay is on everything, biases and norms included, as in the reference code.
        """
        predictor = list(self.predict.parameters())
        others = [*self.backbone.parameters(), *self.project.parameters()]
        return [
            ParamGroup(params=[p for p in others if p.requires_grad]),
            ParamGroup(params=predictor, lr_fixed=True),
        ]

    def encoder(self) -> tuple[Backbone, Feed]:
        return self.backbone, Feed(size=self.data.image_size, channels=self.data.channels)
