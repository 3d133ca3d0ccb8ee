"""Four times the images of benchmarks.methods, one seed: does the distance to SimCLR stay, and what is behind it?

    python -m benchmarks.methods_longer         # what is not measured yet, then the tables
    python -m benchmarks.methods_longer moco    # only that method

Every training is a line of methods-longer.csv. A trial changes one setting that may be the cause; the first of each method
changes none. A method whose file changed is measured again.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch

from benchmarks.methods import CPU, judge, material
from benchmarks.methods_tables import LONGER, append, hash_of, version_of, write_tables
from selfstudy.progress import Progress
from selfstudy.training import pretrain, resolve
from tests.learns.gates import settings_of

EPOCHS, SEED = 12, 0
# Methods that were two points or more behind SimCLR after a quarter of this (BYOL is in benchmarks/digits.md at this length),
# and the one that they are held against.
METHODS = ("simclr", "moco", "mocov3", "nnclr", "simsiam", "barlow", "dino", "swav", "sela", "deepcluster")
# A likely cause or two, of those that stay two points behind with ten labels.
TRIALS = (("moco", "method.momentum", 0.99), ("simsiam", "lr", 4e-3), ("dino", "lr", 2e-3), ("dino", "lr", 8e-3))


def main(only: list[str]) -> None:
    digits, parts, pool, rng = material()
    for name, key, value in (*((name, "", 0.0) for name in METHODS), *TRIALS):
        changed = f"{key}={value:g}" if key else ""
        if (only and name not in only) or _is_there(name, changed):
            continue
        own = {**settings_of(name), "epochs": EPOCHS, "seed": SEED, **({key: value} if key else {})}
        settings = resolve(name, own, pool.card, "benchmark")
        with tempfile.TemporaryDirectory() as folder:
            run = pretrain(settings, pool, Path(folder) / "run", progress=Progress(quiet=True), device=CPU)
        scores = pd.DataFrame(judge(run.encoder, digits, parts, rng))
        linear = scores[scores["protocol"] == "linear"].groupby("labels")["accuracy"].mean()
        append(LONGER, [{
            "method": name, "changed": changed, "version": version_of(name), "file": hash_of(name), "seed": SEED,
            "images_seen": run.card["images_seen"], "one_label": round(linear[1], 4), "ten_labels": round(linear[10], 4),
            "seconds": round(run.card["seconds"]), "health": run.card["health"]["verdict"],
        }])  # fmt: skip
        print(f"{name} {changed}: {linear[1]:.3f} with one label, {linear[10]:.3f} with ten", flush=True)
    write_tables()


def _is_there(name: str, changed: str) -> bool:
    """Whether this very file was measured with these settings. An older measurement of it is dropped."""
    if not LONGER.is_file():
        return False
    rows = pd.read_csv(LONGER, dtype={"file": str}, keep_default_na=False)
    mine = (rows["method"] == name) & (rows["changed"] == changed)
    if (rows[mine]["file"] == hash_of(name)).any():
        return True
    if mine.any():
        rows[~mine].to_csv(LONGER, index=False, lineterminator="\n")
    return False


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
