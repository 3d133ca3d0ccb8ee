"""Two studies held against each other: what differs between them, and what of their scores can be compared.

Numbers are paired, image by image, only where both studies test on the same images by the same metric; else they stand
side by side and nothing is concluded. Rows of one name are held against each other at the label counts of both; the
verdicts at one label count are a family, as in compare.py. Draws with equal numbers are paired: where both studies draw
from the same images with the same seed they are the same labels, and where not, the interval covers both draws.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import yaml

from selfstudy.study._comparison import ERROR, Comparison, judge
from selfstudy.study._intervals import Estimate, estimate_difference, holm_confidences
from selfstudy.study._record import StudyRecord, read_json
from selfstudy.study._summary import Point, Verdict

NOT_COMPARED = (
    "name",
    "question",
    "max_hours",
    "device",
    "threads",
)  # settings that no score depends on, but for rounding


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a row in study b from the row of the same name in study a."""

    mean: float  # b less a
    low: float
    high: float
    confidence: float
    verdict: Verdict  # on b


@dataclass(frozen=True, kw_only=True)
class Match:
    """A row at a label count, in one study or in both."""

    row: str
    labels: str
    protocol: str
    a: Point | None
    b: Point | None
    same_runs: bool  # whether both studies hold the very same evaluations
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """All that two studies have to say to each other."""

    settings: Sequence[tuple[str, str, str]]  # setting, in a, in b: those that differ
    shared_test_images: int
    num_test_images: tuple[int, int]
    shared_train_images: int
    num_train_images: tuple[int, int]
    obstacle: str  # why scores cannot be paired, as a clause; "" where they can be
    matches: Sequence[Match]


def pair(a: StudyRecord, b: StudyRecord) -> Pair:
    """Hold two studies against each other."""
    splits = [read_json(record.folder / "splits.json") for record in (a, b)]
    train, test = ([set(_names(split, part)) for split in splits] for part in ("train", "test"))
    obstacle = _obstacle(a, b, splits)
    return Pair(
        settings=_settings(a, b),
        shared_test_images=len(test[0] & test[1]),
        num_test_images=(len(test[0]), len(test[1])),
        shared_train_images=len(train[0] & train[1]),
        num_train_images=(len(train[0]), len(train[1])),
        obstacle=obstacle,
        matches=_matches(Comparison(a), Comparison(b), paired=not obstacle),
    )


def _names(split: Mapping[str, object], part: str) -> list[str]:
    found = split.get(part, [])
    assert isinstance(found, list)
    return [str(name) for name in found]


def _tested(split: Mapping[str, object]) -> list[str]:
    """The ids of the pictures that are tested; of a page that of its first tile."""
    names, pages = _names(split, "test"), [int(place) for place in _names(split, "test_pages")]
    first: dict[int, str] = {}
    for name, place in zip(names, pages or range(len(names)), strict=True):
        first.setdefault(place, name)
    return [first[place] for place in sorted(first)]  # in the order of the labels beside them


def _obstacle(a: StudyRecord, b: StudyRecord, splits: Sequence[Mapping[str, object]]) -> str:
    """Test images are matched by their content, labels and groups by the images."""
    if a.metric != b.metric:
        return f"one is judged by {a.metric}, the other by {b.metric}"
    marks: list[dict[str, object]] = []
    for record, split in zip((a, b), splits, strict=True):
        labels, groups = record.test_labels.tolist(), record.test_groups.tolist()
        known = [[record.classes[label] for label in labels] if record.test_labels.ndim == 1 else labels, groups]
        marks.append(dict(zip(_tested(split), zip(*known, strict=True), strict=True)))
    if set(marks[0]) != set(marks[1]):
        return "their test images differ"
    if marks[0] != marks[1] or a.classes != b.classes:
        return "the labels or groups of their test images differ"
    return ""


def _settings(a: StudyRecord, b: StudyRecord) -> list[tuple[str, str, str]]:
    """Setting by setting; those of a row as `simclr.batch_size`, and a row that one study lacks as `simclr`."""
    first, second = (dict(_flat(record)) for record in (a, b))
    keys = dict.fromkeys([*first, *second])
    both = [(key, first.get(key, "not set"), second.get(key, "not set")) for key in keys]
    return [line for line in both if line[1] != line[2]]


def _flat(record: StudyRecord) -> Iterator[tuple[str, str]]:
    for key, value in record.settings.items():
        if key in NOT_COMPARED:
            continue
        if key != "methods":
            yield from _below(key, value)
            continue
        for item in value if isinstance(value, list) else [value]:
            [(method, own)] = item.items() if isinstance(item, Mapping) else [(item, {})]
            name = str((own or {}).get("as", method))
            yield name, f"a row of {method}"
            yield from _below(name, {each: it for each, it in (own or {}).items() if each != "as"})


def _below(key: str, value: object) -> Iterator[tuple[str, str]]:
    """A setting as YAML writes it on one line; a mapping's one by one."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _below(f"{key}.{name}", inner)
    else:
        text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
        yield key, text.removesuffix("\n").removesuffix("\n...")


def _matches(a: Comparison, b: Comparison, *, paired: bool) -> list[Match]:
    points = [{(p["row"], p["protocol"], p["labels"]): p for p in side.points()} for side in (a, b)]
    found: list[Match] = []
    for labels in dict.fromkeys([*a.labels, *b.labels]):
        keys = [(name, side.protocols[name], labels) for side in (a, b) for name in side.rows]
        keys = [key for key in dict.fromkeys(keys) if key in points[0] or key in points[1]]
        same = {
            key: key in a.scores and key in b.scores and set(a.scores[key]["cell"]) == set(b.scores[key]["cell"])
            for key in keys
        }
        estimates: dict[tuple[str, str, str], Estimate] = {}
        for key in keys if paired else []:
            if key in a.grids and key in b.grids and not same[key]:
                estimate = estimate_difference(b.grids[key], a.grids[key], a.num_groups)
                estimates |= {key: estimate} if estimate is not None else {}
        differences = _judged(estimates, a.record.margin)
        found += [
            Match(
                row=key[0], protocol=key[1], labels=labels, a=points[0].get(key), b=points[1].get(key), same_runs=same[key],
                difference=differences.get(key),
            )
            for key in keys
        ]  # fmt: skip
    return found


def _judged(
    estimates: Mapping[tuple[str, str, str], Estimate], margin: float
) -> dict[tuple[str, str, str], Difference]:
    """The verdicts of a family, each at the confidence that Holm's procedure gives it."""
    confidences = holm_confidences([estimate.p_value for estimate in estimates.values()], ERROR)
    found = {}
    for (key, estimate), confidence in zip(estimates.items(), confidences, strict=True):
        low, high = estimate.interval(confidence)
        found[key] = Difference(
            mean=estimate.mean, low=float(np.clip(low, -1, 1)), high=float(np.clip(high, -1, 1)), confidence=confidence,
            verdict=judge(low, high, margin),
        )  # fmt: skip
    return found
