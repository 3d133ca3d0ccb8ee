"""Is it still learning? Collapse is seen in the spread of the embeddings, long before any label could show it.

Source  spread: Chen and He 2021 (SimSiam), arXiv:2011.10566 §4.1. Effective rank: Roy and Vetterli 2007; used for
        self-supervised encoders as RankMe, Garrido et al. 2023, arXiv:2210.02885, where it compares runs of one method.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

COLLAPSED_BELOW, WARN_BELOW = 0.1, 0.5  # of spread; ours: no paper states one. benchmarks/ hold what healthy runs show
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


@dataclass
class Watch:
    """Counts low readings of the watched embeddings over a run."""

    low_in_a_row: int = 0
    readings: dict[str, float] = field(default_factory=dict)  # the last ones: z_std, z_rank, h_std, h_rank

    def look(self, watched: Mapping[str, Tensor]) -> dict[str, float]:
        """Read [rows, D] embeddings by name; the readings go into the log."""
        self.readings = {}
        for name, embeddings in watched.items():
            self.readings[f"{name}_std"] = spread(embeddings)
            self.readings[f"{name}_rank"] = effective_rank(embeddings)
        self.low_in_a_row = self.low_in_a_row + 1 if self.deciding_spread < COLLAPSED_BELOW else 0
        return self.readings

    @property
    def deciding_spread(self) -> float:
        """Of the projections z where there are any, since the loss acts on them; else of the features h."""
        return self.readings.get("z_std", self.readings.get("h_std", 1.0))

    @property
    def collapsed(self) -> bool:
        return self.low_in_a_row >= CHECKS_IN_A_ROW


def diagnose(method: str, watch: Watch) -> dict[str, object]:
    """The last readings with a verdict and a sentence that a newcomer understands, as run.json holds it."""
    reading = watch.deciding_spread
    verdict: Verdict = "collapsed" if watch.collapsed else "warning" if reading < WARN_BELOW else "healthy"
    messages: dict[Verdict, str] = {
        "collapsed": (
            f"{method} has collapsed: every image now has nearly the same embedding (spread {reading:.3f}; 1 is even, 0 is a "
            "point). Usual causes, in order: a learning rate too high for this optimiser, a head without BatchNorm, a teacher "
            "that follows too fast, views so strong that nothing is left in common. Try a tenth of the learning rate first."
        ),
        "warning": (
            f"{method}: the embeddings lie close together (spread {reading:.2f}; 1 is even, 0 is a point). It may still have "
            "learned: compare its accuracy with the untrained encoder's."
        ),
        "healthy": f"{method}: the embeddings are spread out (spread {reading:.2f}; 1 is even, 0 is a point).",
    }
    grouped = {
        name: {"std": watch.readings[f"{name}_std"], "effective_rank": watch.readings[f"{name}_rank"]}
        for name in ("z", "h")
        if f"{name}_std" in watch.readings
    }
    return {**grouped, "verdict": verdict, "message": messages[verdict]}
