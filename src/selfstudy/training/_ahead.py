"""Reading ahead: while a step trains, the next batches are decoded in the background."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

from selfstudy.types import Batch

BATCHES_AHEAD = 2  # one that is ready and one that is being read; more would only take memory
THREAD = "reading ahead"
_Work = tuple[Future[Batch], Callable[[], Batch]]


class Ahead:
    """Batches by step, read in their order by one thread. What was never asked for is dropped.

    The thread is a daemon: one that waits for a shard keeps no process from ending.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Future[Batch]] = {}
        self._work: SimpleQueue[_Work | None] | None = None

    def get(self, step: int, stop: int, reading: Callable[[int], Callable[[], Batch]]) -> Batch:
        """Batch `step`; those after it and before `stop` are begun. `reading` gives what reads a batch, at once."""
        for number in [number for number in self._waiting if not step <= number < stop]:
            self._waiting.pop(number).cancel()
        for number in range(step, min(stop, step + 1 + BATCHES_AHEAD)):
            if number not in self._waiting:
                self._waiting[number] = self._begin(reading(number))
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """Nothing more is begun; what is being read is not waited for."""
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        if self._work is not None:
            self._work.put(None)
            self._work = None

    def _begin(self, read: Callable[[], Batch]) -> Future[Batch]:
        if self._work is None:
            self._work = SimpleQueue()
            threading.Thread(target=_run, args=(self._work,), name=THREAD, daemon=True).start()
        future = Future[Batch]()
        self._work.put((future, read))
        return future


def _run(work: "SimpleQueue[_Work | None]") -> None:
    while (item := work.get()) is not None:
        future, read = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(read())
        except BaseException as error:  # whatever it is, it is raised again where the batch is asked for
            future.set_exception(error)
