"""Paths and names, as people write them and as they are shown."""

import os
import re
import unicodedata
from pathlib import Path


def expand(path: str | Path) -> Path:
    """`~` to the home folder; an unknown `~user` stays, and will then not be found."""
    return Path(os.path.expanduser(path))


def printable(text: object) -> str:
    """One line of plain text for any path: bytes that are no text and control characters are written as escapes."""
    valid = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    if valid.isprintable():
        return valid
    return "".join(repr(letter)[1:-1] if unicodedata.category(letter) == "Cc" else letter for letter in valid)


def class_name(text: str) -> str:
    """A class as results name it: composed Unicode, as macOS decomposes the names of folders."""
    return unicodedata.normalize("NFC", printable(text).strip())


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Sorting key under which "page 9" comes before "page 10"."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if position % 2 else part for position, part in enumerate(parts)], name
