"""Intervals of shares, such as the recalls of the classes: as wide as their images, groups, seeds and draws make them.

The interval is Wilson's (J. American Statistical Association 22, 1927), at the number of independent images that would
vary as much as the share does over seeds, draws of the labels and test groups (Dean and Pagano, J. Survey Statistics and
Methodology 3, 2015), and never more than there are images: a share of 0.5 of 22 images is known to 19 points.

How much seeds and draws add is learned from all classes of a row together, as the surveys do that average the design
effects of many shares (Kish, J. Official Statistics 11, 1995; Wolter, Introduction to Variance Estimation, 2007, ch. 7):
relative to share * (1 - share) it is taken to be one number. A class alone has one degree of freedom from two seeds, and
intervals that are 25 points wide or 95 as chance will have it. Simulated for ten classes of 50 images, two seeds and two
draws: 95 % intervals cover 0.94 to 0.97, and nine in ten are narrower than 54 points; for classes that vary five times
as much as the others 0.90, and 0.88 where one bad seed or draw moves all classes alike.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from selfstudy.study._intervals import Component, Estimate


def wilson(share: float, count: float, confidence: float) -> tuple[float, float]:
    """The interval of a proportion seen on `count` independent images."""
    z = float(special.ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def half_width(count: int, confidence: float) -> float:
    """Of the interval of a proportion of one half: 0.19 for 22 at 0.95."""
    low, high = wilson(0.5, count, confidence)
    return (high - low) / 2


def effective_count(estimate: Estimate, num_images: int, num_groups: int, confidence: float) -> float:
    """How many independent images would leave a proportion as uncertain as it is: `num_images` at most.

    Few groups, draws or seeds make the quantile wider than the normal's; the images are counted less by as much (Korn and
    Graubard, Survey Methodology 24, 1998). Where all cells get all images right, or none, each group is one image.
    """
    share, variance = estimate.mean, estimate.variance
    if variance <= 0 or not 0 < share < 1:
        return float(num_groups)
    repeated = [part for source, part in estimate.components.items() if source != "test"]
    below = sum(part.mean_square**2 / (part.count - 1) for part in repeated)
    quantile = (1 + confidence) / 2
    freedom = max(1.0, variance**2 / below) if below > 0 else np.inf
    wider = special.stdtrit(freedom, quantile) / special.ndtri(quantile)
    if num_groups < num_images:
        few = special.stdtrit(max(1, num_groups - 1), quantile)
        wider *= few / special.stdtrit(num_images - 1, quantile) * (num_groups / max(1, num_groups - 1)) ** 0.5
    return min(float(num_images), share * (1 - share) / variance) / float(wider) ** 2


def share_spread(estimates: Sequence[Estimate], num_images: Sequence[int]) -> list[Estimate]:
    """The shares of the classes of one row, each with what seeds and draws add to a class like it, as all of them show it.

    A share of 0 or 1 shows something too: that they add little. It is taken as half an image short of it, as by Jeffreys'
    prior (Brown, Cai and DasGupta, Statistical Science 16, 2001).
    """
    shares = [(n * estimate.mean + 0.5) / (n + 1) for estimate, n in zip(estimates, num_images, strict=True)]
    scales = [share * (1 - share) for share in shares]
    shared: dict[str, Component] = {}
    for source in estimates[0].components if estimates else ():
        parts = [estimate.components[source] for estimate in estimates]
        if source != "test":  # every class has test groups of its own
            shared[source] = Component(
                sum(part.variance for part in parts) / sum(scales),
                sum(part.mean_square for part in parts) / sum(scales),
                1 + sum(part.count - 1 for part in parts),  # their degrees of freedom add up
            )
    return [
        Estimate(estimate.mean, {**estimate.components, **_scaled(shared, scale)})
        for estimate, scale in zip(estimates, scales, strict=True)
    ]


def _scaled(parts: Mapping[str, Component], scale: float) -> dict[str, Component]:
    return {
        source: Component(scale * part.variance, scale * part.mean_square, part.count) for source, part in parts.items()
    }
