"""Nothing in the package is for one kind of system only: it is to run on Windows and macOS as on Linux."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "selfstudy"
POSIX_MODULES = {
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "resource",
    "syslog",
    "termios",
    "tty",
}  # the library reference: "Unix"
POSIX_FUNCTIONS = {
    "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "killpg", "mkfifo", "nice", "setsid", "uname", "sched_getaffinity",
    "pread", "SIGKILL", "SIGHUP", "SIGALRM",
}  # fmt: skip


def posix_only(source: str) -> Iterator[str]:
    """What a file uses that Python has on POSIX systems only; and text files whose encoding the system would choose."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in POSIX_MODULES)
            case ast.ImportFrom(module=str(module)) if module in POSIX_MODULES:
                yield module
            case ast.Attribute(value=ast.Name(id="os" | "signal" as module), attr=name) if name in POSIX_FUNCTIONS:
                yield f"{module}.{name}"
            case ast.Call(func=ast.Attribute(attr="read_text"), keywords=words) if "encoding" not in [
                w.arg for w in words
            ]:
                yield "read_text without an encoding"
            case ast.Constant(value=str(text)) if text.startswith(("/tmp", "/dev/", "/proc/")):
                yield text


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_for_all_systems(path: Path) -> None:
    assert list(posix_only(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line", ["import fcntl", "from resource import getrusage", "os.fork()", "path.read_text()", "open('/dev/null')"]
)
def test_this_test_sees_what_is_not(line: str) -> None:
    assert list(posix_only(line))
