"""The answer of a study in three sentences. Nothing is said here that no interval says.

Whether pretraining pays, where it does not, and what both depend on.
"""

from collections.abc import Sequence

from selfstudy.report._circumstances import (
    accidents,
    backbones,
    cost_text,
    not_tried,
    repetitions,
    test_set,
    to_come,
    transductive,
)
from selfstudy.report._phrases import at_labels, gain_text, join, points_text, score_text, sentence_of, with_article
from selfstudy.report._reading import (
    SCRATCH,
    deciding,
    kind_of,
    labels_tried,
    leaders_of,
    leads_of,
    metric_text,
    range_text,
    score_of,
    unit_of,
    verdicts_against,
)
from selfstudy.report._verdicts import decide_text
from selfstudy.study._summary import Statement, Summary


def answer(summary: Summary) -> list[str]:
    """Exactly three sentences."""
    return [_first(summary), _second(summary), _third(summary)]


def _first(summary: Summary) -> str:
    """Does pretraining pay, where, and by how much."""
    against = verdicts_against(summary, "supervised")
    if not against:
        return _first_without_supervised(summary)
    wins, far = leaders_of(summary, "better"), "So far, pretraining" if to_come(summary) else "Pretraining"
    if wins:
        first, *rest = wins
        where = range_text(summary, [win["labels"] for win in wins])
        gain = (
            f"{first['a']} reaches {with_article(metric_text(summary))} of {score_of(summary, first, 'a')} against {score_of(summary, first, 'b')} "
            f"for {SCRATCH}, a gain of {gain_text(first)}"
        )
        also = _also(summary, wins)
        if not rest:
            return f"{far} pays {where}, where {gain}{also}{_doubt(summary, wins)}."
        each = [
            f"{at_labels([first['labels']])} {gain}",
            *(f"{at_labels([win['labels']])} {win['a']} gains {gain_text(win)}" for win in rest),
        ]
        return f"{far} pays {where}: {join(each, 'and')}{also}{_doubt(summary, wins)}."
    best = max(against, key=lambda statement: statement["difference"])
    if all(statement["verdict"] == "worse" for statement in against):
        tried, place = labels_tried(summary), f"{best['a']} {at_labels([best['labels']])}"
        ahead = f"{SCRATCH} is better than {_every_row(summary, tried)} {range_text(summary, tried)}"
        return f"{far} does not pay: {ahead}, and the closest, {place}, loses {gain_text(best)}."
    difference = f"the most favourable difference, of {best['a']} {at_labels([best['labels']])}, is {gain_text(best, signed=True)}"
    if all(statement["verdict"] == "undecided" for statement in against):
        return f"This study cannot say whether pretraining pays: no difference to {SCRATCH} is sure, and {difference}."
    where = range_text(summary, labels_tried(summary)).replace("every number", "any number")
    return f"{far} is not shown to pay {where}: {difference}."


def _also(summary: Summary, wins: Sequence[Statement]) -> str:
    """Who else wins, where."""
    named = {win["id"] for win in wins}
    others = [s for s in verdicts_against(summary, "supervised") if s["verdict"] == "better" and s["id"] not in named]
    places: dict[tuple[str, ...], list[str]] = {}
    for a in dict.fromkeys(statement["a"] for statement in others):
        places.setdefault(tuple(s["labels"] for s in others if s["a"] == a), []).append(a)
    everywhere = tuple(win["labels"] for win in wins)
    clauses = [
        f"{join(rows, 'and')} {'gains' if len(rows) == 1 else 'gain'} {'there' if labels == everywhere else at_labels(labels)} too"
        for labels, rows in places.items()
    ]
    return f"; {join(clauses, 'and')}" if clauses else ""


def _doubt(summary: Summary, wins: Sequence[Statement]) -> str:
    """A winner that is not better than the untrained encoder owes its win to the probe, and the reader must know."""
    untrained = {(each["a"], each["labels"]): each["verdict"] for each in verdicts_against(summary, "untrained")}
    doubtful = [win for win in wins if untrained.get((win["a"], win["labels"]), "better") != "better"]
    if not doubtful:
        return ""
    names = join(list(dict.fromkeys(win["a"] for win in doubtful)), "and")
    where = range_text(summary, list(dict.fromkeys(win["labels"] for win in doubtful)))
    return f"; yet {names} is not shown to be better than the untrained encoder {where}, so the gain may be the probe's alone"


def _first_without_supervised(summary: Summary) -> str:
    """The row with the highest score where it matters most: with the fewest labels."""
    points = [point for point in deciding(summary) if kind_of(summary, point["row"]) != "majority"]
    if not points:
        return f"There is nothing to say yet, as no row {'but the largest class ' if summary['points'] else ''}has a result."
    fewest = next(
        labels for labels in summary["conditions"]["labels"] if any(point["labels"] == labels for point in points)
    )
    best = max((point for point in points if point["labels"] == fewest), key=lambda point: point["mean"])
    kinds = {kind_of(summary, point["row"]) for point in points}
    if "learned" not in kinds:
        why = "no pretrained row has a result"
    elif "supervised" not in kinds:
        why = f"there is no result of {SCRATCH} to compare with"
    else:
        why = f"no pretrained row has a result on the same labels as {SCRATCH}"
    highest = "has the highest mean, " if len({point["row"] for point in points}) > 1 else "has "
    text = f"Whether pretraining pays cannot be said, as {why}; {at_labels([fewest])} {best['row']} {highest}{with_article(metric_text(summary))} of {score_text(best)}"
    gain = [
        s
        for s in verdicts_against(summary, "untrained")
        if (s["a"], s["labels"], s["verdict"]) == (best["row"], fewest, "better")
    ]
    return f"{text}, which is {gain_text(gain[0])} above the untrained encoder." if gain else f"{text}."


def _second(summary: Summary) -> str:
    """Where training from scratch catches up, where nothing is sure, and which rows lose."""
    if not verdicts_against(summary, "supervised"):
        return _second_without_supervised(summary)
    leads, against = leads_of(summary), verdicts_against(summary, "supervised")
    clauses = []
    equal, worse, unsure = (
        [lead for lead in leads if lead["verdict"] == verdict] for verdict in ("equivalent", "worse", "undecided")
    )
    if all(lead["verdict"] == "better" for lead in leads):
        clauses.append(
            f"{SCRATCH} catches up nowhere, as the gain is sure {range_text(summary, labels_tried(summary))}"
        )
    if equal:
        clauses.append(
            f"{_at(equal)} pretraining and {SCRATCH} are equal to within {points_text(summary['margin'])}: {_differences(equal)}"
        )
    if worse:
        rows = _every_row(summary, [lead["labels"] for lead in worse])
        ahead = (
            "even the closest row is behind"
            if len(worse) == len(leads) and len(against) > len(leads)
            else f"{SCRATCH} is better than {rows}"
        )
        clauses.append(f"{_at(worse)} {ahead}: {_differences(worse)}")
    if unsure:
        which = decide_text(unsure[0], unit_of(summary)).replace(
            "decide it", "decide the first" if len(unsure) > 1 else "decide it"
        )
        clauses.append(f"{_at(unsure)} it stays open which is better: {_differences(unsure)}, and {which}")
    told = {lead["labels"] for lead in worse}
    return sentence_of("; ".join(clauses + _losers(summary, told) + accidents(summary)))


def _every_row(summary: Summary, labels: Sequence[str]) -> str:
    """Whether "every pretrained row" is said of all rows of the study, or of those with scores."""
    there = {(statement["a"], statement["labels"]) for statement in verdicts_against(summary, "supervised")}
    asked = {(row["row"], name) for row in summary["rows"] if row["kind"] == "learned" for name in labels}
    return "every pretrained row" if asked <= there else "every pretrained row that has scores"


def _at(statements: Sequence[Statement]) -> str:
    return at_labels([statement["labels"] for statement in statements])


def _differences(statements: Sequence[Statement]) -> str:
    """ "simclr differs by -1.7 points (-4.4 to +1.0), -0.9 (-2.0 to +0.2) and byol by -0.7 (-1.6 to +0.2)", in order."""
    texts: list[str] = []
    for statement in statements:
        number = gain_text(statement, signed=True)
        if not texts:
            texts.append(f"{statement['a']} differs by {number}")
            continue
        number = number.replace(" points", "").replace(" point", "")
        same = statement["a"] == statements[len(texts) - 1]["a"]
        texts.append(number if same else f"{statement['a']} by {number}")
    return join(texts, "and")


def _losers(summary: Summary, told: set[str]) -> list[str]:
    """Rows that are worse than training from scratch, where `told` does not say so of all rows."""
    against = verdicts_against(summary, "supervised")
    by_places: dict[tuple[str, ...], list[str]] = {}
    for a in dict.fromkeys(statement["a"] for statement in against):
        lost = tuple(s["labels"] for s in against if s["a"] == a and s["verdict"] == "worse")
        if set(lost) - told:
            by_places.setdefault(lost, []).append(a)
    return [
        f"{join(rows, 'and')} {'is' if len(rows) == 1 else 'are'} worse than {SCRATCH} {range_text(summary, labels)}"
        for labels, rows in by_places.items()
    ]


def _second_without_supervised(summary: Summary) -> str:
    best = verdicts_against(summary, "best")
    clauses = []
    alone = [statement for statement in best if not statement["tied_with"]]
    for a in dict.fromkeys(statement["a"] for statement in alone):
        clauses.append(f"{range_text(summary, [s['labels'] for s in alone if s['a'] == a])} {a} is the best row")
    shared: dict[tuple[str, ...], list[str]] = {}
    for statement in best:
        if statement["tied_with"]:
            shared.setdefault((statement["a"], *statement["tied_with"]), []).append(statement["labels"])
    clauses += [
        f"{range_text(summary, labels)} it stays open which of {join(rows, 'and')} is best"
        for rows, labels in shared.items()
    ]
    if not best:
        rows = {point["row"] for point in summary["points"]}
        clauses.append("with one row there is nothing to compare" if len(rows) == 1 else "no two rows can be compared")
    return sentence_of("; ".join(clauses + accidents(summary)))


def _third(summary: Summary) -> str:
    """What it is conditional on, and what it cost."""
    start = (
        f"the study is unfinished (still to come: {to_come(summary)}), and what there is"
        if to_come(summary)
        else "this"
    )
    parts = [test_set(summary), backbones(summary), *repetitions(summary)]
    clauses = [
        f"{start} holds for {join(parts, 'and')}",
        transductive(summary),
        f"it was not tried with {not_tried(summary)}",
        cost_text(summary),
    ]
    return sentence_of("; ".join(clause for clause in clauses if clause))
