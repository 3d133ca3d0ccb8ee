"""Several cells at a time: processes that each do one unit of work and tell what came of every cell.

A process of its own for each, because threads of one process share the random numbers of torch and the memory that a row is
charged with, and because one that dies takes only its cell with it. On CPUs two processes of one thread do more than one of
two threads wherever steps are short (benchmarks/workers.md).

A worker is `_worker.py`. It is told what to do, and that its study is gone, by its standard input; it answers by its
standard output, a JSON list per line: `["open"]`, `["done", hash, outcome, seconds]`, `["stop", error]`, or a call of
`Progress` with its arguments.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from selfstudy.errors import RunError
from selfstudy.progress import Progress
from selfstudy.study._study import Study
from selfstudy.study._units import Done, without_encoder
from selfstudy.study.cell import Outcome
from selfstudy.study.plan import Cell

SECONDS_TO_STOP = 30.0  # for a checkpoint to be written
SECONDS_BETWEEN_LOOKS = 1.0  # not for ever: on Windows a wait without an end cannot be interrupted
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # what torch, NumPy and SciPy read

Message = tuple["_Worker", list[Any] | None]  # None: its output has ended


@dataclass(eq=False)
class _Worker:
    process: "subprocess.Popen[str]"
    lane: Progress
    left: deque[Cell] = field(default_factory=deque)  # of its unit; the first is the one it is at
    is_open: bool = False  # whether it got as far as to the study


def beside_each_other(study: Study, units: Sequence[Sequence[Cell]], threads: int) -> Generator[Done, None, None]:
    """Do all units, `study.settings.workers` at a time with `threads` CPU threads each; each cell as soon as it is done.

    A worker that dies fails the cell it was at, and another goes on with the rest. Raises RunError where the disk takes no
    more, or where no worker can be started.
    """
    waiting, messages, team = deque(units), queue.SimpleQueue[Message](), set[_Worker]()
    try:
        while waiting or team:
            while waiting and len(team) < study.settings.workers:
                worker = _start(study, threads, messages)
                team.add(worker)
                _give(worker, waiting.popleft())
            try:
                worker, message = messages.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            match message:
                case ["open"]:
                    worker.is_open = True
                case ["done", _, outcome, seconds]:
                    yield Done(worker.left.popleft(), Outcome(**outcome), seconds)
                    if not worker.left and waiting:
                        _give(worker, waiting.popleft())
                    elif not worker.left:
                        _dismiss(worker)
                case ["stop", error]:
                    raise RunError(error)
                case [("start" | "update" | "finish" | "say") as verb, *arguments]:
                    getattr(worker.lane, verb)(*arguments)
                case None:
                    team.remove(worker)
                    _end(worker)
                    if worker.left:
                        yield _died(study, worker)
                        hopeless = [(cell, found) for cell in worker.left if (found := without_encoder(study, cell))]
                        yield from (Done(cell, outcome, 0.0) for cell, outcome in hopeless)
                        if not hopeless and worker.left:
                            waiting.appendleft(worker.left)
    finally:
        _stop(team)


def _start(study: Study, threads: int, messages: "queue.SimpleQueue[Message]") -> _Worker:
    command = [sys.executable, "-m", "selfstudy.study._worker", str(study.folder.resolve())]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
        start_new_session=True,  # a terminal's interruption is for the study; Windows has no sessions and passes over this
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
    )  # fmt: skip
    worker = _Worker(process, study.progress.lane())
    assert process.stdout is not None
    threading.Thread(target=_listen, args=(worker, process.stdout, messages), daemon=True).start()
    return worker


def _listen(worker: _Worker, lines: IO[str], messages: "queue.SimpleQueue[Message]") -> None:
    with lines:
        for line in lines:
            if line.endswith("\n"):  # one that is cut is of a process that was killed while it wrote
                messages.put((worker, json.loads(line)))
    messages.put((worker, None))


def _give(worker: _Worker, unit: Sequence[Cell]) -> None:
    worker.left = deque(unit)
    assert worker.process.stdin is not None
    with suppress(OSError):  # of one that has died, as its output will tell
        print(json.dumps([cell.hash for cell in unit]), file=worker.process.stdin, flush=True)


def _dismiss(worker: _Worker) -> None:
    """The end of its input is the end of its work."""
    assert worker.process.stdin is not None
    with suppress(OSError):
        worker.process.stdin.close()


def _died(study: Study, worker: _Worker) -> Done:
    code = worker.process.returncode
    if not worker.is_open:
        raise RunError(f"a process for the cells of {study.folder} could not be started: it ended with code {code}")
    hint = "; memory may have run out: try a smaller workers=" if code in (-9, 137) else ""
    cell = worker.left.popleft()
    error = f"the process that worked on it ended with code {code}{hint}"
    return Done(cell, study.bench.fail(cell, error), 0.0)


def _stop(team: set[_Worker]) -> None:
    """Let each write its checkpoint; whoever does not stop in time is killed, as are all at a second interruption."""
    try:
        for worker in team:
            _dismiss(worker)
        for worker in team:
            worker.process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for worker in team:
            worker.process.kill()
            _end(worker)


def _end(worker: _Worker) -> None:
    _dismiss(worker)
    worker.process.wait()
    worker.lane.abandon()
