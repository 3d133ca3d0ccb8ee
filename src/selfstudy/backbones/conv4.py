"""conv4: four convolutions, 128 features: an encoder that trains in a minute on two slow CPU cores.

Source  ours; measured in benchmarks/ (no paper). About 12 million multiply-adds at 28 px, 0.25 million parameters.
Shape   4x4 stride 2, 3x3 stride 2, then two 3x3 at a quarter of the side; widths are multiples of 16, which is what
        vectorised convolutions on CPUs like. BatchNorm and ReLU after each, then the maximum over the remaining grid:
        on digits it beat the mean by 8 points at one label per class (docs/log.md).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from selfstudy.backbones._convolutions import after_each, block, greatest
from selfstudy.backbones._normalise import Normalise
from selfstudy.encoder import Backbone, BackboneSpec


class Conv4(Backbone):
    """Float32 [N, C, S, S] in [0, 1] to [N, 128]; any S of at least 8."""

    dim = 128

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = Normalise(spec.mean, spec.std)
        self.convolutions = nn.Sequential(
            *block(spec.channels, 48, kernel=4, stride=2, padding=1),
            *block(48, 64, kernel=3, stride=2, padding=1),
            *block(64, 128, kernel=3, stride=1, padding=1),
            *block(128, 128, kernel=3, stride=1, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return greatest(self.convolutions(self.normalise(images)))

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("conv1", "conv2", "conv3", "conv4")

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Each after its ReLU."""
        self._require_layers(names)
        found = dict(zip(self.layer_names, after_each(self.convolutions, self.normalise(images)), strict=True))
        return {name: found[name] for name in names}
