"""Distill whose teacher is blind: it gives all images the same features."""

import torch

from selfstudy.methods import distill
from selfstudy.types import Embedded, Step, Views


class BlindTeacher(distill.Distill):
    def embed(self, views: Views, step: Step) -> Embedded:
        embedded = super().embed(views, step)
        return {"h": embedded["h"], "teacher": torch.zeros_like(embedded["teacher"])}
