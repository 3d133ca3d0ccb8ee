"""conv2: two 5 x 5 convolutions and a linear layer, 100 features: the small encoder of the mutual-information study.

Source  Tschannen et al., ICLR 2020, arXiv:1907.13625, §3 and its code: 5x5 stride 2 with 64, then 128 channels, ReLU after
        each, LayerNorm over all of an image's values with a scale and a shift per channel, the mean over the grid, a
        linear layer without ReLU. 0.22 million parameters for grey images; for even sides TensorFlow pads one pixel less
        at the top and left than at the bottom and right, here both alike.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from selfstudy.backbones._normalise import Normalise
from selfstudy.encoder import Backbone, BackboneSpec


class Conv2(Backbone):
    """Float32 [N, C, H, W] in [0, 1] to [N, 100]; any height and width."""

    dim = 100

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = Normalise(spec.mean, spec.std)
        self.convolutions = nn.Sequential(
            nn.Conv2d(spec.channels, 64, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 128, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
        )
        self.norm = nn.GroupNorm(1, 128)  # one group is LayerNorm over channels and grid, for a grid of any size
        self.last = nn.Linear(128, self.dim)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.convolutions(self.normalise(images))).mean((2, 3)))

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("conv1", "conv2")

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Each after its ReLU, the second before the norm."""
        self._require_layers(names)
        first = self.convolutions[:2](self.normalise(images))
        found = {"conv1": first, "conv2": self.convolutions[2:](first)}
        return {name: found[name] for name in names}
