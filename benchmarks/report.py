"""The report of a large study: its time, its memory and its size, by a synthetic study of 12 methods.

python -m benchmarks.report            # two minutes; writes benchmarks/report.md
"""

import shutil
import tempfile
import time
from datetime import date
from pathlib import Path

import psutil

from benchmarks.machine import describe
from selfstudy.report import write
from tests.report_study import write_full_study
from tests.synthetic_study import ACCURACY, Truth

METHODS, LABELS, SEEDS = 12, ("1", "4", "10", "50", "all"), 3
BOUND_SECONDS, BOUND_MIB = 30, 8
REPEATS = 2


def main() -> None:
    folder = Path(tempfile.mkdtemp()) / "study"
    write_full_study(folder, truth())
    whole = [_seconds(folder, figures=False) for _ in range(REPEATS)]
    with_figures = _seconds(folder, figures=True)
    size = (folder / "report.html").stat().st_size / 2**20
    peak = psutil.Process().memory_info().rss / 2**20
    count = len(list((folder / "figures").iterdir())) + len(list((folder / "tables").iterdir()))
    lines = [
        "# The report of a large study", "", f"{date.today()}; {describe()}.", "",
        f"A synthetic study of {METHODS} methods and 3 baselines, {len(LABELS)} label counts, {SEEDS} seeds, 5 draws of the labels, two "
        "protocols, 1,000 test images of 10 classes, with maps, views and probabilities. Written with `python -m benchmarks.report`.",
        "", "| | measured | of it this process computed | bound |", "|---|---|---|---|",
        f"| `selfstudy report`, the page, first time in a process | {whole[0][0]:.1f} s | {whole[0][1]:.1f} s | {BOUND_SECONDS} s |",
        f"| the same again, the fastest of {REPEATS} | {min(whole)[0]:.1f} s | {min(whole)[1]:.1f} s | |",
        f"| `selfstudy report --figures`, the page and {count} files | {with_figures[0]:.1f} s | {with_figures[1]:.1f} s | |",
        f"| size of the page | {size:.1f} MiB | | {BOUND_MIB} MiB |",
        f"| memory at the end | {peak:.0f} MiB | | |", "",
        "Of the two columns only the first depends on what else the machine does.", "",
    ]  # fmt: skip
    text = "\n".join(lines)
    (Path(__file__).parent / "report.md").write_text(text, encoding="utf-8")
    print(text)
    shutil.rmtree(folder.parent)


def truth() -> Truth:
    """Twelve learned rows, each a little better than the one before."""
    base = {
        name: (*ACCURACY[name][:3], ACCURACY[name][3] - 0.01, ACCURACY[name][3])
        for name in ("majority", "random", "supervised")
    }
    learned = {
        f"method {place}": tuple(min(0.99, score + 0.01 * place) for score in (0.60, 0.75, 0.82, 0.86, 0.87))
        for place in range(METHODS)
    }
    return Truth(accuracy={**base, **learned}, labels=LABELS, seeds=SEEDS, draws={"1": 5, "4": 5, "10": 5, "50": 5})


def _seconds(folder: Path, *, figures: bool) -> tuple[float, float]:
    """On the wall, and of the processor."""
    started = time.perf_counter(), time.process_time()
    write(folder, figures=figures)
    return time.perf_counter() - started[0], time.process_time() - started[1]


if __name__ == "__main__":
    main()
