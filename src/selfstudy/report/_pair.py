"""The page of two studies: whether they can be compared at all, what differs, and their scores side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from selfstudy.errors import UserError
from selfstudy.report import _names
from selfstudy.report._page import render
from selfstudy.report._phrases import at_labels, count_text
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._circumstances import costs
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point
from selfstudy.study.pair import Match, Pair, pair


@dataclass(frozen=True)
class Side:
    """One of the two studies, as the page calls it."""

    name: str
    folder: str
    question: str


def page(a: Path, b: Path) -> str:
    """Two study folders held against each other, as HTML. Raises UserError if one is no study, or both are the same."""
    if a.resolve() == b.resolve():
        raise UserError(f"{a} and {b} are the same study: name two to compare")
    records = [StudyRecord.read(folder) for folder in (a, b)]
    found = pair(*records)
    sides = _sides(records)
    return render(
        "pair.html.j2",
        sides=sides,
        sentences=_sentences(found, sides),
        settings=found.settings,
        scores=_scores(found, sides, records[0]),
        costs=_costs(records, sides),
    )


def _sides(records: Sequence[StudyRecord]) -> list[Side]:
    """By name; where both have the same, by folder too."""
    names = [str(record.settings.get("name", record.folder.name)) for record in records]
    folders = [record.folder.resolve().name for record in records]
    if names[0] == names[1]:
        names = folders if folders[0] != folders[1] else [f"{names[0]} (first)", f"{names[1]} (second)"]
    return [
        Side(name, str(record.folder), str(record.settings.get("question", "")))
        for name, record in zip(names, records, strict=True)
    ]


def _sentences(found: Pair, sides: Sequence[Side]) -> list[str]:
    a, b = sides[0].name, sides[1].name
    images = _images(found.shared_test_images, found.num_test_images, "test")
    if found.obstacle:
        first = f"The scores of {a} and {b} cannot be compared image by image, as {found.obstacle}: they stand side by side below, and no verdict follows."
    else:
        first = f"{a} and {b} test on the same {count_text(found.num_test_images[0], 'image')} by the same metric, so rows of one name are compared image by image."
    training = _images(found.shared_train_images, found.num_train_images, "training")
    return [first, *_verdicts(found, sides), f"{images} {training}"]


def _images(shared: int, numbers: tuple[int, int], kind: str) -> str:
    if shared == numbers[0] == numbers[1]:
        return f"Both have the same {count_text(shared, f'{kind} image')}."
    return f"Of {_names.count(numbers[0])} and {_names.count(numbers[1])} {kind} images {_names.count(shared)} are in both."


def _verdicts(found: Pair, sides: Sequence[Side]) -> list[str]:
    judged = [match for match in found.matches if match.difference is not None]
    same = sum(match.same_runs for match in found.matches)
    sentences = []
    for verdict, words in (
        ("better", f"Better in {sides[1].name}"), ("worse", f"Worse in {sides[1].name}"), ("equivalent", "Equal, within the margin"),
        ("undecided", "Undecided"),
    ):  # fmt: skip
        rows: dict[str, list[str]] = {}
        for match in judged:
            if match.difference is not None and match.difference.verdict == verdict:
                rows.setdefault(match.row, []).append(match.labels)
        if rows:
            sentences.append(f"{words}: {'; '.join(f'{row} {at_labels(labels)}' for row, labels in rows.items())}.")
    if same:
        sentences.append(
            f"{count_text(same, 'score comes', 'scores come')} from the very same runs, and cannot differ."
        )
    return sentences


def _scores(found: Pair, sides: Sequence[Side], record: StudyRecord) -> Table:
    lines = [_line(match, record) for match in found.matches]
    headers = ["row", "labels", "judged by", "verdict", sides[0].name, sides[1].name, "difference", "from", "to"]
    caption = f"Scores in per cent of {sides[0].name} and {sides[1].name}, and their differences in points, {len(lines)} lines."
    return Table(caption=caption, headers=headers, lines=lines, words=4, sortable=True)


def _line(match: Match, record: StudyRecord) -> list[Cell]:
    found = match.difference
    ends: list[Cell] = [NOT_KNOWN] * 3
    verdict = "the same runs" if match.same_runs else "" if found is None else found.verdict
    if found is not None:
        ends = [(f"{100 * value:+.1f}", value) for value in (found.mean, found.low, found.high)]
    return [
        (match.row, match.row), (_names.labels(match.labels), record.num_labels(match.labels)),
        (_names.protocol(match.protocol), match.protocol), (verdict, verdict), _score(match.a), _score(match.b), *ends,
    ]  # fmt: skip


def _score(point: Point | None) -> Cell:
    if point is None:
        return NOT_KNOWN
    return f"{100 * point['mean']:.1f} ({100 * point['low']:.1f} to {100 * point['high']:.1f})", point["mean"]


def _costs(records: Sequence[StudyRecord], sides: Sequence[Side]) -> Table:
    found = [{cost["row"]: cost for cost in costs(record)} for record in records]
    lines: list[list[Cell]] = []
    for row in dict.fromkeys(name for side in found for name in side):
        cells: list[Cell] = [(row, row)]
        for side in found:
            cost = side.get(row)
            runs = 0 if cost is None else cost["num_runs"]
            each = 0.0 if cost is None or not runs else cost["pretraining_seconds"] / runs
            cells.append((_names.duration(each), each) if runs else NOT_KNOWN)
            cells.append(NOT_KNOWN if cost is None else (_names.duration(cost["seconds"]), cost["seconds"]))
        lines.append(cells)
    headers = ["row", *(f"{side.name}: {what}" for side in sides for what in ("one pretraining", "altogether"))]
    return Table(
        caption=f"What {sides[0].name} and {sides[1].name} cost.", headers=headers, lines=lines, words=1, sortable=True
    )
