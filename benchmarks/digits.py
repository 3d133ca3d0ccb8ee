"""The built-in study as a newcomer runs it: its time, its memory, when the first learned rows appear, and its accuracies.

Memory is that of all its processes together, where pages that several share count once (Linux).

python benchmarks/digits.py            # ten minutes; writes benchmarks/digits.md
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe

PRETRAINED = ("simclr", "byol", "autoencoder")
LEARNED = (*PRETRAINED, "supervised")
# Accuracy by row and labels per class that a sketch of this study suggests, of supervised training less 0.01: below it something is
# wrong with the row. Held within two standard errors, since the sketch drew other labels.
FLOORS = {("simclr", "1"): 0.80, ("simclr", "10"): 0.95, ("supervised", "1"): 0.72, ("supervised", "4"): 0.94, ("supervised", "10"): 0.953, ("supervised", "all"): 0.975}  # fmt: skip


def main() -> None:
    folder = Path(tempfile.mkdtemp()) / "digits"
    started, peak_bytes, first = time.perf_counter(), 0, dict[tuple[str, ...], float]()
    log = folder.parent / "log"
    with log.open("w", encoding="utf-8") as output:
        process = psutil.Popen(
            [sys.executable, "-m", "selfstudy", "study", "--out", str(folder)], stdout=output, stderr=output
        )
        while process.poll() is None:
            time.sleep(1.0)
            try:
                peak_bytes = max(peak_bytes, proportional_bytes([process, *process.children(recursive=True)]))
            except psutil.NoSuchProcess:
                break
            said = log.read_text(encoding="utf-8").splitlines()
            for rows in (LEARNED, PRETRAINED):
                if any(line.startswith(rows) for line in said):
                    first.setdefault(rows, time.perf_counter() - started)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, "selfstudy study", log.read_text(encoding="utf-8"))
    write(folder, time.perf_counter() - started, peak_bytes / 2**20, first[LEARNED], first[PRETRAINED])


def proportional_bytes(processes: list[psutil.Process]) -> int:
    """Of all that are still there."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.memory_full_info().pss
    return total


def write(folder: Path, seconds: float, peak_mib: float, learned_seconds: float, pretrained_seconds: float) -> None:
    """benchmarks/digits.md from a finished study."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    labels = list(dict.fromkeys(point["labels"] for point in summary["points"]))
    rows = list(dict.fromkeys((point["row"], point["protocol"]) for point in summary["points"]))
    found = {(p["row"], p["protocol"], p["labels"]): p for p in summary["points"]}
    lines = [
        "# The built-in study", "", f"{date.today()}; {describe()}.", "",
        "| | measured | bound |", "|---|---|---|",
        f"| `selfstudy study`, whole | {seconds / 60:.1f} min | 10 min |",
        f"| first learned row on the screen, trained on labels | {learned_seconds:.0f} s | 120 s |",
        f"| first row on the screen that was pretrained, with all its scores | {pretrained_seconds:.0f} s | 120 s |",
        f"| peak memory of all processes | {peak_mib:.0f} MiB | 2048 MiB |", "",
        "| row, labels per class | floor | accuracy | two standard errors | holds within them |", "|---|---|---|---|---|",
        *(_floor(row, labels, summary["points"]) for row, labels in FLOORS), "",
        "Accuracy on the 1,000 test images: mean over draws and seeds, with its 95 % interval.", "",
        "| row | protocol | " + " | ".join(f"{label} labels" for label in labels) + " |",
        "|---|---|" + "---|" * len(labels),
    ]  # fmt: skip
    for row, protocol in rows:
        cells = [found.get((row, protocol, label)) for label in labels]
        text = [f"{c['mean']:.3f} ({c['low']:.3f} to {c['high']:.3f})" if c else "" for c in cells]
        lines.append(f"| {row} | {protocol} | " + " | ".join(text) + " |")
    lines += ["", *summary["answer"], ""]
    (Path(__file__).parent / "digits.md").write_text("\n".join(lines), encoding="utf-8")


def _floor(row: str, labels: str, points: list[dict[str, Any]]) -> str:
    [point] = [p for p in points if (p["row"], p["labels"], p["decides"]) == (row, labels, True)]
    floor, mean, twice = FLOORS[row, labels], point["mean"], 2 * point["standard_error"]
    return f"| {row}, {labels} | {floor:.3f} | {mean:.4f} | {twice:.4f} | {'yes' if mean + twice >= floor else 'no'} |"


if __name__ == "__main__":
    main()
