"""What the page says beside its figures: how sure, what it cost, what went wrong, how it was done, how to repeat it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfstudy.report import _names
from selfstudy.report._words import conditions, verdict_text
from selfstudy.study._record import Gap, RunKey, StudyRecord, read_json
from selfstudy.study._summary import Summary

MOST_LISTED = 40  # skipped files named on the page; splits.json names all

Cards = Mapping[RunKey, Mapping[str, object]]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """Text only; the template gives it its place."""

    sure: Sequence[Pair]
    cost: Sequence[Pair]
    gaps: Sequence[str]
    collapsed: Mapping[str, str]  # row: how many of its runs did
    troubles: Sequence[Pair]  # row or cell, what happened
    skipped: Sequence[Pair]  # file, reason
    num_skipped: int
    verdicts: Sequence[tuple[str, Sequence[str]]]  # by label count
    protocol: Sequence[str]
    choices: Sequence[tuple[str, str, str]]  # protocol, labels, what was chosen and how
    settings: Sequence[tuple[str, Sequence[tuple[str, str, str]]]]  # by row: key, value, where it came from
    versions: Sequence[Pair]
    commands: str
    study_file: str


def gather(record: StudyRecord, summary: Summary) -> Facts:
    """Read from the study folder what the summary does not hold."""
    cards: Cards = {key: record.run_card(path) for key, path in record.runs.items()}
    splits = read_json(record.folder / "splits.json")
    skipped = [(str(file["path"]), str(file["reason"])) for file in splits.get("skipped", [])]  # type: ignore[attr-defined]
    return Facts(
        sure=_sure(summary),
        cost=_cost(summary, cards),
        gaps=[_gap(gap) for gap in summary["missing"]],
        collapsed={
            card["row"]: "collapsed"
            if card["num_collapsed"] == card["num_runs"]
            else f"{card['num_collapsed']} of {card['num_runs']} collapsed"
            for card in summary["rows"]
            if card["num_collapsed"]
        },
        troubles=_troubles(record, cards),
        skipped=skipped[:MOST_LISTED],
        num_skipped=len(skipped),
        verdicts=_verdicts(record, summary),
        protocol=[*_design(record), *conditions(summary)],
        choices=_choices(record),
        settings=_settings(record, cards),
        versions=_versions(cards),
        commands=_commands(record),
        study_file=(record.folder / "study.yaml").read_text(encoding="utf-8"),
    )


def _sure(summary: Summary) -> list[Pair]:
    judged = [statement for statement in summary["statements"] if statement["kind"] != "best"]
    where = summary["conditions"]
    facts = []
    if judged:
        for kind, title in (("supervised", "Against supervised"), ("untrained", "Against untrained")):
            verdicts = [statement["verdict"] for statement in judged if statement["kind"] == kind]
            counts = {verdict: verdicts.count(verdict) for verdict in ("better", "worse", "equivalent", "undecided")}
            if verdicts:
                facts.append((title, ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)))
        varied = [name for statement in judged for name in statement["varied"]]
        kinds = dict.fromkeys("training seeds" if name.startswith("seeds of") else name for name in varied)
        facts.append(("Intervals cover", ", ".join(kinds)))
    points = [point for point in summary["points"] if point["decides"]]
    if points:
        draws = {point["labels"]: 0 for point in points}
        for point in points:
            draws[point["labels"]] = max(draws[point["labels"]], point["num_draws"])
        first, *others = (name for name in where["labels"] if name in draws)
        words = [f"{draws[first]} with {_names.labels(first)}", *(f"{draws[name]} with {name}" for name in others)]
        facts.append(("Draws of the labels", ", ".join(words)))
    groups = where["num_test_groups"]
    images = _names.count(where["num_test_images"])
    facts.append(
        ("Test images", images if groups == where["num_test_images"] else f"{images} in {_names.count(groups)} groups")
    )
    return facts


def _cost(summary: Summary, cards: Cards) -> list[Pair]:
    training = sum(cost["pretraining_seconds"] for cost in summary["costs"])
    scoring = sum(cost["evaluation_seconds"] for cost in summary["costs"])
    facts = [("Computing", _names.duration(training + scoring)), ("Pretraining", _names.duration(training))]
    facts.append(("Training on labels, scoring", _names.duration(scoring)))
    memory = [float(str(card["peak_memory_mb"])) for card in cards.values() if card.get("peak_memory_mb")]
    if memory:
        facts.append(("Peak memory", f"{_names.count(max(memory))} MB"))
    machines = dict.fromkeys(_machine(card) for card in cards.values() if "device" in card)
    if machines:
        facts.append(("On", "; ".join(machines)))
    return facts


def _machine(card: Mapping[str, object]) -> str:
    threads = card.get("threads")
    return (
        f"{card.get('device')}"
        if card.get("device") != "cpu"
        else f"cpu, {threads} thread{'' if threads == 1 else 's'}"
    )


def _gap(gap: Gap) -> str:
    counts = {"still to come": gap["to_come"], "failed": gap["failed"]}
    parts = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{gap['row']} with {_names.labels(gap['labels'])}: of {gap['planned']} scores {parts}"


def _troubles(record: StudyRecord, cards: Cards) -> list[Pair]:
    """Runs that collapsed or failed, and evaluations that failed, each with the words it left."""
    found = []
    for (entry, _, seed), card in cards.items():
        health, notes = card.get("health", {}), card.get("notes", [])
        assert isinstance(health, Mapping) and isinstance(notes, list)
        words = [f"failed: {card.get('error', '')}"] if card["status"] == "failed" else []
        words += [str(health["message"])] if health.get("verdict", "healthy") != "healthy" else []
        found += [(f"{entry}, seed {seed}", text) for text in [*words, *map(str, notes)]]
    for plan in record.plan:
        path = record.folder / "cells" / str(plan["hash"])
        cell = read_json(path / "cell.json") if (path / "cell.json").is_file() else {}
        if cell.get("status") == "failed" and not (path / "run.json").is_file():
            labels = (
                f" with {_names.labels(str(plan['labels']))}, draw {plan['draw']}" if plan["kind"] == "evaluate" else ""
            )
            found.append((f"{plan['entry']}{labels}, seed {plan['seed']}", f"failed: {cell.get('error', '')}"))
    return found


def _verdicts(record: StudyRecord, summary: Summary) -> list[tuple[str, list[str]]]:
    return [
        (_names.labels(labels), found)
        for labels in record.labels
        if (found := [verdict_text(s) for s in summary["statements"] if s["labels"] == labels and s["kind"] != "best"])
    ]


def _design(record: StudyRecord) -> list[str]:
    """How the images were divided and the labels drawn: rules of every study, with this one's numbers."""
    return [
        f"Of {_names.count(record.num_train + len(record.test_labels))} labelled images {_names.count(len(record.test_labels))} were set aside "
        "for testing before anything else, in the proportions of the classes; copies of an image and images of one group stay on one side. "
        "The test images are never trained on, without labels either, and their labels are read once, at the end.",
        "Label draws are nested (the fewer labels of a draw are among its more) and the same for every row, so rows are compared on the same labels.",
        "A label used for any choice counts as a label: what has to be chosen is chosen by cross-validation inside the label budget, "
        "and with too few labels for that it is fixed beforehand.",
    ]


def _choices(record: StudyRecord) -> list[tuple[str, str, str]]:
    """What every protocol chose at every label count, over all rows."""
    table = record.table[record.table["value"].notna()].drop_duplicates("cell")
    found: dict[tuple[str, str], dict[str, list[object]]] = {}
    for protocol, labels, cell in table[["protocol", "labels", "cell"]].itertuples(index=False):
        path = record.folder / "cells" / cell / "scores.json"
        chosen = read_json(path).get("chosen", {}) if path.is_file() else {}
        for key, value in chosen.items() if isinstance(chosen, Mapping) else ():
            found.setdefault((protocol, labels), {}).setdefault(key, []).append(value)
    order = {labels: place for place, labels in enumerate(record.labels)}
    lines = []
    for (protocol, labels), chosen in sorted(found.items(), key=lambda item: (item[0][0], order[item[0][1]])):
        how = "; ".join(str(value) for value in dict.fromkeys(chosen.pop("chosen_by", [])))
        what = ", ".join(f"{key} {_range(values)}" for key, values in chosen.items())
        lines.append(
            (_names.protocol(protocol), _names.labels(labels), f"{what} ({how})" if how and what else what or how)
        )
    return lines


def _range(values: Sequence[object]) -> str:
    """ "1", or "0.1 to 10" where it differed between rows, draws and seeds."""
    if all(isinstance(value, int | float) for value in values):
        numbers = sorted(float(str(value)) for value in values)
        return f"{numbers[0]:g}" if numbers[0] == numbers[-1] else f"{numbers[0]:g} to {numbers[-1]:g}"
    return " or ".join(dict.fromkeys(str(value) for value in values))


def _settings(record: StudyRecord, cards: Cards) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The settings of each row's first run after defaults."""
    found = []
    order = {entry: place for place, entry in enumerate(record.entries)}
    first: dict[str, Mapping[str, object]] = {}
    for key in sorted(cards, key=lambda key: (order.get(key[0], len(order)), -key[1], key[2])):
        first.setdefault(key[0], cards[key])
    for entry, card in first.items():
        settings, origins = card.get("settings", {}), card.get("origins", {})
        assert isinstance(settings, Mapping) and isinstance(origins, Mapping)
        found.append((entry, [(key, str(value), str(origins.get(key, ""))) for key, value in _flat(settings)]))
    return found


def _flat(settings: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Nested settings as `method.temperature`; the method's own are under `config` or `method`."""
    lines: list[tuple[str, object]] = []
    for key, value in settings.items():
        name = f"{prefix}{'method' if key == 'config' else key}"
        lines += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]
    return lines


def _versions(cards: Cards) -> list[Pair]:
    found: dict[str, dict[str, None]] = {}
    for card in cards.values():
        versions = card.get("versions", {})
        for name, version in versions.items() if isinstance(versions, Mapping) else ():
            found.setdefault(str(name), {})[str(version)] = None
    return [(name, ", ".join(versions)) for name, versions in found.items()]


def _commands(record: StudyRecord) -> str:
    name, again, file = (shlex.quote(f"{record.folder.resolve().name}{rest}") for rest in ("", "-again", "/study.yaml"))
    return (
        f"selfstudy study {file} --out {again}   # the same study, computed anew\n"
        f"selfstudy study {file} --out {name} seeds=5   # more seeds: what is done is not done again\n"
        f"selfstudy report {name}   # this page, written again"
    )
