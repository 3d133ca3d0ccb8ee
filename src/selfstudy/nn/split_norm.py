"""BatchNorm in groups: on one device, what a batch has on several.

Source  He et al. 2020 (MoCo), arXiv:1911.05722, §3.3: an image's key and query that are normalised by the statistics of
        the same images betray each other, since the queue's other keys saw other statistics; so the keys' images are
        shuffled over the devices. On one device shuffling alone does nothing: the batch has to be split as well, as in
        FAIR's demo for CIFAR-10, which says it lost 4 points without.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfstudy.rng import Draws

LEAST_ROWS = 2  # of a group: BatchNorm of one row has no spread


def in_groups(network: nn.Module, images: Tensor, groups: int) -> Tensor:
    """network(images), [N, ...], where every BatchNorm takes its statistics from one of `groups` runs of rows at a time.

    Runs differ by at most one row. There are fewer of them where they would have less than LEAST_ROWS rows, and a single one
    where the network has no BatchNorm. In eval mode all of this changes nothing.
    """
    groups = min(groups, len(images) // LEAST_ROWS)
    if groups <= 1 or not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network(images)
    return torch.cat([network(part) for part in images.tensor_split(groups)])


def in_shuffled_groups(network: nn.Module, images: Tensor, groups: int, draws: Draws) -> Tensor:
    """The same with the rows shuffled before they are split, by their images' own `draws`; they come back in their order."""
    order = draws.bits(1)[:, 0].argsort()
    return in_groups(network, images[order], groups)[order.argsort()]
