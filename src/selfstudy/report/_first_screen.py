"""The first screen of the page: the question, the answer, how sure, what it cost, what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from selfstudy.progress import duration
from selfstudy.report._amounts import crossover_text
from selfstudy.report._circumstances import TRANSDUCTIVE, accidents, cost_text, repetitions, to_come
from selfstudy.report._classes import rare_text, unit
from selfstudy.report._phrases import at_labels, count_text, join, sentence_of
from selfstudy.report._reading import SCRATCH, kind_of, range_text, verdicts_against
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
        counts = [
            f"{verdicts.count(verdict)} {verdict}"
            for verdict in ("better", "worse", "equivalent", "undecided")
            if verdict in verdicts
        ]
        sentences.append(
            f"Of {count_text(len(judged), 'verdict')} against training from scratch {join(counts, 'and')}; those with one "
            "number of labels are all right with 95 % confidence."
        )
    covered = [*repetitions(summary), count_text(summary["conditions"]["num_test_groups"], unit(summary))]
    if summary["points"]:
        sentences.append(f"The intervals cover {join(covered, 'and')}.")
    if summary["conditions"]["transductive"]:
        sentences.append(sentence_of(TRANSDUCTIVE))
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
    if summary["winners"] and set(LEAVE_A_CLASSIFIER) & set(summary["conditions"]["protocols"]):
        sentences.append(
            "Run `selfstudy finish` on the folder of this study to get the model: it chooses once more, on labels held out, and fits on "
            "all labels."
        )
    chosen = [winner["row"] for winner in summary["winners"]]
    crossover = next((found for row in chosen for found in summary["crossovers"] if found["a"] == row), None)
    if crossover is not None:
        sentences.append(crossover_text(crossover))
    sentences += [_open(statement) for statement in _nearest_to_a_verdict(summary)]
    return sentences


def _take(summary: Summary) -> list[str]:
    """The rows to take, each with the label counts where it was chosen alike."""
    places: dict[tuple[str, str], list[str]] = {}
    for winner in summary["winners"]:
        places.setdefault(_recommended(summary, winner), []).append(winner["labels"])
    return [sentence_of(f"{range_text(summary, labels)} take {row}: {why}") for (row, why), labels in places.items()]


def _recommended(summary: Summary, winner: Winner) -> tuple[str, str]:
    """The row to take, and why: the one chosen, unless it is worse on the test images than training from scratch."""
    for statement in winner["against"]:
        if statement["verdict"] == "worse" and kind_of(summary, statement["b"]) == "supervised":
            return statement["b"], f"{winner['row']}, the best row in validation, is worse than {SCRATCH} there"
    match winner["chosen_by"]:
        case "validation":
            return winner["row"], "the best in cross-validation inside the label budget, chosen without the test images"
        case "validation at more labels":
            where = at_labels([winner["chosen_at"]])
            return winner["row"], f"the best in cross-validation {where}, chosen without the test images"
        case _:
            return winner["row"], "the highest score on the test images, as there was no validation to choose by"


def _nearest_to_a_verdict(summary: Summary) -> list[Statement]:
    """The undecided verdict against training from scratch that least more would decide; nothing where none can be."""
    efforts = [
        (statement["decide"]["times_everything"], place, statement)
        for place, statement in enumerate(verdicts_against(summary, "supervised"))
        if statement["decide"] is not None and statement["decide"]["times_everything"] is not None
    ]
    return [min(efforts, key=lambda effort: effort[:2])[2]] if efforts else []


def _open(statement: Statement) -> str:
    where = at_labels([statement["labels"]])
    return f"Whether {statement['a']} is better than {statement['b']} {where} stays open; {decide_text(statement)}."
