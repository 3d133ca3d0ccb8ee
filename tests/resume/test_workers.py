"""Several cells at a time: the same numbers, and nothing is lost when the study dies or is interrupted."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from selfstudy.progress import Progress
from selfstudy.study import _workers
from selfstudy.study.run import Finished, run
from selfstudy.study.settings import validate
from tests.resume.test_study import TINY, bars, numbers

Start = Callable[..., "subprocess.Popen[bytes]"]
SMALL = {**TINY, "methods": ["majority", {"supervised": {"images_seen": 128}}, {"simclr": {"batch_size": 64}}], "explain": [], "workers": 2}  # fmt: skip
COMMAND = (
    "import json, sys; from pathlib import Path; from selfstudy.progress import Progress\n"
    "from selfstudy.study.run import run; from selfstudy.study.settings import validate\n"
    "run(validate(json.loads(sys.argv[1]), 'test'), Path(sys.argv[2]), progress=Progress(quiet=True), yes=True)"
)


def study(folder: Path, **changes: object) -> Finished:
    return run(validate({**SMALL, **changes}, "test"), folder, progress=Progress(quiet=True))


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs a study in a process of its own, which is gone after the test."""
    processes = []

    def start(folder: Path, **changes: object) -> "subprocess.Popen[bytes]":
        processes.append(
            subprocess.Popen([sys.executable, "-c", COMMAND, json.dumps({**SMALL, **changes}), str(folder)])
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def wait_for(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def workers(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """Those of a study: what it has started, large, and has started nothing."""
    found = []
    for other in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if not other.children() and other.memory_info().rss > 100 * 2**20:
                found.append(other)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study as one process does it. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("alone")
    study(folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by two workers."""
    folder = tmp_path_factory.mktemp("together")
    result = study(folder)
    assert result.failures == () and result.num_computed == result.num_cells
    return folder


def test_two_workers_find_the_numbers_that_one_process_finds(alone: Path, together: Path) -> None:
    """To the last bit, with as many threads. Mutation: a seed of the process instead of the cell's."""
    assert numbers(together) == numbers(alone)
    weights = sorted(path.relative_to(alone) for path in alone.glob("cells/*/encoder.safetensors"))
    assert len(weights) == 2
    assert all((alone / path).read_bytes() == (together / path).read_bytes() for path in weights)


def test_workers_that_import_for_themselves_find_them_too(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows and macOS, where nothing is forked."""
    monkeypatch.setattr(_workers, "HOW", "spawn")
    assert {"simclr, seed 0", "supervised, seed 1, 2 labels, draw 1"} <= bars(tmp_path, **SMALL)
    assert numbers(tmp_path) == numbers(alone)


def test_what_is_done_is_not_done_again(together: Path) -> None:
    assert study(together).num_computed == 0


def test_workers_end_with_a_killed_study_which_then_goes_on(alone: Path, tmp_path: Path, start: Start) -> None:
    """Mutation: a worker that does not look at its input trains on, and writes beside the next call's."""
    process = start(tmp_path)
    wait_for(lambda: list(tmp_path.glob("cells/*/metrics.jsonl")))
    others = psutil.Process(process.pid).children(recursive=True)
    assert len(others) > 2  # who tends them is among them
    process.kill()
    process.wait()
    assert psutil.wait_procs(others, timeout=30)[1] == []
    assert study(tmp_path, workers=1).num_computed > 0
    assert numbers(tmp_path) == numbers(alone)


def test_a_killed_worker_fails_its_cell_alone(tmp_path: Path, start: Start) -> None:
    """Whatever kills it, most often the system that is short of memory. Mutation: the study waits for it, or ends with it."""
    slow, table = {"simclr": {"batch_size": 64, "images_seen": 10**7}}, tmp_path / "results.csv"
    process = start(tmp_path, methods=["majority", slow, {"supervised": {"images_seen": 128}}], seeds=1)
    wait_for(lambda: "supervised" in table.read_text(encoding="utf-8") if table.is_file() else False)
    wait_for(lambda: len(workers(process)) == 1)
    workers(process)[0].kill()
    assert process.wait() == 0
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("cells/*/cell.json")]
    failed = {(card["method"], card["kind"]): card["error"] for card in cards if card.get("status") == "failed"}
    assert list(failed) == [("simclr", "pretrain")]
    assert "ended with code -9" in failed["simclr", "pretrain"] or sys.platform == "win32"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no interruption to one process")
def test_an_interrupted_study_keeps_the_training_it_was_at(tmp_path: Path, start: Start) -> None:
    """The checkpoint is younger than the last that the clock asked for. Mutation: workers are killed at once."""
    process = start(tmp_path, methods=["majority", {"simclr": {"batch_size": 64, "images_seen": 10**7}}])
    wait_for(lambda: list(tmp_path.glob("cells/*/metrics.jsonl")))
    others = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait()
    assert psutil.wait_procs(others, timeout=30)[1] == []
    assert list(tmp_path.glob("cells/*/checkpoint/*"))
