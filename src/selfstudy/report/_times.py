"""Time and cost in words: how soon a score was reached, how that was measured, and which rows give the most for their seconds."""

from collections.abc import Sequence

from selfstudy.progress import duration
from selfstudy.report._phrases import at_labels, count_text, join, sentence_of, with_article
from selfstudy.report._reading import PROTOCOLS, kind_of, metric_text
from selfstudy.study._findings import TimeTo
from selfstudy.study._summary import Summary


def times_text(summary: Summary) -> list[str]:
    """A sentence for every level: who reached it at what cost, fastest first, and who never did. Then how it was measured."""
    times = summary["times_to"]
    levels = dict.fromkeys(found["level"] for found in times)
    found = [_level_text(summary, [each for each in times if each["level"] == level]) for level in levels]
    return [*found, *_measured_text(summary)]


def trade_offs_text(summary: Summary) -> list[str]:
    """A sentence for every label count: the rows that no other beats in both score and seconds, cheapest first."""
    found = []
    for labels in summary["conditions"]["labels"]:
        there = [each for each in summary["trade_offs"] if each["labels"] == labels]
        worth = sorted((each for each in there if each["pareto"]), key=lambda each: each["seconds"])
        if len(there) > 1:
            rows = join(
                [f"{each['row']} ({each['mean']:.3f} for {duration(each['seconds'])})" for each in worth], "and"
            )
            rest = len(there) - len(worth)
            lost = f", and {count_text(rest, 'row is', 'rows are')} beaten in both" if rest else ""
            found.append(sentence_of(f"{at_labels([labels])} score for time is best with {rows}{lost}"))
    return found


def _level_text(summary: Summary, times: Sequence[TimeTo]) -> str:
    fastest = sorted((each for each in times if each["cheapest"]), key=lambda each: each["seconds"] or 0.0)
    never = [
        entry
        for entry in dict.fromkeys(each["entry"] for each in times)
        if not any(each["reached"] for each in times if each["entry"] == entry)
    ]
    level = f"{with_article(metric_text(summary))} of {times[0]['level']:g}"
    reached = [f"{each['entry']} after {duration(each['seconds'] or 0.0)} {_where(each)}" for each in fastest]
    if not reached:
        return sentence_of(f"{level} was never reached by {join(never, 'or')}")
    missed = f"; {join(never, 'and')} never reached it" if never else ""
    return sentence_of(f"{level} was reached by {join(reached, 'and')}{missed}")


def _measured_text(summary: Summary) -> list[str]:
    """Where the study names levels: what was judged along training, and of which rows the end alone counts."""
    named = [each for each in summary["times_to"] if each["named"]]
    along = [each for each in named if each["measured"] == "along training"]
    found = []
    for labels, protocol in dict.fromkeys((each["labels"], each["protocol"]) for each in along):
        judged = f"{at_labels([labels])} by {PROTOCOLS.get(protocol, protocol)}"
        found.append(
            f"Encoders were judged along training {judged}; a score counts as reached at the first of them that has it, and "
            "nothing was chosen by this."
        )
    left = [each for each in named if each["measured"] == "at its end"]
    kinds = {each["entry"]: kind_of(summary, each["row"]) for each in left}
    kinds = {entry: kind for entry, kind in kinds.items() if entry not in {each["entry"] for each in along}}
    if rows := [entry for entry, kind in kinds.items() if kind == "learned"]:
        were = "was" if len(rows) == 1 else "were"
        found.append(sentence_of(f"{join(rows, 'and')} {were} not watched along training: the end alone counts"))
    if rows := [entry for entry, kind in kinds.items() if kind == "supervised" and along]:
        found.append(sentence_of(f"of {join(rows, 'and')}, trained on labels, the end alone counts"))
    return found


def _where(time: TimeTo) -> str:
    images = f", {time['images_seen']:,} images seen" if time["images_seen"] else ""
    share = f" on {100 * time['unlabelled']:g} % of the unlabelled images" if time["unlabelled"] < 1 else ""
    return f"({at_labels([time['labels']])}{share}{images})"
