"""Reconstructions: what a method that draws was given, what it drew, and what it should have drawn.

Pictures  what the method itself showed at the end of its training (`Method.show`): MAE, autoencoders, VAE, colorization.
Range   root mean squared error over pixels in [0, 1]: 0 for a perfect drawing. What drawing the mean of the same pictures
        for every image would give stands beside it: a drawing that is no better has learned nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.explain._analysis import Analysis, Need, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings."""


class Reconstructions(Analysis[Config]):
    Config = Config
    needs = frozenset[Need]({"shown"})

    def run(self, subject: Subject) -> Findings:
        shown = subject.shown
        if not {"original", "drawn"} <= set(shown):
            raise UserError(f"reconstructions: {subject.viewer.name} is of a method that draws no pictures")
        original, drawn = (shown[name].float() / 255 for name in ("original", "drawn"))
        errors, blank = error(drawn, original), error(original.mean(0, keepdim=True), original)
        table = pd.DataFrame(
            {"picture": range(1, len(errors) + 1), "error": errors.numpy(), "error_of_mean": blank.numpy()}
        )
        numbers = {"error": float(errors.mean()), "error_of_mean": float(blank.mean())}
        sentence = (
            f"Its drawings are off by {numbers['error']:.3f} (root mean squared error of pixels from 0 to 1), the mean picture by "
            f"{numbers['error_of_mean']:.3f}, over {len(errors)} images that it was trained on."
        )
        return Findings(sentence=sentence, numbers=numbers, table=table, pictures={"drawings": _drawn(shown)})


def error(drawn: Tensor, original: Tensor) -> Tensor:
    """Root mean squared error of each picture, [N], of float [N or 1, C, H, W] and [N, C, H, W]."""
    return (drawn - original).square().flatten(1).mean(1).sqrt()


def _drawn(shown: Mapping[str, Tensor]) -> Picture:
    names = [name for name in ("original", "input", "drawn") if name in shown]
    return Picture(
        pixels=sheet([[Tile(pixels) for pixels in displayed(shown[name])] for name in names], names),
        caption=f"From the top: {', '.join(_WORDS[name] for name in names)}.",
        alternative=f"{len(shown['drawn'])} images, and below each what the method drew of it.",
    )


_WORDS = {"original": "the picture", "input": "what the method was given of it", "drawn": "what it drew"}
