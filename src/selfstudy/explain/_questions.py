"""Questions: one number for each of N views whose cause is sought: a class's score, or a similarity, which needs no labels.

The network that gives it is a copy of the encoder in eval mode, so nothing is left behind in the encoder itself, with no
operation in place, which gradients with respect to inner values could not be taken through.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfstudy.encoder import Backbone, Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation import LinearMap
from selfstudy.explain._analysis import Subject, Viewer
from selfstudy.explain._neighbours import nearest


class Network(nn.Module):
    """Views float32 [N, C, H, W] in [0, 1], as the encoder's feed makes them, and what is asked of each, to [N]."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.backbone: Backbone = copy.deepcopy(encoder.backbone).eval().requires_grad_(False)
        for module in self.backbone.modules():
            if vars(module).get("inplace"):
                module.inplace = False  # type: ignore[assignment]
        self._encoder = replace(encoder, backbone=self.backbone)

    def features(self, views: Tensor) -> Tensor:
        return self._encoder.pool(views).float()

    def strength(self, views: Tensor, asked: Tensor) -> Tensor:
        """The same on a scale that people read: a probability instead of a logit."""
        return self(views, asked)


class ClassScore(Network):
    """The logits of the classes `asked`, int64 [N]."""

    weight: Tensor
    bias: Tensor

    def __init__(self, encoder: Encoder, classifier: LinearMap) -> None:
        super().__init__(encoder)
        self.register_buffer("weight", classifier.weight.clone())
        self.register_buffer("bias", classifier.bias.clone())

    def forward(self, views: Tensor, asked: Tensor) -> Tensor:
        # A class without labels has a bias of -inf, which has no differences; its weights are zero, so it explains nothing.
        logits = self.features(views) @ self.weight.T + self.bias.nan_to_num(neginf=0.0, posinf=0.0)
        return logits.gather(1, asked[:, None])[:, 0]

    def strength(self, views: Tensor, asked: Tensor) -> Tensor:
        logits = self.features(views) @ self.weight.T + self.bias
        return logits.softmax(1).gather(1, asked[:, None])[:, 0]


class Similarity(Network):
    """The cosine of the views' features with the features `asked`, float32 [N, D]."""

    def forward(self, views: Tensor, asked: Tensor) -> Tensor:
        return F.cosine_similarity(self.features(views), asked, dim=1)


@dataclass(frozen=True, eq=False)
class Question:
    """`network(views, asked)` is what is to be explained, float32 [N]."""

    network: Network
    views: Tensor  # float32 [N, C, H, W] in [0, 1]
    asked: Tensor  # what is asked of each view: dimension 0 is the view
    names: tuple[str, ...]  # of what is asked, for people

    @property
    def baseline(self) -> Tensor:
        """Float32 [1, C, 1, 1]: the mean colour of the training images, which the backbone sees as zero.

        Against black, the ink of a scanned page could never be given credit (Sturmfels et al., Distill 2020).
        """
        mean = torch.tensor(self.network.backbone.spec.mean, dtype=torch.float32, device=self.views.device)
        return mean.view(1, -1, 1, 1)

    def scores(self, views: Tensor) -> Tensor:
        """Float32 [N] on the CPU, of views in the place of these."""
        with torch.no_grad():
            return self.network(views, self.asked).float().cpu()

    def chunks(self, size: int) -> Iterator["Question"]:
        for start in range(0, len(self.views), size):
            part = slice(start, start + size)
            yield replace(self, views=self.views[part], asked=self.asked[part], names=self.names[part])


def views_of(subject: Subject, viewer: Viewer, rows: Tensor) -> Tensor:
    """Float32 [n, C, H, W] on the subject's device: the images as the viewer's encoder is fed."""
    return viewer.encoder.feed(subject.images.images[rows].to(subject.device))


def about_classes(subject: Subject, viewer: Viewer, rows: Tensor, classes: Tensor) -> Question:
    """Why `classes` (int64 [n])?"""
    if viewer.classifier is None:
        raise UserError(f"{viewer.name} has no classifier, so no class can be asked about")
    network = ClassScore(viewer.encoder, viewer.classifier).to(subject.device)
    names = tuple(subject.images.classes[number] for number in classes.tolist())
    return Question(network, views_of(subject, viewer, rows), classes.to(subject.device), names)


def about_similarity(subject: Subject, viewer: Viewer, views: Tensor, references: Tensor, names: tuple[str, ...]) -> Question:  # fmt: skip
    """Why so alike to `references`, features float32 [n, D]?"""
    network = Similarity(viewer.encoder).to(subject.device)
    return Question(network, views.to(subject.device), references.to(subject.device), names)


def about_answers(subject: Subject, viewer: Viewer, rows: Tensor) -> Question:
    """Of a classifier: why the class it names? Of an encoder alone: why so alike to the image nearest to it?"""
    if viewer.classifier is not None:
        return about_classes(subject, viewer, rows, viewer.probabilities(rows).argmax(1))
    return about_rows(subject, viewer, rows, nearest_rows(subject, viewer, rows))


def about_rows(subject: Subject, viewer: Viewer, rows: Tensor, others: Tensor) -> Question:
    """Why so alike to the images at int64 positions `others`?"""
    names = tuple(subject.id_of(row) for row in others.tolist())
    return about_similarity(subject, viewer, views_of(subject, viewer, rows), viewer.features[others], names)


def nearest_rows(subject: Subject, viewer: Viewer, rows: Tensor) -> Tensor:
    """Int64 [n]: the nearest image to each, of another group."""
    found = nearest(viewer.features, rows, subject.images.groups, 1)[0][:, 0]
    if (found < 0).any():
        raise UserError(f"all images of {subject.images.name} are of one group, so none has a neighbour")
    return found
