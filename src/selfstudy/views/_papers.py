"""The papers' chains, for the methods to start from."""

from dataclasses import replace

from selfstudy.views._chain import Chain
from selfstudy.views._operation import Operation
from selfstudy.views.blur import Blur
from selfstudy.views.crop import Crop
from selfstudy.views.flip import Flip
from selfstudy.views.grey import Grey
from selfstudy.views.jitter import Jitter
from selfstudy.views.noise import Noise
from selfstudy.views.solarise import Solarise

_WHOLE_IMAGE = Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
_BYOL_CROP = Crop(scale=(0.08, 1.0))
_DINO_CROP = Crop(scale=(0.4, 1.0), interpolation="bicubic")


def simclr(size: int, *, strength: float = 1.0, blur: bool = True) -> Chain:
    """SimCLR, arXiv:2002.05709, App. A, for ImageNet: `strength` of the colour jitter; half the images blurred."""
    return Chain(
        size=size,
        crop=Crop(scale=(0.08, 1.0)),
        steps=_without_unused(
            Flip(p=0.5),
            Jitter(
                p=0.8, brightness=0.8 * strength, contrast=0.8 * strength, saturation=0.8 * strength, hue=0.2 * strength
            ),
            Grey(p=0.2),
            Blur(p=0.5 if blur else 0.0),
        ),
    )


def cifar_simclr(size: int) -> Chain:
    """SimCLR, App. B.9, for CIFAR-10: half the colour jitter and no blur."""
    return simclr(size, strength=0.5, blur=False)


def moco_v2(size: int, *, blur: bool = True) -> Chain:
    """MoCo v2, arXiv:2003.04297, §3: crops of at least a fifth. SimSiam, arXiv:2011.10566, App. A, takes the same."""
    return Chain(
        size=size,
        crop=Crop(scale=(0.2, 1.0)),
        steps=_without_unused(
            Flip(p=0.5),
            Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
            Grey(p=0.2),
            Blur(p=0.5 if blur else 0.0),
        ),
    )


def byol_first(size: int, *, blur: bool = True) -> Chain:
    """The first view of BYOL, arXiv:2006.07733, App. B (table 6). For images of 32 px solo-learn leaves out the blur."""
    return _byol(size, _BYOL_CROP, blur=1.0 if blur else 0.0, solarise=0.0)


def byol_second(size: int, *, blur: bool = True) -> Chain:
    """The second view of BYOL, arXiv:2006.07733, App. B (table 6). For images of 32 px solo-learn leaves out the blur."""
    return _byol(size, _BYOL_CROP, blur=0.1 if blur else 0.0, solarise=0.2)


def vicreg(size: int) -> Chain:
    """VICReg at 32 px as solo-learn trains it, both views alike: crops of at least a fifth, no blur, a tenth solarised."""
    return _byol(size, Crop(scale=(0.2, 1.0)), blur=0.0, solarise=0.1)


def swav_local(size: int) -> Chain:
    """SwAV's small crops, arXiv:2006.09882, §3.2, App. A.2 and its code: 5 to 14 % of the image, with SimCLR's colours."""
    return replace(simclr(size), crop=Crop(scale=(0.05, 0.14)))


def swav_global(size: int, *, blur: bool = True) -> Chain:
    """SwAV's large crops, arXiv:2006.09882, §3.2, App. A.2 and its code: 14 to 100 % of the image, with SimCLR's colours."""
    return replace(simclr(size, blur=blur), crop=Crop(scale=(0.14, 1.0)))


def dino_first(size: int, *, blur: bool = True) -> Chain:
    """DINO's first global crop, arXiv:2104.14294, §3.1 and its code: at least 40 % of the image, always blurred."""
    return _byol(size, _DINO_CROP, blur=1.0 if blur else 0.0, solarise=0.0)


def dino_second(size: int, *, blur: bool = True) -> Chain:
    """DINO's second global crop, arXiv:2104.14294, §3.1 and its code: a tenth blurred, a fifth solarised."""
    return _byol(size, _DINO_CROP, blur=0.1 if blur else 0.0, solarise=0.2)


def dino_local(size: int, *, blur: bool = True) -> Chain:
    """DINO's local crops, arXiv:2104.14294, §3.1 and its code: 5 to 40 % of the image, half of them blurred."""
    return _byol(size, Crop(scale=(0.05, 0.4), interpolation="bicubic"), blur=0.5 if blur else 0.0, solarise=0.0)


SMALLEST_LOCAL = 8  # pixels a side: what conv4 needs at least


def local_size(image_size: int, fraction: float) -> int:
    """Pixels a side of a small crop's picture: the even number nearest to the fraction, at least 8. 96 of 224, 14 of 32."""
    return min(image_size, max(SMALLEST_LOCAL, 2 * round(fraction * image_size / 2)))


def mae(size: int) -> Chain:
    """MAE, arXiv:2111.06377, table 8 (random resized crops) and its code: bicubic, of at least a fifth, and flips."""
    return Chain(size=size, crop=Crop(scale=(0.2, 1.0), interpolation="bicubic"), steps=(Flip(p=0.5),))


def whole(size: int, *, flip: bool = False) -> Chain:
    """The whole image, flipped half of the time if asked: for methods that change the picture themselves."""
    return Chain(size=size, crop=_WHOLE_IMAGE, steps=(Flip(p=0.5),) if flip else ())


def _byol(size: int, crop: Crop, *, blur: float, solarise: float) -> Chain:
    return Chain(
        size=size,
        crop=crop,
        steps=_without_unused(
            Flip(p=0.5),
            Jitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
            Grey(p=0.2),
            Blur(p=blur),
            Solarise(p=solarise),
        ),
    )


def autoencoder(size: int) -> Chain:
    """The whole image with flips both ways and noise (the CIFAR-10 and MNIST study of how much unlabelled data helps).

    That study does not state its noise; a standard deviation of 0.1 is the lower end of what denoising
    autoencoders use on [0, 1].
    """
    return Chain(size=size, crop=_WHOLE_IMAGE, steps=(Flip(p=0.5), Flip(p=0.5, vertical=True), Noise(std=(0.1, 0.1))))


def _without_unused(*steps: Operation) -> tuple[Operation, ...]:
    return tuple(step for step in steps if step.p > 0.0)
