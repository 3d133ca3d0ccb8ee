"""What there is to choose from: the members of the open folders, each with the first line of its file; the studies."""

import ast
import csv
import re
from pathlib import Path

from selfstudy import catalog
from selfstudy.config import read_yaml
from selfstudy.errors import UserError, nearest

FOLDERS = {
    "methods": "methods",
    "datasets": "images",
    "backbones": "backbones",
    "views": "views",
    "protocols": "evaluation",
    "analyses": "explain",
}
LISTS = (*FOLDERS, "studies")


MEASURED = Path(__file__).parent / "methods" / "_measured.csv"  # written by benchmarks/methods.py


def contents(what: str) -> dict[str, dict[str, str]]:
    """Names, and what each is in one sentence under "what"; of methods also family, source, needs, state and measurements.

    `what` is one of LISTS, else UserError. The files are read, not imported, so the answer does not wait for torch.
    """
    root = Path(__file__).parent
    if what == "studies":
        return {
            path.stem: {"what": str(read_yaml(path).get("question", ""))}
            for path in sorted((root / "studies").glob("*.yaml"))
        }
    if what not in FOLDERS:
        raise UserError(f'there is no list of "{what}".{nearest(what, LISTS)}')
    folder = FOLDERS[what]
    found = {}
    for name in catalog.names(folder):
        docstring = ast.get_docstring(ast.parse((root / folder / f"{name}.py").read_text(encoding="utf-8"))) or ""
        found[name] = {"what": _first_line(docstring, name)}
        if what == "methods":
            found[name] |= {key: text for key, text in _headers(docstring).items() if key in METHOD_DETAILS}
            found[name] |= _measured(name)
    return found


METHOD_DETAILS = ("family", "source", "needs", "state")  # headers of a method's docstring


def _first_line(docstring: str, name: str) -> str:
    """Without the member's own name before it."""
    first = docstring.partition("\n")[0]
    label, colon, rest = first.partition(":")
    sentence = rest.strip() if colon and re.sub(r"\W", "", label.lower()) == name else first
    return sentence[:1].upper() + sentence[1:]


def _headers(docstring: str) -> dict[str, str]:
    """`Source  text` with its indented continuation lines, by the header in small letters."""
    found: dict[str, str] = {}
    current = ""
    for line in docstring.splitlines()[1:]:
        if match := re.match(r"([A-Z][a-z]+) {2,}(\S.*)", line):
            current = match[1].lower()
            found[current] = match[2]
        elif line.startswith("        ") and current:
            found[current] += f" {line.strip()}"
        elif line.strip():
            current = ""
    return found


def _measured(method: str) -> dict[str, str]:
    """Accuracy and cost on the built-in digits, if it was measured."""
    if not MEASURED.is_file():
        return {}
    with MEASURED.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    return {key: value for row in rows for key, value in row.items() if key != "method"}
