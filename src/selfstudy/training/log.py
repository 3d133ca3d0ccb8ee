"""The log of a run: one JSON line per logged step, and the same numbers as TensorBoard events."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter


class RunLog:
    """Appends to `folder`/metrics.jsonl; `rewind` drops what lies after a step, so a repeated stretch is not logged twice."""

    def __init__(self, folder: Path | None) -> None:
        self.records: list[dict[str, Any]] = []
        self._folder = folder
        self._path = None if folder is None else folder / "metrics.jsonl"
        self._events: EventFileWriter | None = None
        if self._path is not None and self._path.exists():
            self.records = [json.loads(line) for line in _whole_lines(self._path)]

    def rewind(self, step: int) -> None:
        """Forget records after `step`."""
        self.records = [record for record in self.records if record["step"] <= step]
        if self._path is not None:
            self._path.write_text("".join(_line(record) for record in self.records), encoding="utf-8")

    def write(self, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
        self._write_events(record)

    def last_readings(self) -> dict[str, float]:
        """The health of the newest record, for a run that goes on."""
        last = self.records[-1] if self.records else {}
        return {name: value for name, value in last.items() if name.startswith(("z_", "h_"))}

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _write_events(self, record: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._events is None:
            self._events = EventFileWriter(str(self._folder))
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in record.items()
            if isinstance(value, float) and math.isfinite(value)
        ]
        self._events.add_event(Event(step=record["step"], summary=Summary(value=values)))


def _line(record: Mapping[str, Any]) -> str:
    finite = {k: (v if not isinstance(v, float) or math.isfinite(v) else None) for k, v in record.items()}
    return json.dumps(finite, allow_nan=False) + "\n"  # JSON has no NaN: null


def _whole_lines(path: Path) -> list[str]:
    """Lines that were written to the end; a killed process may leave half of one."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()
