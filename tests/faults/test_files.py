"""Writing files when it goes wrong: the old file stays whole, and nothing is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfstudy import files
from selfstudy.errors import RunError

# Limits this process's files to 4 KiB, so that a larger write fails with EFBIG as it would with ENOSPC on a full disk.
WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from selfstudy import files
from selfstudy.errors import RunError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    files.write_bytes(Path(sys.argv[1]), b"new" * 100_000)
except RunError as error:
    print(error)
    sys.exit(1)
"""


def test_content_is_written_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    files.write_json(path, {"name": "Stück", "loss": 0.1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Stück", "loss": 0.1}
    assert path.read_bytes().endswith(b"}\n") and "Stück".encode() in path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644


def test_lines_end_alike_on_every_system(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.csv", "a\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == b"a\nb\n"


def test_a_number_that_json_has_not_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    files.write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"loss": 1.0}


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX's")
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """Fails when the content is written straight into the file, or the unfinished one is not removed."""
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(path)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"cannot write {path}" in done.stdout and "make room" in done.stdout
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["encoder.safetensors"]


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*none"):
        files.write_bytes(tmp_path / "none" / "run.json", b"")
