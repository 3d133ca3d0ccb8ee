"""The papers' chains, for the methods to start from."""

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


def byol_first(size: int, *, blur: bool = True) -> Chain:
    """The first view of BYOL, arXiv:2006.07733, App. B (table 6). For images of 32 px solo-learn leaves out the blur."""
    return _byol(size, blur=1.0 if blur else 0.0, solarise=0.0)


def byol_second(size: int, *, blur: bool = True) -> Chain:
    """The second view of BYOL, arXiv:2006.07733, App. B (table 6). For images of 32 px solo-learn leaves out the blur."""
    return _byol(size, blur=0.1 if blur else 0.0, solarise=0.2)


def _byol(size: int, *, blur: float, solarise: float) -> Chain:
    return Chain(
        size=size,
        crop=Crop(scale=(0.08, 1.0)),
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
