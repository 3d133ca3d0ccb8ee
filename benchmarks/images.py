"""What reading images costs: decoding once, starting again, memory for a store of 5 GiB, feeding from it.

    python -m benchmarks.images

Makes 20,000 JPEG files of 500 x 400 pixels in a temporary folder (2 GB with the stores; removed at the end). "Pure decoding" is
Pillow's own loop on as many threads: open, reduce while decoding, convert, resize to the stored side, nothing kept. Both
take turns over the same 2,000 files, the store each time anew. Writes images.md beside this file.
"""

import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import describe
from selfstudy.images import load

FILES, WIDTH, HEIGHT = 20_000, 500, 400
TURNS, TURN_FILES = 5, 2_000
LARGE_SIZE, LARGE_FILES = 344, 11_500  # slots of 396 pixels a side: 5 GiB


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["SELFSTUDY_CACHE"] = str(root / "cache")
        folder = _write_files(root / "all", FILES)
        ratios, ours, pure = _race(root, folder)
        first, again = _whole(folder)
        gigabytes, megabytes = _large(root, folder)
        rate = _feeding(folder)
    text = f"""# Reading images

{datetime.date.today().isoformat()}, {describe()}. {FILES:,} JPEG files of {WIDTH} x {HEIGHT} pixels, stored for 64 pixels a side.

| what | measured | promised |
|---|---|---|
| decoding into the store, against Pillow alone on as many threads: median of {TURNS} turns of {TURN_FILES:,} files | {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}); {ours:,.0f} and {pure:,.0f} files/s | at most 1.2 times |
| first start with all files | {first:.1f} s, {FILES / first:,.0f} files/s | |
| second start | {again:.2f} s | under 1 s |
| peak memory while a store of {gigabytes:.1f} GiB is built and read once | {megabytes:,.0f} MB | under 1 GiB |
| feeding batches of 256 at random, one thread | {rate:,.0f} images/s | above 20,000 images/s |
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def _write_files(folder: Path, count: int) -> Path:
    """Smooth noise, which compresses like photographs; each file is different."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (64, 50, 62, 3), dtype=np.uint8)
    large = [Image.fromarray(part).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for part in coarse]
    encoded = []
    for picture in large:
        noisy = np.asarray(picture).astype(np.int16) + random.integers(-12, 13, (HEIGHT, WIDTH, 3))
        buffer = BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
        encoded.append(buffer.getvalue())
    for number in range(count):  # a comment makes each file's content its own
        content = encoded[number % len(encoded)]
        comment = f"{number:08}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number:05}.jpg").write_bytes(content[:2] + marker + content[2:])
    return folder


def _race(root: Path, folder: Path) -> tuple[list[float], float, float]:
    """Ratios of seconds, and files a second of both."""
    paths = sorted(folder.iterdir())[:TURN_FILES]
    part = root / "part"
    part.mkdir()
    for path in paths:
        os.link(path, part / path.name)
    ours, pure = [], []
    for turn in range(TURNS):
        os.environ["SELFSTUDY_CACHE"] = str(root / f"turn-{turn}")
        ours.append(_timed(lambda: load(str(part), image_size=64, near_duplicates=False)))
        pure.append(_timed(lambda: _decode_alone(paths)))
    os.environ["SELFSTUDY_CACHE"] = str(root / "cache")
    ratios = [a / b for a, b in zip(ours, pure, strict=True)]
    return ratios, TURN_FILES / statistics.median(ours), TURN_FILES / statistics.median(pure)


def _decode_alone(paths: list[Path]) -> None:
    def decode(path: Path) -> int:
        with Image.open(path) as image:
            image.draft(None, (222, 222))
            small = image.convert("RGB").resize((74, 74), Image.Resampling.BICUBIC)
            return int(np.asarray(small)[0, 0, 0])

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(decode, paths))


def _whole(folder: Path) -> tuple[float, float]:
    first = _timed(lambda: load(str(folder), image_size=64, near_duplicates=False))
    code = f"import time; from selfstudy.images import load; t = time.perf_counter(); load({str(folder)!r}, image_size=64, near_duplicates=False); print(time.perf_counter() - t)"
    again = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    return first, statistics.median(again)


def _large(root: Path, folder: Path) -> tuple[float, float]:
    """GiB of the store and the largest memory, in MB, of a process that builds it and reads it once."""
    code = f"""
import resource
from selfstudy.images import load
images = load({str(folder)!r}, image_size={LARGE_SIZE}, near_duplicates=False)
total = sum(int(part[:, :, 0, 0].sum()) for part in images.images.split(64))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    few = root / "few"
    few.mkdir()
    for path in sorted(folder.iterdir())[:LARGE_FILES]:
        os.link(path, few / path.name)
    code = code.replace(repr(str(folder)), repr(str(few)))
    environment = os.environ | {"SELFSTUDY_CACHE": str(root / "large")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    size = sum(path.stat().st_size for path in (root / "large").rglob("*.u8"))
    return size / 2**30, float(done.stdout)


def _feeding(folder: Path) -> float:
    """Images a second from the store, in random order."""
    torch.set_num_threads(1)
    images = load(str(folder), image_size=64, near_duplicates=False)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(256)
    rates = []
    for _ in range(5):
        rates.append(len(images) / _timed(lambda: [images.at(rows) for rows in order]))
    return statistics.median(rates)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
