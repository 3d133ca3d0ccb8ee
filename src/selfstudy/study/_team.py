"""The process that tends the workers of a study: `python -m selfstudy.study._team HOW FOLDER`; `_workers.py` starts it.

It stands between them because `multiprocessing` runs the main program of whoever starts a process in the new one, too: here
that is this file and harmless; a user's script would study twice. It imports nothing that is large.

A line of its input is `[number, hashes]`, a unit of cells for the worker of this number, who is started when first named, or
`[number, null]`, which ends that worker. A line of its output is `[number, ...]`, what the worker has to say, and at last
`[number, "ended", exit code]`. When its input ends all workers do, in the middle of a training too, of which a checkpoint stays.

HOW workers are started is `multiprocessing`'s word for it. With `forkserver` they are forks of one process that has imported
everything and computed nothing: what importing writes to memory, half a gigabyte with the CUDA build of torch, is shared by
all, and imported once. A process that has computed cannot be forked safely.
"""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

SECONDS_TO_STOP = 30.0  # for workers to write their checkpoints


def main(how: str, folder: Path) -> None:
    # Windows sends a terminal's interruption to all its processes; whether these stop is for the study to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers, starter = _Answers(), multiprocessing.get_context(how)
    if how == "forkserver":
        starter.set_forkserver_preload(["selfstudy.study._preloaded"])
    workers: dict[int, _Worker] = {}
    for line in sys.stdin:
        number, unit = json.loads(line)
        if number not in workers:
            workers[number] = _Worker.start(starter, folder, number, answers)
        workers[number].tell(unit)
    for worker in workers.values():
        worker.tell(None)
    deadline = time.monotonic() + SECONDS_TO_STOP
    for worker in workers.values():
        worker.end(deadline)


class _Answers:
    """The standard output for the lines of this protocol alone: what libraries print goes to the standard error instead."""

    def __init__(self) -> None:
        self._stream: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._one_at_a_time = threading.Lock()

    def send(self, *content: object) -> None:
        with self._one_at_a_time, suppress(OSError):  # nobody reads it any more: the input will end, too
            print(json.dumps(content), file=self._stream, flush=True)


@dataclass(frozen=True)
class _Worker:
    process: multiprocessing.process.BaseProcess
    line: Connection
    listener: threading.Thread

    @classmethod
    def start(
        cls, starter: multiprocessing.context.BaseContext, folder: Path, number: int, answers: _Answers
    ) -> "_Worker":
        ours, theirs = starter.Pipe()
        process = starter.Process(target=_work, args=(folder, theirs))  # type: ignore[attr-defined]  # typeshed: of each kind
        process.start()
        theirs.close()
        listener = threading.Thread(target=_listen, args=(process, ours, number, answers))
        listener.start()
        return cls(process, ours, listener)

    def tell(self, unit: list[str] | None) -> None:
        with suppress(OSError):  # it has died, as its listener will say
            self.line.send(unit)

    def end(self, deadline: float) -> None:
        self.listener.join(max(0.0, deadline - time.monotonic()))
        self.process.kill()
        self.listener.join()


def _listen(process: multiprocessing.process.BaseProcess, line: Connection, number: int, answers: _Answers) -> None:
    with suppress(EOFError, OSError):
        while True:
            answers.send(number, *line.recv())
    process.join()
    answers.send(number, "ended", process.exitcode)


def _work(folder: Path, line: Connection) -> None:
    from selfstudy.study._worker import work

    work(folder, line)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
