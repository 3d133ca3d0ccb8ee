"""The backward pass, whole or in chunks with cached gradients: the same objective in less memory.

Source  Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfstudy.method import Method
from selfstudy.types import Output, Step, Views


def backward(method: Method, views: Views, step: Step, chunk_size: int) -> Output:
    """Add the gradient of the method's loss to its parameters.

    With `chunk_size` > 0 the backbone sees that many images at a time: first without gradient, then heads and loss over
    the whole batch, then again chunk by chunk with the gradients of the features. Exact but for a backbone's BatchNorm,
    whose statistics are those of the chunks. The second pass updates no statistics.
    """
    if chunk_size == 0 or chunk_size >= len(views):
        output = method(views, step)
        output.loss.backward()
        return output
    with torch.no_grad():
        parts = [method.embed(chunk, step) for chunk in views.chunks(chunk_size)]
    embedded = {name: torch.cat([part[name] for part in parts]).requires_grad_() for name in parts[0]}
    output = method.objective(embedded, views, step)
    output.loss.backward()
    with _frozen_statistics(method):
        start = 0
        for chunk in views.chunks(chunk_size):
            features = method.embed(chunk, step)
            pairs = [
                (value, gradient[start : start + len(chunk)])
                for name, value in features.items()
                if value.requires_grad and (gradient := embedded[name].grad) is not None
            ]
            torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])
            start += len(chunk)
    return output


@contextmanager
def _frozen_statistics(method: nn.Module) -> Iterator[None]:
    """BatchNorm normalises by its batch but leaves its running statistics alone."""
    norms = [module for module in method.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    counters = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, counter in zip(norms, momenta, counters, strict=True):
            norm.momentum = momentum
            if counter is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(counter)
