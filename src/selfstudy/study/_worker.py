"""A process that works on cells for a study; `_team.py` starts it.

What it receives are units, the hashes of cells to be done in this order, and at last None; what it sends are lists: `["open"]`
once it has read the study, `["done", hash, outcome, seconds]`, `["stop", error]`, or a call of `Progress` with its arguments.
"""

import _thread
import queue
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from selfstudy.errors import RunError, UserError
from selfstudy.progress import Progress
from selfstudy.study._units import do
from selfstudy.study.run import reopen

Orders = queue.SimpleQueue[list[str] | None]


class _Answers(Progress):
    """What the study reads; what a display here would show is among it."""

    def __init__(self, line: Connection) -> None:
        super().__init__(quiet=True)
        self._line = line

    def send(self, *content: object) -> None:
        with suppress(OSError):  # nobody reads it any more: the orders will end, too
            self._line.send(content)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        super().start(name, total, unit, done)
        self.send("start", self._tasks[-1].name, total, unit, done)

    def update(self, done: int, note: str = "") -> None:
        self.send("update", done, note)

    def finish(self, summary: str) -> None:
        super().finish("")
        self.send("finish", summary)

    def say(self, text: str) -> None:
        self.send("say", text)


def work(folder: Path, line: Connection) -> None:
    """Do what is ordered until None is, or nobody is left to order: at once then, in the middle of a training too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interruption is for the study
    signal.signal(signal.SIGTERM, _interrupt)
    answers, orders, waiting = _Answers(line), Orders(), threading.Event()
    threading.Thread(target=_listen, args=(line, orders, waiting), daemon=True).start()
    try:
        _serve(folder, orders, waiting, answers)
    except (UserError, RunError) as error:
        answers.send("stop", str(error))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _serve(folder: Path, orders: Orders, waiting: threading.Event, answers: _Answers) -> None:
    study = reopen(folder, Progress(quiet=True))  # what loading has to say, the study itself has said
    study.bench.progress = answers
    cells = {cell.hash: cell for cell in study.cells}
    answers.send("open")
    waiting.set()
    while (unit := orders.get()) is not None:
        waiting.clear()
        for name in unit:
            started = time.monotonic()
            outcome = do(study, cells[name])
            answers.send("done", name, asdict(outcome), time.monotonic() - started)
        waiting.set()


def _listen(line: Connection, orders: Orders, waiting: threading.Event) -> None:
    unit: list[str] | None = []
    while unit is not None:
        try:
            unit = line.recv()
        except (EOFError, OSError):  # who tended it is gone
            unit = None
        orders.put(unit)
    if not waiting.is_set():
        _thread.interrupt_main(signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
