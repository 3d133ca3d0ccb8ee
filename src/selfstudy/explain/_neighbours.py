"""Nearest images by the cosine of their features."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

AT_ONCE = 2**24  # similarities in memory: 64 MB


def nearest(features: Tensor, rows: Tensor, groups: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    """The `count` images nearest to each of `rows` (int64 [n]) among all of features [N, D], nearest first.

    Int64 [n, count] and their cosines float32 [n, count]; -1 and -inf where there are no more. Images of the row's own
    group (itself, its copies, its page) are no neighbours: they would be alike whatever the encoder had learned.
    """
    unit = F.normalize(features.float(), dim=1)
    _, number = np.unique(groups, return_inverse=True)
    group = torch.from_numpy(number)
    places, cosines = [], []
    for part in rows.split(max(1, AT_ONCE // len(features))):
        similarity = unit[part] @ unit.T
        similarity.masked_fill_(group[part, None] == group, -torch.inf)
        # A stable order: of equally near images the first.
        values, order = similarity.sort(dim=1, descending=True, stable=True)
        values, order = values[:, :count], order[:, :count]
        cosines.append(values)
        places.append(torch.where(values == -torch.inf, -1, order))
    return torch.cat(places), torch.cat(cosines)
