"""What of a cell's settings decides its result: names and paths give way to what they stand for."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfstudy import catalog
from selfstudy.errors import UserError
from selfstudy.evaluation import Protocol, TrainingSettings
from selfstudy.method import Method
from selfstudy.training import RunSettings
from selfstudy.weights import checksum

Content = Mapping[str, object]


def hash_of(content: Content) -> str:
    """16 hexadecimal digits of canonical JSON: sorted keys, no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_content(method: str, run: RunSettings) -> dict[str, Any]:
    """What decides a pretraining but for its images: all settings, the code, the starting weights. `method` may be a file."""
    settings = {**run.to_json(), "method": Path(method).stem, "init": weights(run.init, run.backbone)}
    return {"settings": by_content(settings), "code": code("methods", method, Method)}


def fewer_trials(content: Content, config: object) -> tuple[str, ...]:
    """The hashes of an evaluation with a shorter search: its trials are the first of a longer one."""
    if not isinstance(config, TrainingSettings):
        return ()
    shorter = [{**asdict(config), "search": count} for count in range(1, config.search)]
    return tuple(hash_of({**content, "config": by_content(settings)}) for settings in shorter)


def code(folder: str, name: str, contract: type[Method] | type[Protocol]) -> int | str:
    """The version of a method's or protocol's code: of ours a number, of a user's file its content."""
    kind = catalog.find(folder, name, contract)
    if name.endswith(".py"):
        return hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest()
    return kind.version


def by_content(value: Any) -> Any:
    """The settings with a user's own view files named by what is in them, so that they may move."""
    if isinstance(value, Mapping):
        return {_named(str(key)): by_content(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [by_content(item) for item in value]
    return _named(value) if isinstance(value, str) else value


def _named(name: str) -> str:
    path = Path(name).expanduser()
    if path.suffix != ".py" or not path.is_file():
        return name
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(source: str, backbone: str) -> str:
    """Starting weights by their content. Those that cannot be had are the failure of a row, not of the study."""
    try:
        return checksum(source, backbone) if source else ""
    except UserError:
        return "not there"
