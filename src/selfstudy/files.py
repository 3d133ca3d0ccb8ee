"""Atomic writes: a file is either the old one or the whole new one, also after a power cut or a kill."""

import json
import os
import tempfile
from pathlib import Path

from selfstudy.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, then rename over it. A full disk leaves the old file as it was."""
    temporary = path  # until there is another, which is removed whatever happens
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}. What was done before is kept; make room and run the same command again"
        ) from error
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Readable JSON with a final newline. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
