"""Sinkhorn's algorithm in the log domain: assign samples to prototypes so that every prototype gets its share.

Source  Cuturi 2013, arXiv:1306.0895; as SwAV uses it (Caron et al. 2020, arXiv:2006.09882, §3.1: three sweeps, soft codes)
        and as SeLa does (Asano et al. 2020, arXiv:1911.05371: until it stands still, hard labels).
Rows    N samples, K prototypes. A sweep is a step for the prototypes, then one for the samples, so that whatever the
        number of sweeps each sample's masses sum to 1; the prototypes' shares are exact only in the limit.
Why     exp(score / 0.05) overflows 16 bits and P ** 25 underflows 32; differences of logarithms do neither.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfstudy.nn.precision import in_float32

SWEEPS_A_BLOCK = 10  # between looks at convergence, which wait for the device (SeLa's code looks as often)


def _sweep(log_weights: Tensor, log_shares: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """The potentials (logarithms of the factors) of the prototypes [K], then of the samples [N], given the latter's."""
    prototypes = log_shares - (log_weights + samples[:, None]).logsumexp(0)
    return prototypes, -(log_weights + prototypes).logsumexp(1)


@in_float32
@torch.no_grad()
def codes(scores: Tensor, epsilon: float, num_sweeps: int) -> Tensor:
    """Soft codes [N, K] from scores [N, K]: rows sum to 1, columns to about N / K. No gradient.

    All scores equal: 1 / K everywhere. A constant added to all scores of a prototype changes nothing.
    """
    log_weights = scores / epsilon
    log_shares, samples = log_weights.new_zeros(scores.shape[1]), log_weights.new_zeros(len(scores))
    prototypes = log_shares
    for _ in range(num_sweeps):  # how large the shares are cancels in the step for the samples: only equality counts
        prototypes, samples = _sweep(log_weights, log_shares, samples)
    return (log_weights + prototypes + samples[:, None]).exp()


@dataclass(frozen=True, slots=True)
class Transport:
    """An assignment of all samples at once."""

    log_codes: Tensor  # [N, K], logarithms of masses; each sample's sum to 1
    sweeps: int  # how many it took
    converged: bool  # False: the most sweeps were reached first, and the shares are only about right


@torch.no_grad()
def transport(log_weights: Tensor, shares: Tensor, tolerance: float, most_sweeps: int) -> Transport:
    """The masses nearest to exp(log_weights) [N, K] of which each sample gives 1 and prototype k gets N * shares[k].

    Converged when the samples' factors change by less than `tolerance` in a sweep, relative, summed over samples. For a
    tolerance below 1e-7 a sample, as SeLa's is for a large set, log_weights must be float64.

    Within a block of sweeps the factors multiply a kernel whose rows sum to 1, ten times faster than logarithms; after it
    they are absorbed into the potentials. Neither can overflow float64: a step for the samples leaves every prototype a mass
    of at least shares[k], so that a factor grows by at most N a sweep.
    """
    masses = len(log_weights) * shares
    prototypes, samples = _sweep(log_weights, masses.log(), log_weights.new_zeros(len(log_weights)))
    sweeps, change = 1, float("inf")
    while change >= tolerance and sweeps < most_sweeps:
        kernel = (log_weights + prototypes + samples[:, None]).exp()
        prototype_factors = torch.ones_like(prototypes)
        sample_factors = before = torch.ones_like(samples)
        for _ in range(min(SWEEPS_A_BLOCK, most_sweeps - sweeps)):
            prototype_factors = masses / (sample_factors @ kernel)
            before, sample_factors = sample_factors, 1 / (kernel @ prototype_factors)
            sweeps += 1
        prototypes, samples = prototypes + prototype_factors.log(), samples + sample_factors.log()
        change = float((before / sample_factors - 1).abs().sum())
    return Transport(log_weights + prototypes + samples[:, None], sweeps, change < tolerance)
