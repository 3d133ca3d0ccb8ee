"""Several cells at a time: processes that each do one unit of work and tell what came of every cell.

A process of its own for each, because threads of one process share the random numbers of torch and the memory that a row is
charged with, and because one that dies takes only its cell with it. On CPUs two processes of one thread do more than one of
two threads wherever steps are short (benchmarks/workers.md).

What workers do stands in `_worker.py`; `_team.py`, which starts and tends them, says how it is talked to.
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
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from selfstudy.errors import RunError
from selfstudy.progress import Progress
from selfstudy.study._study import Study
from selfstudy.study._units import Done, without_encoder
from selfstudy.study.cell import Outcome
from selfstudy.study.plan import Cell

# Windows has no forks; macOS's libraries do not survive them.
HOW = "forkserver" if sys.platform == "linux" else "spawn"
SECONDS_TO_END = 60.0  # twice what the team gives its workers
SECONDS_BETWEEN_LOOKS = 1.0  # not for ever: on Windows a wait without an end cannot be interrupted
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # what torch, NumPy and SciPy read


@dataclass(eq=False)
class _Worker:
    lane: Progress
    left: deque[Cell]  # of its unit; the first is the one it is at
    is_open: bool = False  # whether it got as far as to the study


def beside_each_other(study: Study, units: Sequence[Sequence[Cell]], threads: int) -> Generator[Done, None, None]:
    """Do all units, `study.settings.workers` at a time with `threads` CPU threads each; each cell as soon as it is done.

    A worker that dies fails the cell it was at, and another goes on with the rest. Raises RunError where the disk takes no
    more, or where no worker can be started.
    """
    team, numbers, waiting = _Team(study.folder, threads), count(), deque(units)
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < study.settings.workers:
                number, unit = next(numbers), waiting.popleft()
                workers[number] = _Worker(study.progress.lane(), deque(unit))
                team.tell(number, unit)
            answer = team.answer()
            if answer is None:
                continue
            number, *message = answer
            worker = workers[number]
            match message:
                case ["open"]:
                    worker.is_open = True
                case ["done", _, outcome, seconds]:
                    yield Done(worker.left.popleft(), Outcome(**outcome), seconds)
                    if not worker.left and waiting:
                        worker.left.extend(unit := waiting.popleft())
                        team.tell(number, unit)
                    elif not worker.left:
                        team.tell(number, None)
                case ["stop", error]:
                    raise RunError(error)
                case [("start" | "update" | "finish" | "say") as verb, *arguments]:
                    getattr(worker.lane, verb)(*arguments)
                case ["ended", code]:
                    workers.pop(number).lane.abandon()
                    if worker.left:
                        yield _died(study, worker, code)
                        hopeless = [(cell, found) for cell in worker.left if (found := without_encoder(study, cell))]
                        yield from (Done(cell, outcome, 0.0) for cell, outcome in hopeless)
                        if not hopeless and worker.left:
                            waiting.appendleft(worker.left)
    finally:
        team.end()
        for worker in workers.values():
            worker.lane.abandon()


class _Team:
    """The process that tends all workers, and what they answer."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._answers = queue.SimpleQueue[list[Any] | None]()  # None: there will be no more
        self._process = subprocess.Popen(
            [sys.executable, "-m", "selfstudy.study._team", HOW, str(folder.resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
            start_new_session=True,  # a terminal's interruption is for the study; Windows has no sessions and passes over this
            env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
        )  # fmt: skip
        assert self._process.stdout is not None
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def tell(self, number: int, unit: Sequence[Cell] | None) -> None:
        """What the worker of this number is to do; None is the end of it."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, as its output will tell
            hashes = None if unit is None else [cell.hash for cell in unit]
            print(json.dumps([number, hashes]), file=self._process.stdin, flush=True)

    def answer(self) -> list[Any] | None:
        """What a worker says next, after its number; None if that takes longer than a moment."""
        try:
            answer = self._answers.get(timeout=SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            return None
        if answer is None:
            raise RunError(
                f"the process that starts others for the cells of {self._folder} ended with code {self._process.wait()}; what "
                "is done stays, and the same command goes on from there"
            )
        return answer

    def end(self) -> None:
        """Let each write its checkpoint; what does not stop in time is killed, as it is at a second interruption."""
        assert self._process.stdin is not None
        try:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()

    def _listen(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if line.endswith("\n"):  # one that is cut is of a process that was killed while it wrote
                    self._answers.put(json.loads(line))
        self._answers.put(None)


def _died(study: Study, worker: _Worker, code: int) -> Done:
    if not worker.is_open:
        raise RunError(f"a process for the cells of {study.folder} could not be started: it ended with code {code}")
    hint = "; memory may have run out: try a smaller workers=" if code in (-9, 137) else ""
    cell = worker.left.popleft()
    error = f"the process that worked on it ended with code {code}{hint}"
    return Done(cell, study.bench.fail(cell, error), 0.0)
