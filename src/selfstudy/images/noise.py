"""noise: any number of pictures of Gaussian noise: a control. An encoder pretrained on them should be no better than none.

Source  Baradad et al., NeurIPS 2021, arXiv:2106.05963, compare noises: white noise, as here, teaches next to nothing, noise
        with structure a lot. Mean 1/2; the deviation of 1/4 leaves 5 % of the values to be clipped to black and white.
How     Picture i is made from the seed, i and the working size alone: the first ten of 10,000 are the ten of noise:10.
        Views that crop and resize smooth it, so that the views' scale can be seen in it, and nothing else.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from selfstudy.images._source import Listing, Source
from selfstudy.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Noise(Source):
    """`noise:5000`, as many as there are real images to compare with. As large as the encoder's input; no labels."""

    argument: ClassVar[str] = "NUMBER"

    noise: int
    channels: Literal[1, 3] = 1  # 3 for a control of colour pictures: independent noise in each
    std: float = 0.25  # where 1 is the span from black to white
    seed: int = 0

    def __post_init__(self) -> None:
        if self.noise < 1:
            raise ValueError(f"noise is {self.noise}, but must be a number of pictures, 1 or more")
        if not 0.0 < self.std < float("inf"):
            raise ValueError(f"std is {self.std}, but must be above 0: a flat grey is no noise")

    def listing(self, labelled: bool) -> Listing:
        return Listing(pictures=self.make)

    def make(self, image_size: int) -> np.ndarray:
        """Uint8 [N, S, S], or [N, S, S, 3]."""
        rng = Rng.from_seed(self.seed).fork("noise")
        shape = (image_size, image_size) if self.channels == 1 else (image_size, image_size, 3)
        pictures = np.empty((self.noise, *shape), dtype=np.uint8)
        for position, picture in enumerate(pictures):
            values = 0.5 + self.std * rng.fork(position).numpy().standard_normal(shape, dtype=np.float32)
            picture[:] = (values.clip(0.0, 1.0) * 255).round()
        return pictures
