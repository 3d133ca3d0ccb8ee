"""The first screen of the page: the question, the answer, how sure, what it cost, what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from selfstudy.progress import duration
from selfstudy.report._amounts import crossover_text
from selfstudy.report._circumstances import accidents, cost_text, repetitions, to_come, transductive
from selfstudy.report._classes import independent, rare_text
from selfstudy.report._phrases import at_labels, count_text, join, sentence_of
from selfstudy.report._reading import SCRATCH, kind_of, range_text, unit_of, verdicts_against
from selfstudy.report._verdicts import decide_text
from selfstudy.report._words import answer
from selfstudy.study._summary import Statement, Summary, Winner

LEAVE_A_CLASSIFIER = ("linear", "finetune")  # protocols after which `selfstudy finish` hands over a model


@dataclass(frozen=True)
class FirstScreen:
    """Sentences, in the order in which they are read."""

    question: str
    answer: Sequence[str]
    sure: Sequence[str]
    cost: Sequence[str]
    next: Sequence[str]


def first_screen(summary: Summary) -> FirstScreen:
    """What the reader needs who reads no further."""
    return FirstScreen(
        question=summary["question"] or "Does pretraining without labels pay, and with how few labels?",
        answer=answer(summary)[:2],
        sure=_sure(summary),
        cost=_cost(summary),
        next=_next(summary),
    )


def _sure(summary: Summary) -> list[str]:
    """How many verdicts there are of each kind, what the intervals cover, and where single classes are unknown."""
    judged = [statement for statement in summary["statements"] if statement["kind"] == "supervised"]
    sentences = []
    if judged:
        verdicts = [statement["verdict"] for statement in judged]
        said = [verdict for verdict in ("better", "worse", "equivalent", "undecided") if verdict in verdicts]
        first = verdicts.count(said[0])
        counts = [
            f"{first} {'says' if first == 1 else 'say'} {said[0]}",
            *(f"{verdicts.count(each)} {each}" for each in said[1:]),
        ]
        sentences.append(
            f"Of {count_text(len(judged), 'verdict')} against training from scratch {join(counts, 'and')}; that all of those with one "
            "number of labels are right has 95 % confidence."
        )
    covered = [*repetitions(summary), count_text(summary["conditions"]["num_test_groups"], independent(summary))]
    if summary["points"]:
        sentences.append(f"The intervals cover {join(covered, 'and')}.")
    if seen := transductive(summary):
        sentences.append(sentence_of(seen))
    return [*sentences, *rare_text(summary)]


def _cost(summary: Summary) -> list[str]:
    whole = sum(cost["seconds"] for cost in summary["costs"])
    pretraining = sum(cost["pretraining_seconds"] for cost in summary["costs"])
    if not whole:
        return []
    sentences = [f"The study took {duration(whole)} of computing, {duration(pretraining)} of it pretraining."]
    each = cost_text(summary)
    return [*sentences, sentence_of(each)] if each else sentences


def _next(summary: Summary) -> list[str]:
    """What to do, most urgent first: finish what is missing, take a row, label more, decide what is open."""
    sentences = []
    if to_come(summary):
        sentences.append("Run the same command again: it goes on where the study stopped.")
    if went_wrong := accidents(summary):
        sentences.append(sentence_of(f"look first at what went wrong: {'; '.join(went_wrong)}"))
    sentences += _take(summary)
    taught = [winner for winner in summary["winners"] if not _taught_nothing(summary, winner)]
    if taught and set(LEAVE_A_CLASSIFIER) & set(summary["conditions"]["protocols"]):
        sentences.append(
            "Run `selfstudy finish` on the folder of this study to get the model: it chooses once more, on labels held out, and fits on "
            "all labels."
        )
    chosen = [winner["row"] for winner in summary["winners"]]
    crossover = next((found for row in chosen for found in summary["crossovers"] if found["a"] == row), None)
    if crossover is not None:
        sentences.append(crossover_text(crossover, unit_of(summary)))
    sentences += [_open(statement, unit_of(summary)) for statement in _nearest_to_a_verdict(summary)]
    return sentences


def _take(summary: Summary) -> list[str]:
    """What to take, each piece of advice with the label counts that it is for."""
    places: dict[str, list[str]] = {}
    for winner in summary["winners"]:
        advice = _without_use if _taught_nothing(summary, winner) else _recommended
        places.setdefault(advice(summary, winner), []).append(winner["labels"])
    return [sentence_of(f"{range_text(summary, labels)} {advice}") for advice, labels in places.items()]


def _recommended(summary: Summary, winner: Winner) -> str:
    """The row to take, and why: the one chosen, unless it is worse on the test images than training from scratch."""
    row, tested = winner["row"], unit_of(summary)
    if ahead := _supervised_ahead(summary, winner):
        return f"take {ahead}: {row}, the best row in validation, is worse than {SCRATCH} there"
    match winner["chosen_by"]:
        case "validation":
            return (
                f"take {row}: the best in cross-validation inside the label budget, chosen without the test {tested}s"
            )
        case "validation at more labels":
            where = at_labels([winner["chosen_at"]])
            return f"take {row}: the best in cross-validation {where}, chosen without the test {tested}s"
        case _:
            return f"take {row}: the highest score on the test {tested}s, as there was no validation to choose by"


def _taught_nothing(summary: Summary, winner: Winner) -> bool:
    """Whether an encoder that was never trained came out ahead of every pretrained one."""
    others = [kind_of(summary, each["row"]) for each in winner["candidates"]]
    return kind_of(summary, winner["row"]) == "untrained" and "learned" in others


def _without_use(summary: Summary, winner: Winner) -> str:
    """What to do where nothing shows that pretraining taught anything: no row to take can be named."""
    where = f"on the test {unit_of(summary)}s" if winner["chosen_by"] == "test" else "in cross-validation"
    ahead = _supervised_ahead(summary, winner)
    until = f"; until then take {ahead}, which is better there" if ahead else ""
    return (
        f"no pretrained row did better {where} than {winner['row']}, an encoder that was never trained, so nothing shows that pretraining "
        "taught anything: let the methods see more images (`budget`), try other views (`views`), and look below whether training was "
        f"healthy{until}"
    )


def _supervised_ahead(summary: Summary, winner: Winner) -> str:
    """The row trained from scratch that is surely better than the one chosen; "" if none is."""
    found = [statement["b"] for statement in winner["against"] if statement["verdict"] == "worse"]
    return next((name for name in found if kind_of(summary, name) == "supervised"), "")


def _nearest_to_a_verdict(summary: Summary) -> list[Statement]:
    """The undecided verdict against training from scratch that least more would decide; nothing where none can be."""
    efforts = [
        (statement["decide"]["times_everything"], place, statement)
        for place, statement in enumerate(verdicts_against(summary, "supervised"))
        if statement["decide"] is not None and statement["decide"]["times_everything"] is not None
    ]
    return [min(efforts, key=lambda effort: effort[:2])[2]] if efforts else []


def _open(statement: Statement, unit: str) -> str:
    where = at_labels([statement["labels"]])
    return (
        f"Whether {statement['a']} is better than {statement['b']} {where} stays open; {decide_text(statement, unit)}."
    )
