"""The recipe of a row as it is written in a study file: what the row was given, and all that defaults added to it."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from selfstudy.study._record import Row, RunKey, StudyRecord

LEFT_OUT = (  # of run.json: what the data decide, the study as a whole, or another setting that is kept
    "method", "config", "seed", "on_collapse", "image_size", "channels", "images_seen", "views",
)  # fmt: skip
STARTS = ("random", "supervised")  # rows whose only setting after defaults is what they start from

Cards = Mapping[RunKey, Mapping[str, object]]


class _Short(dict):
    """A mapping that is written on one line, with all that is in it."""


class _Dumper(yaml.SafeDumper):
    """A line for each setting; lists of numbers and words, and steps of views, on one."""

    def represent_sequence(
        self, tag: str, sequence: Iterable[Any], flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        short = not any(isinstance(item, dict | list | tuple) for item in sequence) and len(list(sequence)) > 1
        return super().represent_sequence(tag, sequence, flow_style=short)


_Dumper.add_representer(
    _Short, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
)


def recipe(record: StudyRecord, row: Row, cards: Cards) -> str:
    """YAML to paste under `methods:` of any study file: a list of one entry. With it a row is asked for as it was here."""
    method, asked = _asked(record, row)
    values: dict[str, object] = {"as": row.entry} if row.entry != method else {}
    card = next((card for key, card in cards.items() if key[:2] == (row.entry, row.unlabelled)), {})
    settings = card.get("settings", {})
    assert isinstance(settings, Mapping)
    if "config" in settings:
        values |= {key: value for key, value in settings.items() if key not in LEFT_OUT}
        values |= {f"method.{key}": value for key, value in settings["config"].items()}
        values["views"] = {slot: [_Short(step) for step in chain["views"]] for slot, chain in settings["views"].items()}
    elif method in STARTS and "backbone" in record.settings:
        values["backbone"] = record.settings["backbone"]
    values |= {key: value for key, value in asked.items() if key not in values}
    return yaml.dump(
        [{method: values} if values else method], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def _asked(record: StudyRecord, row: Row) -> tuple[str, Mapping[str, object]]:
    """The method of a row, a name or a path, and its overrides, from the study file."""
    methods = record.settings.get("methods", [])
    assert isinstance(methods, list)
    for item in methods:
        [(method, values)] = item.items() if isinstance(item, Mapping) else [(item, {})]
        if row.entry in ((values or {}).get("as"), method, str(method).rpartition("/")[2].removesuffix(".py")):
            return str(method), values or {}
    return record.entries.get(row.entry, row.entry), {}
