"""How much unlabelled data until the curve is flat: every row that was pretrained on several fractions of it.

Each fraction is held against the largest, on the same label draws and test images, from the largest downwards; the curve
is flat from the last fraction of the unbroken run to which the largest adds no more than the margin. Held in an order
fixed beforehand and stopped at the first failure, the comparisons need no correction: a wrong claim needs a wrong first
step (Maurer, Hothorn, Lehmacher, 1995; Westfall, Krishen, J. Statistical Planning and Inference 99, 2001).
"""

from collections.abc import Mapping, Sequence

from selfstudy.study._comparison import ERROR, Comparison, judge
from selfstudy.study._findings import Plateau, PlateauStep
from selfstudy.study._record import Row


def plateaus(comparison: Comparison) -> list[Plateau]:
    """One for every entry with several fractions, and every label count at which two of them have scores."""
    entries: dict[str, list[Row]] = {}
    for row in comparison.rows.values():
        entries.setdefault(row.entry, []).append(row)
    sizes = _sizes(comparison)
    found = []
    for entry, rows in entries.items():
        for labels in comparison.labels:
            there = sorted((r for r in rows if comparison.grid(r.name, labels)), key=lambda row: row.unlabelled)
            if len(there) > 1:
                found.append(_plateau(comparison, entry, labels, there, sizes))
    return found


def _plateau(
    comparison: Comparison, entry: str, labels: str, rows: Sequence[Row], sizes: Mapping[tuple[str, float], int]
) -> Plateau:
    """`rows` by fraction, the largest last."""
    steps = [_step(comparison, row, rows[-1], labels, sizes.get((entry, row.unlabelled))) for row in rows]
    flat_from = None
    for step in reversed(steps[:-1]):
        if step["low"] < -comparison.record.margin:
            break
        flat_from = step["unlabelled"]
    rising = steps[-2]["verdict"] == "worse"
    return Plateau(
        entry=entry,
        labels=labels,
        protocol=comparison.protocols[rows[-1].name],
        steps=steps,
        flat_from=flat_from,
        verdict="flat" if flat_from is not None else "rising" if rising else "undecided",
        confidence=1 - ERROR,
    )


def _step(comparison: Comparison, row: Row, largest: Row, labels: str, num_images: int | None) -> PlateauStep:
    cells, estimate = comparison.grid(row.name, labels), comparison.difference(row.name, largest.name, labels)
    assert cells is not None
    step = PlateauStep(
        unlabelled=row.unlabelled, num_images=num_images, mean=float(cells.values.mean()), difference=0.0, low=0.0,
        high=0.0, verdict="itself",
    )  # fmt: skip
    if row == largest:
        return step
    if estimate is None:  # no draw in common: nothing is known of the difference
        return {**step, "low": -1.0, "high": 1.0, "verdict": "undecided"}
    low, high = estimate.interval(1 - ERROR)
    verdict = judge(low, high, comparison.record.margin)
    return {**step, "difference": estimate.mean, "low": max(-1.0, low), "high": min(1.0, high), "verdict": verdict}


def _sizes(comparison: Comparison) -> dict[tuple[str, float], int]:
    """How many images each entry was pretrained on at each fraction, where a run says so."""
    found = {}
    for (entry, unlabelled, _), path in comparison.record.runs.items():
        data = comparison.record.run_card(path).get("data", {})
        if isinstance(data, Mapping) and "num_images" in data:
            found[entry, unlabelled] = int(data["num_images"])
    return found
