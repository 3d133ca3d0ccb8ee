"""The folder is the registry: `methods/simclr.py` is the method "simclr", and nothing else needs to say so.

Every file of an open folder defines exactly one public subclass of that folder's contract (a test sees to it). A name
that ends in .py is a file of the user's own.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from selfstudy.errors import UserError, nearest

Contract = TypeVar("Contract")

_ROOT = Path(__file__).parent
_OWN = "selfstudy_user_"  # begins the module names of users' own files


def names(folder: str) -> list[str]:
    """The members of an open folder, sorted; files that start with an underscore are its private parts."""
    return sorted(path.stem for path in (_ROOT / folder).glob("*.py") if not path.stem.startswith("_"))


def find(folder: str, name: str, contract: type[Contract]) -> type[Contract]:
    """The one class in `folder`/`name`.py (or in the user's own file `name`) that fulfils `contract`."""
    if name.endswith(".py"):
        module = _load_file(Path(name).expanduser())
    elif name in names(folder):
        module = importlib.import_module(f"selfstudy.{folder}.{name}")
    else:
        raise UserError(f'there is no {folder.removesuffix("s")} "{name}".{nearest(name, names(folder))}')
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, contract) and member.__module__ == module.__name__ and not member.__name__.startswith("_")
    ]
    if len(found) != 1:
        raise UserError(
            f"{module.__file__} defines {len(found)} classes of the kind {contract.__name__}, but must define exactly one"
        )
    return found[0]


def name_of(member: type) -> str:
    """The name under which `find` finds a member: its file's name, or the path of a user's own file."""
    module = sys.modules[member.__module__]
    assert module.__file__ is not None
    return module.__file__ if member.__module__.startswith(_OWN) else Path(module.__file__).stem


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path} is not a file")
    name = f"{_OWN}{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
