"""conv3: patches of 4 x 4 pixels and two convolutions, 128 features: about 3 million multiply-adds at 32 px.

Source  ours; the shape that performance work on CPUs asks for: a strided first layer, widths in multiples of 16, few
        operations that only move memory. Five times cheaper than conv4 (about 16 million at 32 px), and less able.
Shape   4x4 stride 4 with 64, 3x3 with 48, 3x3 stride 2 with 128; BatchNorm and ReLU after each, then the maximum over the
        remaining grid, as in conv4.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from selfstudy.backbones._convolutions import after_each, block, greatest
from selfstudy.backbones._normalise import Normalise
from selfstudy.encoder import Backbone, BackboneSpec


class Conv3(Backbone):
    """Float32 [N, C, H, W] in [0, 1] to [N, 128]; any height and width of at least 4."""

    dim = 128

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = Normalise(spec.mean, spec.std)
        self.convolutions = nn.Sequential(
            *block(spec.channels, 64, kernel=4, stride=4, padding=0),
            *block(64, 48, kernel=3, stride=1, padding=1),
            *block(48, 128, kernel=3, stride=2, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return greatest(self.convolutions(self.normalise(images)))

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("conv1", "conv2", "conv3")

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Each after its ReLU."""
        self._require_layers(names)
        found = dict(zip(self.layer_names, after_each(self.convolutions, self.normalise(images)), strict=True))
        return {name: found[name] for name in names}
