"""How fast views are made: the SimCLR chain against lightly's, two views an image, on one thread.

    python benchmarks/views.py

Both get the same images in memory (lightly as Pillow images, one by one, as its data loader would hand them over) and
give normalised float32. They take turns of about the same length, so that each works with its own code and data in
cache; a turn's time is the processor time of this process, so that what else the machine does counts little. Writes
views.md beside this file.
"""

import datetime
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from lightly.transforms.simclr_transform import SimCLRTransform
from lightly.transforms.utils import IMAGENET_NORMALIZE
from PIL import Image

from benchmarks.machine import describe
from selfstudy.rng import Rng
from selfstudy.views import Chain, papers, parse, preset

TURNS = 9
SIZES = {32: (512, 10), 96: (64, 3), 224: (16, 2)}  # pixels a side: images, how often ours views them in a turn
CONTRACT = 10.0  # times lightly at 32 px


def main() -> None:
    torch.set_num_threads(1)
    _free_a_large_tensor()
    rows = [_race(size, *amounts) for size, amounts in SIZES.items()]
    digits = _digits_milliseconds()
    text = _page(rows, digits)
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    if rows[0][2] < CONTRACT:
        raise SystemExit(f"{rows[0][2]:.1f} times lightly at 32 px; at least {CONTRACT:g} were promised")


def _free_a_large_tensor() -> None:
    """As training does at its first step. From then on glibc keeps freed memory of such sizes instead of giving it back
    to the system, which would hand it out anew, page by page, for every tensor."""
    torch.empty(32 * 2**20 - 2**16, dtype=torch.uint8)


def _race(size: int, count: int, repeats: int) -> tuple[float, float, float]:
    """Images a second, two views each: lightly, ours, and the median of the turns' ratios."""
    pixels = _pictures(count, size)
    pillow = [Image.fromarray(image) for image in pixels]
    stored, index = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.arange(count)
    peer, chain = SimCLRTransform(input_size=size), papers.simclr(size)
    mean, std = (torch.tensor(IMAGENET_NORMALIZE[key])[:, None, None] for key in ("mean", "std"))

    def ours(turn: int) -> None:
        for view in range(2 * repeats):
            chain(stored, index, Rng.from_seed(turn).fork(view)).sub_(mean).div_(std)

    def theirs(turn: int) -> None:
        for image in pillow:
            peer(image)

    for contender in (ours, theirs):
        contender(-1)  # tables, threads, imports
    times = [(_seconds(theirs, turn), _seconds(ours, turn) / repeats) for turn in range(TURNS)]
    rates = [count / statistics.median(column) for column in zip(*times, strict=True)]
    return rates[0], rates[1], statistics.median(slow / fast for slow, fast in times)


def _digits_milliseconds() -> float:
    """Median processor time of one view of 512 grey images of 28 px by the preset for digits."""
    chain: Chain = papers.simclr(28).with_steps(parse(preset("digits", "benchmark"), "benchmark"))
    stored = torch.from_numpy(_pictures(512, 28)).permute(0, 3, 1, 2)[:, :1].contiguous()
    index = torch.arange(512)
    return 1000 * statistics.median(
        _seconds(lambda turn: chain(stored, index, Rng.from_seed(turn)), turn) for turn in range(3 * TURNS)
    )


def _pictures(count: int, size: int) -> np.ndarray:
    """Uint8 [count, size, size, 3]: coloured blobs with some noise."""
    generator = torch.Generator().manual_seed(size)
    blobs = torch.nn.functional.interpolate(
        torch.rand(count, 3, 5, 5, generator=generator), (size, size), mode="bicubic"
    )
    noisy = blobs + 0.1 * torch.randn(blobs.shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _seconds(contender: Callable[[int], object], turn: int) -> float:
    started = time.process_time()
    contender(turn)
    return time.process_time() - started


def _page(rows: list[tuple[float, float, float]], digits: float) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torchvision", "pillow", "lightly"))
    table = "\n".join(
        f"| {size} px | {theirs:,.0f} | {ours:,.0f} | **{ratio:.1f}** |"
        for size, (theirs, ours, ratio) in zip(SIZES, rows, strict=True)
    )
    return f"""# Views: the SimCLR chain against lightly's

{datetime.date.today().isoformat()}; {describe()}, {packages}.

Images a second, two views each (random resized crop, flip, colour jitter, grey, blur, normalisation), processor time,
median of {TURNS} turns taken alternately in one process by `python benchmarks/views.py`:

| side | lightly SimCLRTransform | selfstudy | times as fast |
|---|---:|---:|---:|
{table}

One view of 512 grey images of 28 px by the preset `digits` (warp, elastic, dilation, erosion): {digits:.1f} ms.
"""


if __name__ == "__main__":
    main()
