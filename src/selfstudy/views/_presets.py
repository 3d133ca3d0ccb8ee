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
    # A medieval-script study's operations, each half of the time (ICDAR 2017 CLaMM: dilation 5, erosion 3, rotation, blur,
    # erasing), less its flip: mirrored writing is no writing. Ink is dark on bright paper there. Turns as of a scanner.
    "page": (
        {"crop": {"scale": [0.4, 1.0]}},
        {"dilation": {"p": 0.25, "size": 3, "ink": "dark"}},
        {"erosion": {"p": 0.25, "size": 3, "ink": "dark"}},
        {"affine": {"p": 0.5, "degrees": 5, "translate": 0.05, "scale": [0.9, 1.1], "shear": 5, "fill": 1.0}},
        {"jitter": {"p": 0.5, "brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0}},
        {"blur": {"p": 0.5, "sigma": [0.1, 1.5]}},
        {"erase": {"p": 0.25, "area": [0.02, 0.2]}},
    ),
    # Cells have no up and no left, and each stain its own strength: for any number of channels.
    "microscopy": (
        {"flip": {"p": 0.5}},
        {"quarter": {}},
        {"intensity": {"p": 0.8}},
        {"blur": {"p": 0.3, "sigma": [0.1, 1.5]}},
        {"noise": {"p": 0.5, "std": [0.0, 0.05]}},
    ),
}


def preset(name: str, place: str) -> Sequence[object]:
    """The entries of a preset, as they would stand in a study file."""
    if name not in PRESETS:
        raise UserError(f'{place}: there is no preset of views "{name}".{nearest(name, PRESETS)}')
    return PRESETS[name]
