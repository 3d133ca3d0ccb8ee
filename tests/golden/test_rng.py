"""rng.py against a twin in Python's unbounded integers, published numbers, and what independence implies."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from selfstudy.rng import Draws, Rng, _mix, _mix_int, _signed

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
# The first five outputs of SplitMix64 (Steele, Lea, Flood 2014) for seed 1234567, as published with many implementations.
SPLITMIX64_1234567 = (
    6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
)  # fmt: skip
IMPLAUSIBLE = 1e-6  # of a p-value; the draws are fixed, so a passing test passes for ever


def twin_mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def twin_bits(key: int, index: int, column: int) -> int:
    """Two counters, one inside the other: the image's row, then the column within it."""
    row = twin_mix((index * GOLDEN + twin_mix(key)) & MASK)
    return twin_mix((row + (column + 1) * GOLDEN) & MASK)


def chi_squared(counts: np.ndarray) -> float:
    """The p-value that equal cells give such counts."""
    return float(stats.chisquare(counts.ravel()).pvalue)


def test_the_mixing_function_is_that_of_splitmix64() -> None:
    """Fails when a shift or a constant of _mix_int is changed."""
    assert tuple(_mix_int((1234567 + k * GOLDEN) & MASK) for k in range(1, 6)) == SPLITMIX64_1234567


def test_tensors_mix_as_integers_do() -> None:
    """Fails when the shift of a negative int64 drags its sign along (`value >> bits` alone)."""
    values = [0, 1, MASK, 1 << 63, (1 << 63) - 1, *(twin_mix(k) for k in range(1000))]
    mixed = _mix(torch.tensor([_signed(value) for value in values]))
    assert mixed.tolist() == [_signed(twin_mix(value)) for value in values]


def test_bits_are_the_twins() -> None:
    """Fails when the columns start at 0 or the key is not mixed before the index is added."""
    rng, index = Rng.from_seed(7).fork("views", 3), torch.tensor([0, 1, 5, 10**12])
    expected = [[_signed(twin_bits(rng.key, int(i), column)) for column in range(3)] for i in index]
    assert rng.per_image(index).bits(3).tolist() == expected


def test_streams_stay_as_they_are() -> None:
    """Results name the seed they came from: a change of any stream must be seen. Recorded when the stream was made."""
    rng = Rng.from_seed(0).fork("views", 3)
    assert rng.key == 5554570289533947763
    assert rng.shared().uniform(2).tolist() == [[0.7258614897727966, 0.24051296710968018]]


@pytest.mark.parametrize("columns", [1, 4])
def test_uniform_fills_the_interval(columns: int) -> None:
    """Fails when fewer bits are shifted away than float32 holds, or the interval is not [low, high)."""
    values = Rng.from_seed(1).per_image(torch.arange(40_000)).uniform(columns, low=-1.0, high=3.0)
    assert values.shape == (40_000, columns) and values.dtype == torch.float32
    assert float(values.min()) >= -1.0 and float(values.max()) < 3.0
    for column in values.T:
        assert chi_squared(np.histogram(column, bins=64, range=(-1, 3))[0]) > IMPLAUSIBLE


def pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Draws that must know nothing of each other, float32 [N] each."""
    index = torch.arange(40_000)
    rng = Rng.from_seed(3)
    table = rng.per_image(index).uniform(2)
    first = table[:, 0]
    seeds = [Rng.from_seed(seed).per_image(index[:4000]).uniform()[:, 0] for seed in range(11)]
    return {
        "columns": (first, table[:, 1]),
        "neighbouring images": (first[:-1], first[1:]),
        "image i, column 1 and image i + 1, column 0": (table[:-1, 1], table[1:, 0]),
        "purposes": (first, rng.fork("blur").per_image(index).uniform()[:, 0]),
        "parent and child": (
            rng.fork(0).per_image(index).uniform()[:, 0],
            rng.fork(0, 0).per_image(index).uniform()[:, 0],
        ),
        "neighbouring steps": (
            rng.fork(0).per_image(index).uniform()[:, 0],
            rng.fork(1).per_image(index).uniform()[:, 0],
        ),
        "neighbouring seeds": (torch.cat(seeds[:-1]), torch.cat(seeds[1:])),
        "the two halves of a normal": tuple(rng.per_image(index).normal(2).T),  # type: ignore[dict-item]
    }


@pytest.mark.parametrize("name", list(pairs()))
def test_draws_are_independent(name: str) -> None:
    """Fails when, for instance, an image's column 1 is its neighbour's column 0: counters added instead of mixed."""
    first, second = (value.numpy().argsort().argsort() * 8 // len(value) for value in pairs()[name])
    counts = np.zeros((8, 8))
    np.add.at(counts, (first, second), 1)
    assert chi_squared(counts) > IMPLAUSIBLE


def test_an_image_sees_the_same_draws_in_any_batch() -> None:
    draws = Rng.from_seed(2).fork("crop").per_image(torch.tensor([9, 4, 4, 100]))
    whole = draws.normal(5)
    for position, index in enumerate([9, 4, 4, 100]):
        alone = Rng.from_seed(2).fork("crop").per_image(torch.tensor([index]))
        assert torch.equal(alone.normal(5)[0], whole[position])
    assert torch.equal(draws.rows(torch.tensor([3, 0])).normal(5), whole[[3, 0]])
    assert torch.equal(draws.normal(5)[:, :1], whole[:, :1])  # asking twice gives the same


def test_a_forked_table_is_the_table_of_the_forked_stream() -> None:
    index = torch.arange(5)
    rng = Rng.from_seed(2)
    assert torch.equal(rng.per_image(index).fork("angle").bits(2), rng.fork("angle").per_image(index).bits(2))


def test_purposes_of_different_kind_or_order_are_different_streams() -> None:
    """Fails when 1 and "1" are hashed alike, or when the parts of a purpose commute."""
    rng = Rng.from_seed(0)
    streams = [rng, rng.fork(1), rng.fork("1"), rng.fork("a", "b"), rng.fork("b", "a"), rng.fork("ab"), rng.fork("a")]
    assert len({stream.key for stream in streams}) == len(streams)
    assert rng.fork("a", "b") == rng.fork("a").fork("b")


def test_normal_is_normal() -> None:
    """Fails when the radius is not the square root of -2 log, or sine and cosine share an angle."""
    values = Rng.from_seed(5).per_image(torch.arange(50_000)).normal(2).numpy()
    assert np.isfinite(values).all() and np.abs(values).max() < 5.9
    for column in values.T:
        assert stats.kstest(column, "norm").pvalue > IMPLAUSIBLE


def test_bernoulli_and_integers_have_the_asked_shares() -> None:
    draws = Rng.from_seed(6).per_image(torch.arange(40_000))
    share = draws.bernoulli(0.3).float().mean()
    assert abs(float(share) - 0.3) < 5 * (0.3 * 0.7 / 40_000) ** 0.5
    assert not draws.bernoulli(0.0).any() and draws.bernoulli(1.0).all()
    values = draws.integers(-2, 5, 3)
    assert values.dtype == torch.int64 and int(values.min()) == -2 and int(values.max()) == 4
    assert chi_squared(np.unique(values, return_counts=True)[1]) > IMPLAUSIBLE


def test_every_permutation_is_as_likely() -> None:
    """Fails when one permutation is shared by the batch."""
    rows = Rng.from_seed(8).per_image(torch.arange(24_000)).permutation(4)
    orders = list(itertools.permutations(range(4)))
    counts = [int((rows == torch.tensor(order)).all(dim=1).sum()) for order in orders]
    assert sum(counts) == 24_000
    assert chi_squared(np.array(counts)) > IMPLAUSIBLE


def test_the_permutation_of_a_set_holds_every_position_once() -> None:
    order = Rng.from_seed(9).permutation(1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert not torch.equal(order, torch.arange(1000))
    assert torch.equal(order, Rng.from_seed(9).permutation(1000))
    assert not torch.equal(order, Rng.from_seed(10).permutation(1000))


def test_numpy_follows_the_stream() -> None:
    rng = Rng.from_seed(4)
    assert rng.numpy().random() == rng.numpy().random() != rng.fork("x").numpy().random()


def test_layers_initialise_from_the_stream_and_leave_torchs_own_alone() -> None:
    """Fails when the global generator is seeded and not put back."""
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    with Rng.from_seed(1).seeding_torch():
        first = torch.nn.Linear(3, 3).weight
    with Rng.from_seed(1).seeding_torch():
        second = torch.nn.Linear(3, 3).weight
    with Rng.from_seed(2).seeding_torch():
        third = torch.nn.Linear(3, 3).weight
    assert torch.equal(first, second) and not torch.equal(first, third)
    assert torch.equal(torch.rand(1), before)


def test_shared_is_one_row() -> None:
    assert Rng.from_seed(0).shared().uniform(3).shape == (1, 3)
    assert torch.equal(Rng.from_seed(0).shared().bits(2), Draws(Rng.from_seed(0).key, torch.tensor([0])).bits(2))
