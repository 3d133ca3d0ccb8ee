"""Grey-value morphology: the largest or smallest value around every pixel, with a window of each image's own size."""

from typing import Literal

import torch
from torch import Tensor

from selfstudy.views._operation import per_image

Ink = Literal["bright", "dark"]


def window_extreme(images: Tensor, sizes: Tensor, largest: int, *, brightest: bool) -> Tensor:
    """Maximum (or minimum) of [N, C, H, W] over square windows of int64 [N] `sizes`, each in 1 .. `largest`.

    A window of k pixels reaches (k - 1) // 2 to the left and above and k // 2 to the right and below; pixels outside
    the image do not count. Source: Serra 1982, flat structuring elements. A square window is separable.
    """
    extreme, never = (torch.maximum, -torch.inf) if brightest else (torch.minimum, torch.inf)

    for dim in (3, 2):
        result, side = images.clone(), images.shape[dim]
        for size in range(2, largest + 1):
            reach = size // 2  # a window one pixel larger reaches one further: right, left, right, ...
            if reach >= side:
                break
            source = reach if size % 2 == 0 else 0
            target = result.narrow(dim, reach - source, side - reach)
            barred = per_image(torch.where(sizes >= size, 0.0, never))
            extreme(target, images.narrow(dim, source, side - reach) + barred, out=target)
        images = result
    return images
