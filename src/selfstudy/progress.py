"""One display for long work: a live line on a terminal, a plain line every so often elsewhere, nothing when quiet."""

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0  # often enough to see life, seldom enough for a log file of a night


@dataclass(slots=True, eq=False)  # two tasks with equal numbers are two
class _Task:
    name: str
    total: int
    unit: str
    first: int  # units done before this process began, so that a resumed run shows its own rate
    started: float
    done: int = 0

    def rate(self, now: float) -> float:
        """Units per second since the start; 0 while nothing is known."""
        return (self.done - self.first) / (now - self.started) if now > self.started else 0.0

    def state(self, now: float) -> str:
        """`12,800 of 80,000 images, 1,234 images/s, 54 s left`."""
        parts = [f"{self.done:,} of {self.total:,} {self.unit}"]
        if rate := self.rate(now):
            parts += [f"{rate:,.0f} {self.unit}/s"] if rate >= 1 else []
            parts += [f"{duration((self.total - self.done) / rate)} left"]
        return ", ".join(parts)


class Progress:
    """Tells a person how far long work is. Tasks may nest: `start` inside `start` is a part of the outer task.

    Use it as a context manager, so that the terminal is left as it was found whatever happens.
    """

    def __init__(
        self, *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Standard streams are looked up now, not at import: they may be redirected.
        self._display = _Display(quiet, stream or sys.stderr, clock)
        self._tasks: list[_Task] = []
        self._about = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.clear()
        self._display.close()

    def lane(self, about: str = "") -> Self:
        """Tasks of their own on the same display, for work beside other work. What they are `about` names the outermost."""
        lane = copy.copy(self)
        lane._tasks, lane._about = [], about
        return lane

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        """Begin a task of `total` units, of which `done` were done in an earlier process."""
        if not self._tasks:
            name = self._about or name
        self._tasks.append(_Task(name, total, unit, done, self._display.clock(), done))
        self._display.open(self._tasks[-1])

    def update(self, done: int, note: str = "") -> None:
        """`done` units of the innermost task are done; `note` is shown beside them, such as the loss."""
        self._tasks[-1].done = done
        self._display.show(self._tasks[-1], note)

    def finish(self, summary: str) -> None:
        """End the innermost task; `summary` stays on the screen unless it is empty."""
        self._display.end(self._tasks.pop())
        if summary:
            self.say(summary)

    def say(self, text: str) -> None:
        """One lasting line, such as a row's first result."""
        self._display.say(text)

    def abandon(self) -> None:
        """End all tasks of this lane, wherever they are: who worked on them has failed or is gone."""
        while self._tasks:
            self.finish("")


class _Display:
    """The stream that all lanes share."""

    def __init__(self, quiet: bool, stream: TextIO, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._quiet, self._stream = quiet, stream
        self._last_line = clock()
        self._live = not quiet and stream.isatty()
        self._bars: Bars | None = None
        self._bar_of: dict[_Task, TaskID] = {}

    def open(self, task: _Task) -> None:
        if self._live:
            self._bars = self._bars or _open_bars(self._stream, self.clock)
            self._bar_of[task] = self._bars.add_task(task.name, total=task.total, completed=task.done, note="")

    def show(self, task: _Task, note: str) -> None:
        now = self.clock()
        state = task.state(now) + (f", {note}" if note else "")
        if self._bars is not None:
            self._bars.update(self._bar_of[task], completed=task.done, note=state)
        elif now - self._last_line >= SECONDS_BETWEEN_LINES:
            self.say(f"{task.name}: {state}")

    def end(self, task: _Task) -> None:
        if self._bars is not None:
            self._bars.remove_task(self._bar_of.pop(task))
            if not self._bar_of:
                self.close()

    def say(self, text: str) -> None:
        if self._quiet:
            return
        self._last_line = self.clock()
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        self._bar_of.clear()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use: `54 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _open_bars(stream: TextIO, clock: Callable[[], float]) -> "Bars":
    from rich.console import Console  # here, not above: only a terminal pays for it
    from rich.progress import BarColumn, Progress, TextColumn

    name, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    bars = Progress(name, BarColumn(bar_width=20), note, console=Console(file=stream), get_time=clock, transient=True)
    bars.start()
    return bars
