"""Sanity: whether the maps depend on what was learned at all: with random weights they must change.

Source  Adebayo et al., NeurIPS 2018, arXiv:1810.03292, §3.1 (cascading randomisation, from the last layer to the first);
        some methods only find edges, and their maps stay when the network forgets everything.
Measures  see `_compare.py`, between the true map and the map after each stage.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from selfstudy.encoder import build_backbone
from selfstudy.explain._analysis import Analysis, Subject
from selfstudy.explain._attribution import find
from selfstudy.explain._compare import MEASURES, compare
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, heat, sheet
from selfstudy.explain._questions import ClassScore, Network, Question, about_answers
from selfstudy.rng import Rng

UNCHANGED = 0.5  # a rank correlation above it: most of the map was there before anything was learned (our line; none is published)


@dataclass(frozen=True, kw_only=True)
class Config:
    method: str = "integrated_gradients"  # an attribution
    stages: Annotated[int, Field(ge=1)] = 4  # of the cascade; 1: all weights at once


class Sanity(Analysis[Config]):
    Config = Config

    def run(self, subject: Subject) -> Findings:
        method = find(self.config.method)
        question = about_answers(subject, subject.viewer, subject.rows)
        true = method.maps(question)
        lines: list[dict[str, object]] = []
        found: dict[str, Tensor] = {}
        for name in randomise(question.network, self.config.stages, subject.rng.fork("sanity")):
            found[name] = method.maps(question)
            lines.append(
                {"stage": name, **{key: float(values.mean()) for key, values in compare(true, found[name]).items()}}
            )
        table = pd.DataFrame(lines, columns=["stage", *MEASURES])
        numbers = {name: float(table[name].iloc[-1]) for name in MEASURES}
        verdict = (
            "the map hardly depends on what was learned, so do not read it"
            if numbers["rank"] > UNCHANGED
            else "the map depends on what was learned"
        )
        sentence = (
            f"With all weights random, the pixels' ranks by {method.title} correlate by {numbers['rank']:.2f} with the true ones "
            f"(1 would be unchanged): {verdict}."
        )
        return Findings(
            sentence=sentence, numbers=numbers, table=table, pictures={"maps": _drawn(question, true, found)}
        )


def randomise(network: Network, stages: int, rng: Rng) -> Iterator[str]:
    """Make the network forget, in place: yields the name of each stage once it is reached; the last has forgotten all."""
    if isinstance(network, ClassScore):
        scale = float(network.weight.std())
        noise = rng.fork("classifier").per_image(torch.arange(len(network.weight))).normal(network.weight.shape[1])
        network.weight.copy_(noise * scale)
        yield "classifier"
    backbone = network.backbone
    with rng.fork("weights").seeding_torch():
        fresh = build_backbone(backbone.spec).state_dict()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in backbone.named_parameters()))
    state = backbone.state_dict()  # the weights themselves
    done = 0
    for stage in range(1, stages + 1):
        upto = -(-len(layers) * stage // stages)
        for layer in layers[::-1][done:upto]:
            for name in state:
                if name.rpartition(".")[0] == layer:
                    state[name].copy_(fresh[name])
        done = upto
        yield f"{100 * upto // len(layers)} % of layers"


def _drawn(question: Question, true: Tensor, found: dict[str, Tensor]) -> Picture:
    rows = [[Tile(pixels) for pixels in displayed(question.views)]]
    rows += [[Tile(pixels) for pixels in heat(question.views, maps)] for maps in (true, *found.values())]
    return Picture(
        pixels=sheet(rows, ["", "as trained", *found]),
        caption="The map as trained, and below it after more and more layers have forgotten what they learned, the last first.",
        alternative=f"{len(true)} images with their maps as trained and with random weights.",
    )
