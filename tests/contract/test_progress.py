"""The progress display: what a person reads on a terminal, in a log file and with --json."""

import io

import pytest

from selfstudy.progress import SECONDS_BETWEEN_LINES, Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has no cursor to hide
    return Terminal()


def test_a_log_file_gets_a_line_every_so_often_with_rate_and_time_left(clock: Clock) -> None:
    """Fails when the rate is taken from the total, or the pause between lines is not kept."""
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        progress.start("simclr", 80_000, "images")
        for second in range(1, 41):
            clock.now += 1
            progress.update(second * 1_000, "loss 5.1")
        progress.finish("simclr: done")
    assert stream.getvalue().splitlines() == [
        "simclr: 10,000 of 80,000 images, 1,000 images/s, 70 s left, loss 5.1",
        "simclr: 20,000 of 80,000 images, 1,000 images/s, 60 s left, loss 5.1",
        "simclr: 30,000 of 80,000 images, 1,000 images/s, 50 s left, loss 5.1",
        "simclr: 40,000 of 80,000 images, 1,000 images/s, 40 s left, loss 5.1",
        "simclr: done",
    ]


def test_what_a_lane_is_about_names_its_outermost_task(clock: Clock) -> None:
    """Mutation: inner tasks lose their names, or the next lane keeps it."""
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        lane = progress.lane("simclr, seed 0")
        for named, name in ((lane, "SimCLR"), (lane, "validation"), (progress.lane(), "BYOL")):
            named.start(name, 10, "images")
            clock.now += SECONDS_BETWEEN_LINES
            named.update(5)
    assert [line.partition(":")[0] for line in stream.getvalue().splitlines()] == [
        "simclr, seed 0",
        "validation",
        "BYOL",
    ]


def test_work_of_an_earlier_process_does_not_count_as_speed(clock: Clock) -> None:
    """Fails when `done` at the start is taken for work of this process."""
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        progress.start("byol", 10_000, "images", done=9_000)
        clock.now += SECONDS_BETWEEN_LINES
        progress.update(9_500)
    assert stream.getvalue() == "byol: 9,500 of 10,000 images, 50 images/s, 10 s left\n"


def test_slow_units_show_the_time_left_but_no_rate_of_zero(clock: Clock) -> None:
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        progress.start("study", 20, "cells")
        clock.now += 600
        progress.update(2)
    assert stream.getvalue() == "study: 2 of 20 cells, 90 min left\n"


def test_tasks_nest(clock: Clock) -> None:
    """Fails when a finished inner task takes the outer one with it."""
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        progress.start("study", 4, "cells")
        progress.start("simclr", 100, "images")
        progress.finish("")
        clock.now += 20
        progress.update(1)
    assert stream.getvalue() == "study: 1 of 4 cells, 60 s left\n"


def test_quiet_says_nothing(clock: Clock) -> None:
    stream = Terminal()
    with Progress(quiet=True, stream=stream, clock=clock) as progress:
        progress.start("simclr", 10, "images")
        clock.now += 60
        progress.update(5)
        progress.say("[red]words")
        progress.finish("done")
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_live_line_and_keeps_what_was_said(clock: Clock, terminal: Terminal) -> None:
    """Fails when brackets are read as markup, or when the cursor is left hidden."""
    with Progress(stream=terminal, clock=clock) as progress:
        progress.start("simclr", 1_000, "images")
        clock.now += 1
        progress.update(100, "loss [5.1]")
        progress.say("first row: [0.80, 0.84]")
        progress.finish("simclr: done")
    shown = terminal.getvalue()
    assert "first row: [0.80, 0.84]" in shown
    assert "simclr: done" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is shown again after it was hidden


def test_lanes_beside_each_other_keep_their_own_tasks(clock: Clock) -> None:
    """Mutation: one stack of tasks for all, so that what one finishes is the other's."""
    stream = io.StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        first, second = progress.lane(), progress.lane()
        first.start("simclr", 100, "images")
        second.start("byol", 200, "images")
        first.finish("simclr: done")
        clock.now += SECONDS_BETWEEN_LINES
        second.update(100)
    assert stream.getvalue().splitlines() == ["simclr: done", "byol: 100 of 200 images, 10 images/s, 10 s left"]


def test_lanes_share_one_terminal(clock: Clock, terminal: Terminal) -> None:
    """One live display, gone once the last lane has ended. Mutation: it goes with the first."""
    with Progress(stream=terminal, clock=clock) as progress:
        first, second = progress.lane(), progress.lane()
        first.start("simclr", 100, "images")
        second.start("byol", 200, "images")
        second.start("search", 3, "trials")
        first.finish("")
        assert "\x1b[?25h" not in terminal.getvalue()
        second.abandon()
        assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_a_terminal_is_restored_after_an_interruption(clock: Clock, terminal: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(stream=terminal, clock=clock) as progress:
        progress.start("simclr", 1_000, "images")
        raise KeyboardInterrupt
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (5_400, "90 min"), (36_000, "10.0 h")]
)
def test_durations_read_as_a_person_would_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
