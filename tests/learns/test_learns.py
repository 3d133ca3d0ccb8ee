"""Every method learns: its linear probe beats the untrained encoder's on real digits, by a margin fixed from three seeds.

All methods and seeds are run by `make learns`. Here every method whose file changed since then is run, and a fifth of the
others, another one each day.
"""

import pytest

from selfstudy import catalog
from selfstudy.method import Method
from tests.learns import gates

METHODS = catalog.names("methods")


@pytest.mark.parametrize("method", METHODS)
def test_three_seeds_of_this_version_learned(method: str):
    """Fails for a method that `make learns` has not seen in its present version."""
    found = [gain for gain in gates.recorded() if gain.method == method]
    version = catalog.find("methods", method, Method).version
    assert {gain.seed for gain in found} == set(gates.SEEDS) and {gain.version for gain in found} == {version}
    assert min(gain.gained for gain in found) > 0.03  # three points: what luck in five draws cannot give thrice


@pytest.mark.parametrize("method", [method for method in METHODS if gates.is_due(method)])
def test_beats_the_untrained_encoder(method: str):
    """Mutation: a learning rate of 0, or an objective whose sign is turned, gives no gain."""
    assert gates.measure(method, seed=0).gained > gates.margin(method)


def test_twins_are_methods_that_have_a_gate():
    assert {twin.name for twin in gates.twins()} <= set(METHODS)


@pytest.mark.parametrize(
    "twin", [twin for twin in gates.twins() if gates.is_due(twin.name)], ids=lambda twin: twin.name
)
def test_a_broken_twin_trips_the_alarm(twin: gates.Twin):
    """Mutation: a doctor that only looks at the loss, which is at its best when all has collapsed."""
    health = gates.health_of(twin)
    assert health["verdict"] != "healthy", health["message"]
