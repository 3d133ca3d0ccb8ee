"""Seven methods made of lightly's heads and losses, trained like ours: the peer of benchmarks/methods.py.

Encoder, images, their order, views, optimiser, schedule, batch size and number of images seen are those of our runs; heads,
losses, momentum updates and their defaults are lightly's, with the widths that our runs have.
"""

import copy
import time
from collections.abc import Callable, Mapping

import torch
from lightly.loss import BarlowTwinsLoss, DINOLoss, NegativeCosineSimilarity, NTXentLoss, VICRegLoss
from lightly.models.modules import heads
from lightly.models.utils import update_momentum
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn

from selfstudy.encoder import Encoder, Feed
from selfstudy.images import ImageSet
from selfstudy.nn.schedules import warmup_cosine
from selfstudy.rng import Rng
from selfstudy.training import Data, resolve, untrained
from selfstudy.training.memory import PeakMemory
from selfstudy.views import Chain, Crop, parse, preset

Loss = Callable[[Tensor, Tensor, float], Tensor]  # two views and progress to the loss
Parts = tuple[nn.Module, Loss, Callable[[float], None]]  # what is trained, the loss, what follows a step
DIM = 128  # of conv4
BATCH, LR, WEIGHT_DECAY = 64, 2e-3, 1e-4  # tests/learns/gates.yaml
EPOCHS = 3  # of 4,000 images: all methods, seeds and peers take half an hour


def _nothing(progress: float) -> None: ...


def simclr(backbone: nn.Module) -> Parts:
    project, criterion = heads.SimCLRProjectionHead(DIM, 512, 128), NTXentLoss(0.5)
    student = nn.Sequential(backbone, project)
    return student, lambda a, b, _: criterion(student(a), student(b)), _nothing


def byol(backbone: nn.Module) -> Parts:
    student = nn.Sequential(backbone, heads.BYOLProjectionHead(DIM, 256, 64))
    predict, teacher, criterion = (
        heads.BYOLPredictionHead(64, 256, 64),
        copy.deepcopy(student),
        NegativeCosineSimilarity(),
    )

    def loss(a: Tensor, b: Tensor, _: float) -> Tensor:
        with torch.no_grad():
            targets = teacher(a), teacher(b)
        return 0.5 * (criterion(predict(student(a)), targets[1]) + criterion(predict(student(b)), targets[0]))

    return nn.ModuleList([student, predict]), loss, lambda p: update_momentum(student, teacher, _momentum(p, 0.95))


def moco(backbone: nn.Module) -> Parts:
    student = nn.Sequential(backbone, heads.MoCoProjectionHead(DIM, 256, 128))
    teacher, criterion = copy.deepcopy(student), NTXentLoss(0.2, memory_bank_size=(1024, 128))

    def loss(a: Tensor, b: Tensor, _: float) -> Tensor:
        with torch.no_grad():
            key = teacher(b)
        return criterion(student(a), key)

    return student, loss, lambda p: update_momentum(student, teacher, 0.99)


def simsiam(backbone: nn.Module) -> Parts:
    student = nn.Sequential(backbone, heads.SimSiamProjectionHead(DIM, 256, 256))
    predict, criterion = heads.SimSiamPredictionHead(256, 64, 256), NegativeCosineSimilarity()

    def loss(a: Tensor, b: Tensor, _: float) -> Tensor:
        z = student(a), student(b)
        return 0.5 * (criterion(predict(z[0]), z[1].detach()) + criterion(predict(z[1]), z[0].detach()))

    return nn.ModuleList([student, predict]), loss, _nothing


def barlow(backbone: nn.Module) -> Parts:
    student, criterion = nn.Sequential(backbone, heads.BarlowTwinsProjectionHead(DIM, 512, 512)), BarlowTwinsLoss()
    return student, lambda a, b, _: criterion(student(a), student(b)), _nothing


def vicreg(backbone: nn.Module) -> Parts:
    student, criterion = nn.Sequential(backbone, heads.VICRegProjectionHead(DIM, 512, 512)), VICRegLoss()
    return student, lambda a, b, _: criterion(student(a), student(b)), _nothing


def dino(backbone: nn.Module) -> Parts:
    head, other = (heads.DINOProjectionHead(DIM, 512, 64, 1024, batch_norm=True) for _ in range(2))
    other.load_state_dict(head.state_dict())  # its weight norm cannot be copied
    student, teacher = nn.Sequential(backbone, head), nn.Sequential(copy.deepcopy(backbone), other)
    criterion = DINOLoss(1024)

    def loss(a: Tensor, b: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            targets = [teacher(a), teacher(b)]
        return criterion(targets, [student(a), student(b)], epoch=int(progress * EPOCHS))

    return student, loss, lambda p: update_momentum(student, teacher, _momentum(p, 0.99))


LIGHTLY: Mapping[str, Callable[[nn.Module], Parts]] = {
    "simclr": simclr, "byol": byol, "moco": moco, "simsiam": simsiam, "barlow": barlow, "vicreg": vicreg, "dino": dino,
}  # fmt: skip


def train(name: str, images: ImageSet, seed: int) -> tuple[Encoder, dict[str, float]]:
    """The encoder, and what it cost by the names of run.json."""
    rng = Rng.from_seed(seed)
    settings = resolve("simclr", {"backbone": "conv4", "epochs": EPOCHS, "batch_size": BATCH}, images.card, "benchmark")
    backbone = untrained("conv4", "small", images, seed).backbone
    with rng.fork("lightly").seeding_torch():
        student, loss, after = LIGHTLY[name](backbone)
    student.to(memory_format=torch.channels_last).train()
    crop = Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    chain = Chain(size=images.image_size, crop=crop, steps=()).with_steps(parse(preset("digits", "views"), "views"))
    data, steps = Data(images, {"base": chain}, rng), settings.training.steps
    optimizer = torch.optim.AdamW(
        [p for p in student.parameters() if p.requires_grad], lr=LR, weight_decay=WEIGHT_DECAY, fused=True
    )
    rate, memory, started = warmup_cosine(0.1, 0.0), PeakMemory(torch.device("cpu")), time.monotonic()
    for step in range(steps):
        batch, stream = data.batch(step, BATCH), rng.fork("views", step)
        views = [chain(batch.images, batch.index, stream.fork(view)) for view in ("first", "second")]
        optimizer.param_groups[0]["lr"] = LR * rate(step / steps)
        loss(views[0], views[1], step / steps).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after(step / steps)
        if step % 20 == 0:
            memory.sample()
    costs = {"seconds": time.monotonic() - started, "images_seen": steps * BATCH, "peak_memory_mb": memory.peak_mb}
    backbone.to(memory_format=torch.contiguous_format)
    return Encoder(
        backbone, Feed(size=images.image_size, channels=images.channels), {"method": f"lightly {name}"}
    ), costs


def _momentum(progress: float, start: float) -> float:
    return cosine_schedule(round(progress * 1000), 1001, start, 1.0)
