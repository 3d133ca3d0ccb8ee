"""A process that works on cells for a study: `python -m selfstudy.study._worker FOLDER`; `_workers.py` starts it.

Each line of its input is a unit, the hashes of cells to be done in this order. When the input ends, so does it, in the middle
of a training too, of which a checkpoint stays: the study has all it wanted, was interrupted, or was killed.
"""

import _thread
import json
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TextIO

from selfstudy.errors import RunError, UserError
from selfstudy.progress import Progress
from selfstudy.study._units import do
from selfstudy.study.run import reopen


class _Answers(Progress):
    """The lines that the study reads, what a display here would show among them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(quiet=True)
        self._stream = stream

    def send(self, *content: object) -> None:
        with suppress(OSError):  # nobody reads it any more: the input will end, too
            print(json.dumps(content), file=self._stream, flush=True)

    def start(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self.send("start", name, total, unit, done)

    def update(self, done: int, note: str = "") -> None:
        self.send("update", done, note)

    def finish(self, summary: str) -> None:
        self.send("finish", summary)

    def say(self, text: str) -> None:
        self.send("say", text)


def main(folder: Path) -> None:
    answers = _Answers(_own_output())
    # Windows sends a terminal's interruption to all its processes; whether this one stops is for the study to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    orders, busy = queue.SimpleQueue[list[str] | None](), threading.Event()
    threading.Thread(target=_listen, args=(orders, busy), daemon=True).start()
    try:
        _serve(folder, orders, busy, answers)
    except (UserError, RunError) as error:
        answers.send("stop", str(error))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _serve(
    folder: Path, orders: "queue.SimpleQueue[list[str] | None]", busy: threading.Event, answers: _Answers
) -> None:
    study = reopen(folder, Progress(quiet=True))  # what loading has to say, the study itself has said
    study.bench.progress = answers
    cells = {cell.hash: cell for cell in study.cells}
    answers.send("open")
    while (unit := orders.get()) is not None:
        busy.set()
        for name in unit:
            started = time.monotonic()
            outcome = do(study, cells[name])
            answers.send("done", name, asdict(outcome), time.monotonic() - started)
        busy.clear()


def _own_output() -> TextIO:
    """The standard output for the answers alone: what libraries print goes to the standard error from now on."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own


def _listen(orders: "queue.SimpleQueue[list[str] | None]", busy: threading.Event) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(None)
    if busy.is_set():
        _thread.interrupt_main(signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(Path(sys.argv[1]))
