"""What the page says beside its figures: how sure, what it cost, what went wrong, how it was done, how to repeat it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfstudy.report import _names
from selfstudy.report._conditions import conditions
from selfstudy.report._design import design
from selfstudy.report._findings import findings
from selfstudy.report._verdicts import verdict_text
from selfstudy.study._content import hash_of
from selfstudy.study._record import Gap, RunKey, StudyRecord, read_json
from selfstudy.study._summary import Summary

MOST_LISTED = 40  # skipped files named on the page; splits.json names all
OF_THE_STUDY_ALONE = (  # settings that decide which rows there are or where they are computed, not how they are measured
    "name", "question", "data", "methods", "backbone", "unlabelled", "budget", "views", "max_hours", "device", "workers",
    "threads", "on_collapse", "most_unreadable", "seeds",
)  # fmt: skip

FIGURES = {  # that show what stands under a heading of `findings`
    "Which row to take": "scores", "Up to how many labels pretraining pays": "crossover", "What labels it saves": "crossover",
    "How much unlabelled data": "plateau", "Rare classes": "recall", "How soon": "time_to_accuracy",
    "Score against cost": "pareto", "Whether the protocols agree": "protocols",
}  # fmt: skip

Cards = Mapping[RunKey, Mapping[str, object]]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """Text only; the template gives it its place."""

    cost: Sequence[Pair]
    gaps: Sequence[str]
    collapsed: Mapping[str, str]  # row: how many of its runs did
    troubles: Sequence[tuple[str, str, str]]  # entry, row or cell, what happened
    skipped: Sequence[Pair]  # file, reason
    num_skipped: int
    words: Mapping[str, Sequence[tuple[str, Sequence[str]]]]  # by figure: headings with what it shows in sentences
    protocol: Sequence[str]
    protocol_hash: str
    choices: Sequence[tuple[str, str, str]]  # protocol, labels, what was chosen and how
    versions: Sequence[Pair]
    commands: str
    study_file: str


def gather(record: StudyRecord, summary: Summary) -> Facts:
    """Read from the study folder what the summary does not hold."""
    cards: Cards = {key: record.run_card(path) for key, path in record.runs.items()}
    splits = read_json(record.folder / "splits.json")
    skipped = [(str(file["path"]), str(file["reason"])) for file in splits.get("skipped", [])]  # type: ignore[attr-defined]
    return Facts(
        cost=_cost(cards, int(str(record.settings.get("workers", 1)))),
        gaps=[_gap(gap) for gap in summary["missing"]],
        collapsed={
            card["row"]: "collapsed"
            if card["num_collapsed"] == card["num_runs"]
            else f"{card['num_collapsed']} of {card['num_runs']} collapsed"
            for card in summary["rows"]
            if card["num_collapsed"]
        },
        troubles=_troubles(record),
        skipped=skipped[:MOST_LISTED],
        num_skipped=len(skipped),
        words=_words(record, summary),
        protocol=[*design(record), *conditions(summary)],
        protocol_hash=protocol_hash(record),
        choices=_choices(record),
        versions=_versions(cards),
        commands=_commands(record),
        study_file=(record.folder / "study.yaml").read_text(encoding="utf-8"),
    )


def _cost(cards: Cards, workers: int) -> list[Pair]:
    """What the sentences on the cost leave out."""
    facts = []
    memory = [float(str(card["peak_memory_mb"])) for card in cards.values() if card.get("peak_memory_mb")]
    if memory:
        facts.append(("Peak memory", f"{_names.count(max(memory))} MB" + (" of one process" if workers > 1 else "")))
    machines = dict.fromkeys(_machine(card) for card in cards.values() if "device" in card)
    if machines:
        beside = f"; {workers} cells at a time" if workers > 1 else ""
        facts.append(("Computed on", "; ".join(machines) + beside))
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


def _troubles(record: StudyRecord) -> list[tuple[str, str, str]]:
    """Runs that collapsed or failed, and evaluations that failed, each with the words it left; all trials of a row."""
    found = []
    runs = [(key, trial, path) for key, trials in record.trials.items() for trial, path in trials.items()]
    for (entry, _, seed), trial, path in runs:
        card, where = record.run_card(path), f"{entry}, seed {seed}{f', trial {trial + 1}' if trial else ''}"
        health, notes = card.get("health", {}), card.get("notes", [])
        assert isinstance(health, Mapping) and isinstance(notes, list)
        words = [f"failed: {card.get('error', '')}"] if card["status"] == "failed" else []
        words += [str(health["message"])] if health.get("verdict", "healthy") != "healthy" else []
        found += [(entry, where, text) for text in [*words, *map(str, notes)]]
    for plan in record.plan:
        path = record.folder / "cells" / str(plan["hash"])
        cell = read_json(path / "cell.json") if (path / "cell.json").is_file() else {}
        if cell.get("status") == "failed" and not (path / "run.json").is_file():
            trial = int(str(plan.get("trial", 0)))
            labels = (
                f" with {_names.labels(str(plan['labels']))}, draw {plan['draw']}" if plan["kind"] == "evaluate" else ""
            )
            where = f"{plan['entry']}{labels}, seed {plan['seed']}" + (f", trial {trial + 1}" if trial else "")
            found.append((str(plan["entry"]), where, f"failed: {cell.get('error', '')}"))
    return found


def _words(record: StudyRecord, summary: Summary) -> dict[str, list[tuple[str, Sequence[str]]]]:
    """Every verdict and every finding as a sentence, under the figure that draws it."""
    verdicts: list[tuple[str, Sequence[str]]] = [
        (f"With {_names.labels(labels)}", found)
        for labels in record.labels
        if (
            found := [
                verdict_text(s, record.unit)
                for s in summary["statements"]
                if s["labels"] == labels and s["kind"] != "best"
            ]
        )
    ]
    places: dict[str, list[tuple[str, Sequence[str]]]] = {"differences": verdicts}
    for heading, sentences in findings(summary):
        places.setdefault(FIGURES[heading], []).append((heading, sentences))
    return places


def protocol_hash(record: StudyRecord) -> str:
    """The same for two studies exactly if they measured in the same way: 16 hexadecimal digits.

    Over the test images, the images that labels are drawn from, and every setting that all rows share.
    """
    splits = read_json(record.folder / "splits.json")
    shared = {key: value for key, value in record.settings.items() if key not in OF_THE_STUDY_ALONE}
    if not shared.get("tune"):  # as in studies that were written before there was such a key
        shared.pop("tune", None)
    images = {key: splits.get(key) for key in ("train", "test", "test_labels", "test_groups", "classes")}
    return hash_of(json.loads(json.dumps({"settings": shared, "images": images})))  # draws: has numbers for keys


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


def _versions(cards: Cards) -> list[Pair]:
    found: dict[str, dict[str, None]] = {}
    for card in cards.values():
        versions = card.get("versions", {})
        for name, version in versions.items() if isinstance(versions, Mapping) else ():
            found.setdefault(str(name), {})[str(version)] = None
    return [(name, ", ".join(versions)) for name, versions in found.items()]


def _commands(record: StudyRecord) -> str:
    """For where the study was run, if its folder was named from there; else for the folder that holds it."""
    folder = record.folder
    place = folder.as_posix() if folder.name and not folder.is_absolute() else folder.resolve().name
    name, again, file = (shlex.quote(f"{place}{rest}") for rest in ("", "-again", "/study.yaml"))
    return (
        f"selfstudy study {file} --out {again}   # the same study, computed anew\n"
        f"selfstudy study {file} --out {name} seeds=5   # more seeds: what is done is not done again\n"
        f"selfstudy report {name}   # this page, written again"
    )
