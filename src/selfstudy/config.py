"""From YAML and key=value to frozen, checked settings. A wrong key or value is one sentence that names its place."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from selfstudy.errors import UserError, nearest

Settings = TypeVar("Settings")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 but for three traps: 1e-3 is a number, yes/no/on/off are words, a key may not come twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f'the key "{key}" comes twice', node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    letter: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:[0-9][0-9_]*)?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+|[0-9][0-9_]*\.|\.inf|\.nan)$"
    ),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader: plain data only
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (IsADirectoryError, PermissionError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a YAML file: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold `key: value` lines, but holds {type(content).__name__}")
    return content


def parse_value(text: str) -> object:
    """One value as the command line gives it; `a,b,c` is a list."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text
    if isinstance(value, str) and "," in value:
        return [parse_value(part) for part in value.split(",") if part]
    return value


def parse_overrides(pairs: Sequence[str]) -> dict[str, object]:
    """`["epochs=5", "method.temperature=0.2"]` to `{"epochs": 5, "method.temperature": 0.2}`."""
    overrides: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f'"{pair}" is not a setting: expected key=value, such as epochs=100')
        if key in overrides:
            raise UserError(f'"{key}" is set twice on the command line')
        overrides[key] = parse_value(value)
    return overrides


@cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def validate(kind: type[Settings], values: object, place: str) -> Settings:
    """A frozen dataclass from plain values. Unknown keys and wrong types are refused, with the nearest valid name."""
    if not isinstance(values, Mapping):
        raise UserError(f"{place} is {values!r}, but must be `setting: value` pairs")
    known = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(f'{place}: there is no setting "{key}".{nearest(str(key), known)}')
    try:
        return _adapter(kind).validate_python(dict(values))  # type: ignore[arg-type]  # classes are hashable
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if not (isinstance(part, str) and "[" in part)) or "value"
        message = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "missing" or first["type"] == "missing_argument":
            raise UserError(f'{place}: the setting "{name}" is missing') from None
        if first["type"] == "value_error" and not first["loc"]:  # the record's own check, which names its setting
            raise UserError(f"{place}: {first['ctx']['error']}") from None
        raise UserError(
            f"{place}: {name} is {first['input']!r}, but {message.replace('input', 'it').replace('value error, ', '')}"
        ) from None
