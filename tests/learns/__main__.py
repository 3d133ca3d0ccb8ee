"""`make learns`: every method, seed and broken twin once more, in fresh numbers. `python -m tests.learns swav dino` does only those."""

import sys

import torch

from selfstudy import catalog
from tests.learns import gates


def main(methods: list[str]) -> None:
    torch.set_num_threads(1)  # as the tests do
    kept = (
        [gain for gain in gates.recorded() if gain.method not in methods]
        if (gates.HERE / "gains.csv").is_file()
        else []
    )
    for method in methods:
        for seed in gates.SEEDS:
            gain = gates.measure(method, seed)
            print(
                f"{method} seed {seed}: {gain.untrained:.3f} -> {gain.trained:.3f} in {gain.seconds:.1f} s", flush=True
            )
            kept.append(gain)
            gates.record(sorted(kept, key=lambda gain: (gain.method, gain.seed)))
    for twin in gates.twins():
        if twin.name in methods:
            health = gates.health_of(twin)
            print(f"broken {twin.name}: {health['verdict']}: {health['message']}", flush=True)
            assert health["verdict"] != "healthy"


if __name__ == "__main__":
    main(sys.argv[1:] or catalog.names("methods"))
