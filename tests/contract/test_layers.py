"""The import graph: data flows one way, and the members of an open folder do not know each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "selfstudy"
ORDER = (
    "errors", "rng", "types", "files", "config", "catalog", "listing", "progress", "encoder", "images", "views", "nn",
    "backbones", "weights", "method", "methods", "training", "evaluation", "explain", "judge", "model",
    "explaining", "export", "study", "finish", "report", "api", "console", "cli",
)  # fmt: skip
OPEN_FOLDERS = ("images", "views", "backbones", "methods", "evaluation", "explain", "report")
FUNCTIONS = (
    "images",
    "study",
    "explain",
    "report",
)  # `from selfstudy import images` is the function of the API, not the room
FILES = sorted(ROOT.rglob("*.py"))


def imports(source: str, path: Path) -> Iterator[str]:
    """The dotted names below selfstudy that a file imports, wherever in it: `images._load`, `errors`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("selfstudy.") for name in names if name.startswith("selfstudy."))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def breaches(source: str, path: Path) -> list[str]:
    """What a file may not import."""
    room, found = room_of(path), []
    for name in imports(source, path):
        target, _, member = name.partition(".")
        if target.startswith("__"):
            continue  # __version__
        if target not in ORDER:
            found.append(f"{name} is not a room that this test knows")
        elif ORDER.index(target) > ORDER.index(room):
            found.append(f"{name} comes after {room}")
        elif name in FUNCTIONS:
            found.append(f"{name} is a function of the API; import what is in the room")
        elif target != room and target in OPEN_FOLDERS and member.startswith("_"):
            found.append(f"{name} is private to {target}")
        elif target == room and room in OPEN_FOLDERS and not path.stem.startswith("_"):
            sibling = member.partition(".")[0]
            if (path.parent / f"{sibling}.py").is_file() and not sibling.startswith("_"):
                found.append(f"{name} is a sibling in an open folder")
    return found


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if room_of(path) not in ("__init__", "__main__")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_file_imports_only_from_rooms_before_its_own(path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8"), path) == []


def test_every_room_is_in_the_order() -> None:
    assert {room_of(path) for path in FILES} - {"__init__", "__main__"} <= set(ORDER)


def test_judges_and_loop_know_no_method() -> None:
    """They take the contract; `catalog` alone finds what fulfils it."""
    for path in FILES:
        if room_of(path) in ("training", "evaluation"):
            assert not [name for name in imports(path.read_text(encoding="utf-8"), path) if name.startswith("methods")]


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("views/flip.py", "from selfstudy.methods import simclr", "methods.simclr comes after views"),
        ("methods/byol.py", "from selfstudy.methods.simclr import nt_xent", "methods.simclr.nt_xent is a sibling in an open folder"),
        ("study/run.py", "def f():\n    from selfstudy import report", "report comes after study"),
        ("api.py", "from selfstudy import images", "images is a function of the API; import what is in the room"),
        ("training/fit.py", "from selfstudy.views._chain import Chain", "views._chain.Chain is private to views"),
        ("training/fit.py", "from selfstudy.methods.simclr import nt_xent", None),
    ],
)  # fmt: skip
def test_this_test_sees_a_breach(file: str, line: str, complaint: str | None) -> None:
    """The checker itself: the last case is only seen by the test that forbids methods to the loop."""
    assert breaches(line, ROOT / file) == ([complaint] if complaint else [])
