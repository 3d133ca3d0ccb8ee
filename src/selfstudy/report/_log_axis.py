"""An axis of label counts, shared by figures: logarithmic, each count by its name."""

import altair as alt

from selfstudy.report import _chart, _names
from selfstudy.study._record import StudyRecord


def counts(record: StudyRecord) -> dict[str, float]:
    """Labelled images per class that every label count of the study stands for, about."""
    return {labels: record.num_labels(labels) / max(1, len(record.classes)) for labels in record.labels}


def domain(found: dict[str, float]) -> list[float]:
    """The ends of the axis, with room beside the fewest and the most labels."""
    low, high = min(found.values()), max(found.values())
    room = max(2.0, (high / low) ** 0.06) ** 0.5
    return [low / room, high * room]


def axis(found: dict[str, float], unit: str) -> alt.X:
    """The channel x, of a field `x` in labels per class; `unit` is what has a label."""
    ticks = [
        f"{value:g}" if name.isdigit() else f"{_names.short_labels(name)} ({value:.0f})"
        for name, value in found.items()
    ]
    return alt.X(
        "x:Q",
        title=f"labelled {unit}s per class",
        scale=alt.Scale(type="log", nice=False, domain=domain(found)),
        axis=alt.Axis(
            values=list(found.values()),
            labelExpr=_chart.spelled(list(found.values()), ticks),
            grid=False,
            labelOverlap=True,
        ),
    )
