"""mlp: a perceptron of the pixels, 100 features: the simplest encoder of the mutual-information study.

Source  Tschannen et al., ICLR 2020, arXiv:1907.13625, §3 and its code: 300, 300, 100 units, ReLU between, none at the end.
        0.36 million parameters for grey images of 28 px.
Shape   its first layer has a weight for every pixel, so it takes images of one size only, the one it was made for.
"""

from collections.abc import Sequence

from torch import Tensor

from selfstudy.backbones._normalise import Normalise
from selfstudy.encoder import Backbone, BackboneSpec
from selfstudy.errors import UserError
from selfstudy.nn import heads


class MLP(Backbone):
    """Float32 [N, C, H, W] in [0, 1] to [N, 100]; H and W are what the spec says it sees."""

    dim = 100

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec = spec
        self.size = spec.seen
        self.normalise = Normalise(spec.mean, spec.std)
        pixels = spec.channels * self.size[0] * self.size[1]
        self.perceptron = heads.mlp(pixels, 300, 300, self.dim, hidden_norm="none")

    def forward(self, images: Tensor) -> Tensor:
        return self.perceptron(self._pixels(images))

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("hidden1", "hidden2")

    def layers(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Each after its ReLU."""
        self._require_layers(names)
        first = self.perceptron[:2](self._pixels(images))
        found = {"hidden1": first, "hidden2": self.perceptron[2:4](first)}
        return {name: found[name] for name in names}

    def _pixels(self, images: Tensor) -> Tensor:
        """Normalised, [N, values of an image]."""
        if images.shape[2:] != self.size:
            (height, width), (found_height, found_width) = self.size, images.shape[2:]
            raise UserError(
                f"backbone mlp was made for images of {height} x {width} pixels, but these are {found_height} x {found_width}: it has "
                "a weight for every pixel; conv2, conv4 and ResNets take any size"
            )
        return self.normalise(images).flatten(1)
