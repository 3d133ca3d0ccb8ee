"""What a study makes of its workers' answers. A program that talks as they all do stands for them, so that each can misbehave."""

import json
import sys
from pathlib import Path

import pytest
import torch

from selfstudy.errors import RunError
from selfstudy.progress import Progress
from selfstudy.study.estimate import Estimate
from selfstudy.study.run import Finished, run
from selfstudy.study.settings import validate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows starts no script by its first line")

ROWS = ["majority", {"simclr": {"as": "first", "batch_size": 64}}, {"simclr": {"as": "second", "batch_size": 32}}]
ASKED = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv3", "views": ["affine"], "methods": ROWS, "labels": [1],
    "budget": {"images_seen": 640}, "draws": 2, "seeds": 1, "protocols": ["knn"], "metric": "accuracy", "explain": [], "workers": 2,
}  # fmt: skip
NUM_CELLS = 2 + 2 * 3
TEAM = """#!{python}
import json, os, sys
from pathlib import Path

folder = Path(sys.argv[-1])
plan = {{cell["hash"]: cell for cell in json.loads((folder / "plan.json").read_text())["cells"]}}
say = lambda *content: print(json.dumps(content), flush=True)


class Dies(Exception):
    pass


def die(code):
    raise Dies(code)


begin = lambda cell: None
{how}
opened = set()
for line in sys.stdin:
    number, unit = json.loads(line)
    try:
        if number not in opened:
            opened.add(number)
            say(number, "open")
            say(number, "say", "threads " + os.environ["OMP_NUM_THREADS"])
        for name in unit or ():
            say(number, "start", plan[name]["entry"], 10, "images", 0)
            begin(plan[name])
            say(number, "finish", "")
            say(number, "done", name, {{"status": "done", "seconds": 1.0, "metrics": {{"accuracy": 0.5}}, "error": ""}}, 2.0)
        if unit is None:
            say(number, "ended", 0)
    except Dies as death:
        say(number, "ended", *death.args)
"""


class Answers:
    """Runs the study with workers that do as `how` says, and keeps what was said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.log = folder / "log"

    def run(self, how: str, **changes: object) -> Finished:
        team = self.folder / "team"
        team.write_text(TEAM.format(python=sys.executable, how=how), encoding="utf-8")
        team.chmod(0o755)
        with self.monkeypatch.context() as patched, self.log.open("w", encoding="utf-8") as stream:
            patched.setattr(sys, "executable", str(team))
            settings = validate({**ASKED, **changes}, "test")
            return run(settings, self.folder / "study", progress=Progress(stream=stream))

    @property
    def said(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(tmp_path, monkeypatch)


def test_every_cell_is_done_once_and_every_row_has_its_line(answers: Answers) -> None:
    """Mutation: a unit that is given to both workers, or a row whose line is forgotten."""
    done = answers.run("begin = lambda cell: os.close(os.open(folder / cell['hash'], os.O_CREAT | os.O_EXCL))")
    assert done.failures == () and done.num_computed == done.num_cells == NUM_CELLS
    lines = [line.partition(" (about")[0] for line in answers.said if "0.500 at 1" in line]
    assert sorted(lines) == ["first, seed 0: knn 0.500 at 1; 6 s", "majority: 0.500 at 1; 4 s", "second, seed 0: knn 0.500 at 1; 6 s"]  # fmt: skip


def test_workers_share_the_threads(answers: Answers) -> None:
    """And the study has them back in the end. Mutation: every worker takes all of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        answers.run("")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert {line for line in answers.said if line.startswith("threads")} == {"threads 1"}


def test_a_worker_that_dies_fails_its_cell_and_what_waits_for_it(answers: Answers) -> None:
    """The others go on, by a worker that takes its place. Mutation: what waits for the cell is done without it, or forgotten."""
    done = answers.run("begin = lambda cell: cell['entry'] == 'first' and cell['kind'] == 'pretrain' and die(3)")
    assert done.num_computed == done.num_cells == NUM_CELLS
    error = "the process that worked on it ended with code 3"
    assert done.failures == (error, *2 * [f"its encoder failed: {error}"])
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in answers.folder.glob("study/cells/*/cell.json")]
    assert [(card["entry"], card["status"], card["error"]) for card in cards] == [("first", "failed", error)]


def test_what_does_not_wait_for_the_cell_is_done_by_another(answers: Answers) -> None:
    """One of two evaluations of an encoder. Mutation: the rest of the unit goes with the worker."""
    once = (
        "begin = lambda cell: cell['entry'] == 'first' and cell['draw'] == 0 and cell['kind'] == 'evaluate' and die(3)"
    )
    done = answers.run(once)
    assert done.num_computed == NUM_CELLS and len(done.failures) == 1


def test_a_killed_worker_may_have_been_short_of_memory(answers: Answers) -> None:
    done = answers.run("begin = lambda cell: cell['entry'] == 'first' and die(-9)")
    assert "ended with code -9; memory may have run out: try a smaller workers=" in done.failures[0]


def test_what_stops_a_worker_stops_the_study(answers: Answers) -> None:
    """A full disk, most of all: what is done is in the table. Mutation: the study goes on."""
    with pytest.raises(RunError, match=r"^no space left$"):
        answers.run("begin = lambda cell: cell['entry'] == 'second' and say(number, 'stop', 'no space left')")
    assert "majority" in (answers.folder / "study" / "results.csv").read_text(encoding="utf-8")


def test_workers_that_do_not_start_are_said_once(answers: Answers) -> None:
    """Mutation: every cell fails, one after the other."""
    with pytest.raises(RunError, match=r"a process for the cells of .* could not be started: it ended with code 7"):
        answers.run("class Opened(set):\n    def add(self, number): die(7)\nset = Opened")


def test_an_end_of_what_starts_them_is_the_end(answers: Answers) -> None:
    """It was killed while it wrote: what is cut is no answer. Mutation: it is read, and the study ends in a traceback."""
    cut = "begin = lambda cell: cell['entry'] == 'first' and (print(end='[0, \"sa', flush=True), os._exit(3))"
    with pytest.raises(RunError, match=r"the process that starts others for the cells of .* ended with code 3"):
        answers.run(cut)
    assert "majority" in (answers.folder / "study" / "results.csv").read_text(encoding="utf-8")


def test_two_workers_are_estimated_to_take_half_as_long() -> None:
    cost = Estimate({"a": 100.0, "b": 200.0}, 0.0, workers=2)
    assert cost.total_seconds == 150.0
    assert cost.left({}, 0.0) == 150.0
