"""What a measurement was made on, in one line: no number means anything without it."""

import os
import platform
from pathlib import Path

import torch


def describe() -> str:
    """Processor, cores, threads and versions; never the machine's name."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    level = torch.backends.cpu.get_cpu_capability()
    return (
        f"{model} ({level}), {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}"
    )
