"""Multi-crop: two large views of each image and some small ones (Caron et al. 2020, arXiv:2006.09882, SwAV)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from selfstudy.rng import Rng
from selfstudy.types import Batch, Embedded, Views
from selfstudy.views import Chain


def make_views(batch: Batch, rng: Rng, chains: Mapping[str, Chain], num_local: int) -> Views:
    """`global0` and `global1` by the chain `global`, and `local0` to `local{num_local - 1}` by the chain `local`."""

    def make(slot: str, number: int) -> Tensor:
        return chains[slot](batch.images, batch.index, rng.fork(slot, number))

    large = {f"global{number}": make("global", number) for number in range(2)}
    return Views(batch.index, large | {f"local{number}": make("local", number) for number in range(num_local)})


def embed(backbone: nn.Module, views: Views) -> Embedded:
    """Features [N, backbone.dim] of every view by its name, the large ones first, in one call of the backbone per size."""
    embedded: dict[str, Tensor] = {}
    for slot in ("global", "local"):
        names = [name for name in views.tensors if name.startswith(slot)]
        if names:
            h = backbone(torch.cat([views[name] for name in names]))
            embedded |= dict(zip(names, h.chunk(len(names)), strict=True))
    return embedded
