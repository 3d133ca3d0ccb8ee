"""DINO with multi-crop: proves that slots of different sizes, a teacher, a centre and a frozen layer fit the contract."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from selfstudy.encoder import Feed
from selfstudy.method import Method, ParamGroup, Recipe, split_decay
from selfstudy.nn import ema, heads
from selfstudy.nn.schedules import cosine
from selfstudy.types import Output, Views
from selfstudy.views import Chain, Crop


@dataclass(frozen=True, kw_only=True)
class Config:
    prototypes: int = 32
    num_local: int = 3


class DINO(Method):
    Config = Config
    causes = "a spike"
    recipes = {
        "small": Recipe(
            source="spike",
            optimizer="sgd",
            lr=0.1,
            weight_decay=1e-4,
            batch_size=8,
            epochs=1,
            warmup_epochs=0,
            backbone="conv4",
        )
    }

    @classmethod
    def chains(cls, config, data):
        return {
            "global": Chain(size=data.image_size, crop=Crop(scale=(0.4, 1.0)), steps=()),
            "local": Chain(size=data.image_size // 2, crop=Crop(scale=(0.05, 0.4)), steps=()),
        }

    def __init__(self, make_backbone, data, config):
        super().__init__(make_backbone, data, config)
        self.backbone = make_backbone()
        self.project = heads.mlp(self.backbone.dim, 64, 16)
        self.prototypes = nn.Linear(16, config.prototypes, bias=False)
        self.teacher = ema.teacher_of(nn.ModuleList([self.backbone, self.project, self.prototypes]))
        self.register_buffer("centre", torch.zeros(config.prototypes))

    def views(self, batch, rng, chains):
        def make(slot, number):
            return chains[slot](batch.images, batch.index, rng.fork(slot, number))

        globals_ = {f"global{i}": make("global", i) for i in range(2)}
        return Views(batch.index, globals_ | {f"local{i}": make("local", i) for i in range(self.config.num_local)})

    def embed(self, views, step):
        student = {name: self.backbone(view) for name, view in views.tensors.items()}
        with torch.no_grad():
            return student | {f"teacher_{name}": self.teacher[0](views[name]) for name in ("global0", "global1")}

    def objective(self, embedded, views, step):
        students = {name: self.project(h) for name, h in embedded.items() if not name.startswith("teacher")}
        logits = {name: self.prototypes(F.normalize(z, dim=1)) / 0.1 for name, z in students.items()}
        with torch.no_grad():
            raw = {
                name: self.teacher[2](F.normalize(self.teacher[1](embedded[f"teacher_{name}"]), dim=1))
                for name in ("global0", "global1")
            }
            targets = {name: ((value - self.centre) / 0.04).softmax(1) for name, value in raw.items()}
        terms = [
            -(target * logits[student].log_softmax(1)).sum(1).mean()
            for teacher, target in targets.items() for student in logits if student != teacher
        ]  # fmt: skip
        return Output(
            loss=torch.stack(terms).mean(),
            carry={"centre": torch.cat(list(raw.values())).mean(0)},
            watch={"h": embedded["global0"], "z": students["global0"]},
        )

    def schedules(self):
        return {"momentum": cosine(0.99, 1.0)}

    def after_step(self, carry, step):
        self.centre.mul_(0.9).add_(carry["centre"], alpha=0.1)
        ema.follow(
            self.teacher, nn.ModuleList([self.backbone, self.project, self.prototypes]), step.scheduled["momentum"]
        )

    def param_groups(self):
        last = set(self.prototypes.parameters())
        groups = split_decay([p for p in self.parameters() if p not in last])
        return [*groups, ParamGroup(params=list(last), freeze_until_epoch=1)]

    def encoder(self):
        return self.teacher[0], Feed(size=self.data.image_size, channels=self.data.channels)
