"""What there is to choose from: the members of the open folders, each with the first line of its file; the studies."""

import ast
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
}
LISTS = (*FOLDERS, "studies")


def contents(what: str) -> dict[str, str]:
    """Names and what each is, in one sentence. `what` is one of LISTS, else UserError.

    The files are read, not imported, so the answer does not wait for torch.
    """
    root = Path(__file__).parent
    if what == "studies":
        return {
            path.stem: str(read_yaml(path).get("question", "")) for path in sorted((root / "studies").glob("*.yaml"))
        }
    if what not in FOLDERS:
        raise UserError(f'there is no list of "{what}".{nearest(what, LISTS)}')
    folder = FOLDERS[what]
    return {name: _first_line(root / folder / f"{name}.py", name) for name in catalog.names(folder)}


def _first_line(path: Path, name: str) -> str:
    """The first line of a file's docstring, without the member's own name before it."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = docstring.partition("\n")[0]
    label, colon, rest = first.partition(":")
    sentence = rest.strip() if colon and label.lower().replace(" ", "") == name else first
    return sentence[:1].upper() + sentence[1:]
