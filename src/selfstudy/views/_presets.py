"""Lists of operations that a study may name under `views:`."""

from collections.abc import Mapping, Sequence

from selfstudy.errors import UserError, nearest

PRESETS: Mapping[str, tuple[object, ...]] = {
    # MoCo v2, arXiv:2003.04297, §3: SimCLR's operations at the jitter that also suits small photographs.
    "photo": (
        {"flip": {"p": 0.5}},
        {"jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}},
        {"grey": {"p": 0.2}},
        {"blur": {"p": 0.5, "sigma": [0.1, 2.0]}},
    ),
    # What a hand may change without changing what it wrote: slant, place, size, wobble (Simard et al. 2003), pen width.
    "digits": (
        {"crop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}},
        {"dilation": {"p": 0.25, "size": 3}},
        {"erosion": {"p": 0.25, "size": 2}},
        {"affine": {"degrees": 25, "translate": 0.1, "scale": [0.7, 1.3], "shear": 19}},
        {"elastic": {"alpha": 1.4, "sigma": 4.0}},
    ),
}


def preset(name: str, place: str) -> Sequence[object]:
    """The entries of a preset, as they would stand in a study file."""
    if name not in PRESETS:
        raise UserError(f'{place}: there is no preset of views "{name}".{nearest(name, PRESETS)}')
    return PRESETS[name]
