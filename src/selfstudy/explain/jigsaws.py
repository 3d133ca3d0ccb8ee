"""Jigsaws: tiles as the method was given them, and as it put them back.

Pictures  what the method itself showed at the end of its training (`Method.show`): jigsaw.
Range   a jigsaw is solved if every tile is back in its place; tiles of one colour may lie in each other's.
"""

from dataclasses import dataclass

import pandas as pd

from selfstudy.errors import UserError
from selfstudy.explain._analysis import Analysis, Need, Subject
from selfstudy.explain._findings import Findings, Picture
from selfstudy.explain._pictures import Tile, displayed, sheet


@dataclass(frozen=True, kw_only=True)
class Config:
    """It has no settings."""


class Jigsaws(Analysis[Config]):
    Config = Config
    needs = frozenset[Need]({"shown"})

    def run(self, subject: Subject) -> Findings:
        shown = subject.shown
        if not {"in order", "shuffled", "put back"} <= set(shown):
            raise UserError(f"jigsaws: {subject.viewer.name} is of a method that puts no tiles in order")
        in_order, put_back = shown["in order"], shown["put back"]
        solved = (in_order == put_back).flatten(1).all(1)
        right = (in_order == put_back).flatten(1).double().mean(1)
        table = pd.DataFrame(
            {"picture": range(1, len(solved) + 1), "solved": solved.int().numpy(), "equal_pixels": right.numpy()}
        )
        numbers = {"solved": float(solved.double().mean()), "num_pictures": float(len(solved))}
        sentence = f"It puts {int(solved.sum())} of {len(solved)} jigsaws of its training images back in order."
        rows = [[Tile(pixels) for pixels in displayed(shown[name])] for name in ("in order", "shuffled")]
        rows.append([
            Tile(pixels, "solved" if done else "not solved", not done)
            for pixels, done in zip(displayed(put_back), solved.tolist(), strict=True)
        ])  # fmt: skip
        picture = Picture(
            pixels=sheet(rows, ["in order", "shuffled", "put back"]),
            caption="From the top: the tiles in order, as the method was given them, and as it put them back (framed: wrongly).",
            alternative=f"{len(solved)} jigsaws, {int(solved.sum())} of them solved.",
        )
        return Findings(sentence=sentence, numbers=numbers, table=table, pictures={"jigsaws": picture})
