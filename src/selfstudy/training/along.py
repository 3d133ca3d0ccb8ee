"""Along training: the encoder as it was on a run's way, kept in the run's folder so that it can be judged later.

Keeping reads weights and draws nothing, so a run that keeps its encoders ends in the bits of one that keeps none.
"""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from selfstudy.encoder import Encoder
from selfstudy.images import ImageSet, feed_for
from selfstudy.method import Method
from selfstudy.training.checkpoint import Position

# Of a run's steps. Scores rise fastest at first, so the first three are doublings; the last one halves the long stretch in
# which the learning rate falls. With the end they are five points: each costs a pass over the labelled images and a probe.
SHARES = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
FOLDER = "along"


def due_at(shares: Sequence[float], steps: int, check_every: int) -> frozenset[int]:
    """The steps at which an encoder is kept: the first check at or after each share of `steps`, before the end.

    Only at checks, where the loop stops to look anyway: what it logs, and when, stays as it was.
    """
    found = {check_every * math.ceil(share * steps / check_every) for share in shares}
    return frozenset(step for step in found if 0 < step < steps)


def keep(folder: Path, method: Method, images: ImageSet, position: Position, images_seen: int) -> None:
    """Write the method's encoder, and where the run stood, under `folder`; after a kill the same step is written again."""
    backbone, feed = method.encoder()
    where = {"step": position.step, "images_seen": images_seen, "seconds": position.seconds}
    Encoder(backbone, feed_for(feed, images), where).save(folder / FOLDER / f"step-{position.step:09d}")


def kept(folder: Path) -> list[Path]:
    """The folders of the encoders that a run kept, in the order of its steps."""
    return sorted((folder / FOLDER).glob("step-*"))


def forget(folder: Path) -> None:
    """Delete what a run kept: four encoders of it, when one is wanted for good."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
