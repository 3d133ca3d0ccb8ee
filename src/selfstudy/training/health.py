"""Is it still learning? Collapse is seen in the spread of the embeddings, long before any label could show it.

Source  spread: Chen and He 2021 (SimSiam), arXiv:2011.10566 §4.1. Effective rank: Roy and Vetterli 2007; used for
        self-supervised encoders as RankMe, Garrido et al. 2023, arXiv:2210.02885, where it compares runs of one method.
        Alignment and uniformity: Wang and Isola 2020, arXiv:2005.10242, Eq. 1 and 2 (alpha = t = 2).
Names   z: the projections that the loss acts on; h: the features that are kept. Features after a ReLU are never even:
        healthy ones have a spread of 0.2 to 0.4 (benchmarks/), so they are held against limits of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

COLLAPSED_BELOW, WARN_BELOW = (
    0.1,
    0.5,
)  # of z's spread; ours: no paper states one. benchmarks/ hold what healthy runs show
LIMITS = {"z": (COLLAPSED_BELOW, WARN_BELOW), "h": (0.02, 0.1)}
LOW_RANK = 0.1  # of the most that rows and width allow: embeddings in a few dimensions only
STUCK_WITHIN = 0.01  # of the loss of nothing, relative
CHECKS_IN_A_ROW = 2  # one low reading may be a batch of look-alikes
RANK_EPSILON = 1e-7  # RankMe, Eq. 1

Verdict = Literal["healthy", "warning", "collapsed"]


def spread(embeddings: Tensor) -> float:
    """sqrt(D) * mean over dimensions of the deviation of the length-normalised rows of [N, D]: 1 even, 0 collapsed."""
    unit = F.normalize(embeddings.detach().float(), dim=1)
    return float(unit.std(0).mean() * unit.shape[1] ** 0.5)


def effective_rank(embeddings: Tensor) -> float:
    """exp of the entropy of the singular values' shares, of uncentred [N, D]: 1 to min(N, D)."""
    values = torch.linalg.svdvals(embeddings.detach().double())
    shares = values / values.sum().clamp(min=RANK_EPSILON) + RANK_EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))


def alignment(embeddings: Tensor, views: int) -> float:
    """Mean squared distance of two views of an image, rows [views * N, D] normalised: 0 the same, 2 unrelated, 4 opposite."""
    first, second = F.normalize(embeddings.detach().float(), dim=1).view(views, -1, embeddings.shape[1])[:2]
    return float((first - second).square().sum(1).mean())


def uniformity(embeddings: Tensor) -> float:
    """log of the mean over pairs of rows of exp(-2 d^2), normalised: 0 collapsed, towards -4 spread over the sphere."""
    unit = F.normalize(embeddings.detach().float(), dim=1)
    return float(torch.pdist(unit).square().mul(-2).exp().mean().log())


@dataclass
class Watch:
    """Counts low readings of the watched embeddings over a run."""

    low_in_a_row: int = 0
    readings: dict[str, float] = field(default_factory=dict)  # the last ones: z_std, z_rank, h_std, ...

    def look(self, watched: Mapping[str, Tensor], views: int = 1) -> dict[str, float]:
        """Read [views * N, D] embeddings by name; the readings go into the log."""
        self.readings = {}
        for name, embeddings in watched.items():
            first = embeddings[: len(embeddings) // views]
            self.readings[f"{name}_std"] = spread(embeddings)
            self.readings[f"{name}_rank"] = effective_rank(embeddings)
            self.readings[f"{name}_rank_share"] = self.readings[f"{name}_rank"] / min(embeddings.shape)
            if len(first) > 1:
                self.readings[f"{name}_uniformity"] = uniformity(first)
            if views > 1:
                self.readings[f"{name}_alignment"] = alignment(embeddings, views)
        self.low_in_a_row = self.low_in_a_row + 1 if self.deciding_spread < LIMITS[self.deciding][0] else 0
        return self.readings

    @property
    def deciding(self) -> Literal["z", "h"]:
        """The projections z where there are any, since the loss acts on them; else the features h."""
        return "z" if "z_std" in self.readings else "h"

    @property
    def deciding_spread(self) -> float:
        return self.readings.get(f"{self.deciding}_std", 1.0)

    @property
    def collapsed(self) -> bool:
        return self.low_in_a_row >= CHECKS_IN_A_ROW


def diagnose(method: str, causes: str, watch: Watch, loss: float, loss_of_nothing: float | None) -> dict[str, object]:
    """The last readings with a verdict and a sentence that a newcomer understands, as run.json holds it."""
    verdict, message = _verdict(method, causes, watch, loss, loss_of_nothing)
    names = {"std": "std", "rank": "effective_rank", "alignment": "alignment", "uniformity": "uniformity"}
    grouped = {
        part: {
            long: watch.readings[key] for short, long in names.items() if (key := f"{part}_{short}") in watch.readings
        }
        for part in ("z", "h")
        if f"{part}_std" in watch.readings
    }
    return {**grouped, "verdict": verdict, "message": message}


def _verdict(method: str, causes: str, watch: Watch, loss: float, nothing: float | None) -> tuple[Verdict, str]:
    reading, part = watch.deciding_spread, watch.deciding
    what = f"spread {reading:.3f}; 1 is even, 0 is a point" if part == "z" else f"spread {reading:.3f}; 0 is a point"
    usual = f" Usual causes, in order, and what to change: {causes}."
    if watch.collapsed:
        return "collapsed", f"{method} has collapsed: every image now has nearly the same embedding ({what}).{usual}"
    if nothing is not None and abs(loss - nothing) < STUCK_WITHIN * abs(nothing):
        return "warning", (
            f"{method} has not begun to learn: its loss is {loss:.3f}, and {nothing:.3f} is what it is when all images look alike "
            f"to it.{usual}"
        )
    if reading < LIMITS[part][1]:
        return "warning", (
            f"{method}: the embeddings lie close together ({what}). It may still have learned: compare its accuracy with the "
            "untrained encoder's."
        )
    share = watch.readings.get("z_rank_share", 1.0)
    if share < LOW_RANK:
        return "warning", (
            f"{method}: the projections use few of their dimensions (effective rank {watch.readings['z_rank']:.1f}, {share:.0%} of "
            "what is possible). It may still have learned: compare its accuracy with the untrained encoder's."
        )
    return "healthy", f"{method}: the embeddings are spread out ({what})."
