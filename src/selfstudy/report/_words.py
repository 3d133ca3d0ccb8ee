"""Plain sentences from the verdicts of a study. Nothing is said here that no interval says.

`answer` gives three sentences: whether pretraining pays, where it does not, and what both depend on.
"""

from collections.abc import Sequence
from typing import Literal

from selfstudy.progress import duration
from selfstudy.report._phrases import (
    about,
    at_labels,
    count_text,
    gain_text,
    join,
    labels_text,
    number_text,
    points_text,
    score_text,
    sentence_of,
    with_article,
)
from selfstudy.study._record import Kind
from selfstudy.study._summary import Point, Statement, StatementKind, Summary, Verdict

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
PROTOCOLS = {
    "linear": "a linear probe on frozen features",
    "knn": "nearest neighbours on frozen features",
    "finetune": "fine-tuning",
}
SCRATCH = "training from scratch"


def answer(summary: Summary) -> list[str]:
    """Exactly three sentences."""
    return [_first(summary), _second(summary), _third(summary)]


def verdict_text(statement: Statement) -> str:
    """One verdict as a sentence with its numbers."""
    a, b, at = statement["a"], statement["b"], at_labels([statement["labels"]])
    against = f"{number_text(statement['mean_a'])} against {number_text(statement['mean_b'])}"
    match statement["verdict"]:
        case "better" | "worse":
            return f"{a} is {statement['verdict']} than {b} {at}, by {gain_text(statement)}: {against}."
        case "equivalent":
            margin = points_text(statement["margin"])
            return f"{a} and {b} are equal to within {margin} {at}: {against}, a difference of {gain_text(statement, signed=True)}."
        case _:
            return f"{a} and {b} cannot be told apart {at}: {against}, a difference of {gain_text(statement, signed=True)}; {decide_text(statement)}."


def decide_text(statement: Statement) -> str:
    """What would decide an undecided verdict."""
    decide = statement["decide"]
    if decide is None:
        return "it is decided"
    options = [
        (decide["further_draws"], "draw of the labels", "draws of the labels"),
        (decide["further_seeds"], "seed of each row", "seeds of each row"),
        (decide["further_test_images"], "test image", "test images"),
    ]
    ways = [f"{about(count)} more {one if count == 1 else many}" for count, one, many in options if count is not None]
    if ways:
        return f"about {join(ways, 'or')} would decide it"
    times = decide["times_everything"]
    if times is None:
        return "no affordable repetition would decide it"
    return f"about {'twice' if times == 2 else f'{times} times'} as many {join(_sources(statement), 'and')} would decide it"


def conditions(summary: Summary) -> list[str]:
    """What the verdicts depend on, and how they were reached: one sentence each, for the page."""
    where = summary["conditions"]
    sentences = [
        f"Everything was measured on {_test_set(summary)}, after training on at most {count_text(where['num_train'], 'other image')}."
    ]
    if _to_come(summary):
        sentences.append(f"The study is unfinished; still to come: {_to_come(summary)}.")
    sentences += [f"Note that {clause}." for clause in _accidents(summary)]
    if where["protocols"]:
        first, *others = (PROTOCOLS.get(name, name) for name in where["protocols"])
        beside = f"; the results of {join(others, 'and')} are shown, but decide nothing" if others else ""
        sentences.append(f"Pretrained rows are judged by {first}{beside}.")
    if _deciding(summary):
        covered = join([*_repetitions(summary), "the choice of the test images"], "and")
        sentences.append(f"The intervals cover {covered}.")
    sentences.append(f"Every verdict is about {_backbones(summary)}; it was not tried with {_not_tried(summary)}.")
    if summary["statements"]:
        sentences.append("The interval of a single score holds with 95 % confidence, one score at a time.")
        sentences.append(
            "The verdicts against one baseline with one number of labels are judged together: that all of them are right has at "
            "least 95 % confidence, which is why the intervals of differences are wider."
        )
        sentences.append(
            f"Rows are called equal where the whole interval of their difference lies within {points_text(summary['margin'])}; "
            f"a point is 0.01 of the {_metric(summary)}."
        )
    return sentences


def _first(summary: Summary) -> str:
    """Does pretraining pay, where, and by how much."""
    against = _against(summary, "supervised")
    if not against:
        return _first_without_supervised(summary)
    wins, far = _leaders(summary, "better"), "So far, pretraining" if _to_come(summary) else "Pretraining"
    if wins:
        first, *rest = wins
        where = _range(summary, [win["labels"] for win in wins])
        gain = (
            f"{first['a']} reaches {with_article(_metric(summary))} of {_score(summary, first, 'a')} against {_score(summary, first, 'b')} "
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
        tried, place = _tried(summary), f"{best['a']} {at_labels([best['labels']])}"
        ahead = f"{SCRATCH} is better than {_every_row(summary, tried)} {_range(summary, tried)}"
        return f"{far} does not pay: {ahead}, and the closest, {place}, loses {gain_text(best)}."
    difference = f"the most favourable difference, of {best['a']} {at_labels([best['labels']])}, is {gain_text(best, signed=True)}"
    if all(statement["verdict"] == "undecided" for statement in against):
        return f"This study cannot say whether pretraining pays: no difference to {SCRATCH} is sure, and {difference}."
    return f"{far} is not shown to pay {_range(summary, _tried(summary))}: {difference}."


def _doubt(summary: Summary, wins: Sequence[Statement]) -> str:
    """A winner that is not better than the untrained encoder owes its win to the probe, and the reader must know."""
    untrained = {(each["a"], each["labels"]): each["verdict"] for each in _against(summary, "untrained")}
    doubtful = [win for win in wins if untrained.get((win["a"], win["labels"]), "better") != "better"]
    if not doubtful:
        return ""
    names = join(list(dict.fromkeys(win["a"] for win in doubtful)), "and")
    where = _range(summary, list(dict.fromkeys(win["labels"] for win in doubtful)))
    return f"; yet {names} is not shown to be better than the untrained encoder {where}, so the gain may be the probe's alone"


def _first_without_supervised(summary: Summary) -> str:
    """The row with the highest score where it matters most: with the fewest labels."""
    points = [point for point in _deciding(summary) if _kind(summary, point["row"]) != "majority"]
    if not points:
        return f"There is nothing to say yet, as no row {'but the largest class ' if summary['points'] else ''}has a result."
    fewest = next(
        labels for labels in summary["conditions"]["labels"] if any(point["labels"] == labels for point in points)
    )
    best = max((point for point in points if point["labels"] == fewest), key=lambda point: point["mean"])
    kinds = {_kind(summary, point["row"]) for point in points}
    if "learned" not in kinds:
        why = "no pretrained row has a result"
    elif "supervised" not in kinds:
        why = f"there is no result of {SCRATCH} to compare with"
    else:
        why = f"no pretrained row has a result on the same labels as {SCRATCH}"
    highest = "has the highest mean, " if len({point["row"] for point in points}) > 1 else "has "
    text = f"Whether pretraining pays cannot be said, as {why}; {at_labels([fewest])} {best['row']} {highest}{with_article(_metric(summary))} of {score_text(best)}"
    gain = [
        s
        for s in _against(summary, "untrained")
        if (s["a"], s["labels"], s["verdict"]) == (best["row"], fewest, "better")
    ]
    return f"{text}, which is {gain_text(gain[0])} above the untrained encoder." if gain else f"{text}."


def _second(summary: Summary) -> str:
    """Where training from scratch catches up, where nothing is sure, and which rows lose."""
    if not _against(summary, "supervised"):
        return _second_without_supervised(summary)
    leads, against = _leads(summary), _against(summary, "supervised")
    clauses = []
    equal, worse, unsure = (
        [lead for lead in leads if lead["verdict"] == verdict] for verdict in ("equivalent", "worse", "undecided")
    )
    if all(lead["verdict"] == "better" for lead in leads):
        clauses.append(f"{SCRATCH} catches up nowhere, as the gain is sure {_range(summary, _tried(summary))}")
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
        which = decide_text(unsure[0]).replace("decide it", "decide the first" if len(unsure) > 1 else "decide it")
        clauses.append(f"{_at(unsure)} it stays open which is better: {_differences(unsure)}, and {which}")
    told = {lead["labels"] for lead in worse}
    return sentence_of("; ".join(clauses + _losers(summary, told) + _accidents(summary)))


def _every_row(summary: Summary, labels: Sequence[str]) -> str:
    """Whether "every pretrained row" is said of all rows of the study, or of those with scores."""
    there = {(statement["a"], statement["labels"]) for statement in _against(summary, "supervised")}
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


def _second_without_supervised(summary: Summary) -> str:
    best = _against(summary, "best")
    clauses = []
    alone = [statement for statement in best if not statement["tied_with"]]
    for a in dict.fromkeys(statement["a"] for statement in alone):
        clauses.append(f"{_range(summary, [s['labels'] for s in alone if s['a'] == a])} {a} is the best row")
    shared: dict[tuple[str, ...], list[str]] = {}
    for statement in best:
        if statement["tied_with"]:
            shared.setdefault((statement["a"], *statement["tied_with"]), []).append(statement["labels"])
    clauses += [
        f"{_range(summary, labels)} it stays open which of {join(rows, 'and')} is best"
        for rows, labels in shared.items()
    ]
    if not best:
        rows = {point["row"] for point in summary["points"]}
        clauses.append("with one row there is nothing to compare" if len(rows) == 1 else "no two rows can be compared")
    return sentence_of("; ".join(clauses + _accidents(summary)))


def _third(summary: Summary) -> str:
    """What it is conditional on, and what it cost."""
    start = (
        f"the study is unfinished (still to come: {_to_come(summary)}), and what there is"
        if _to_come(summary)
        else "this"
    )
    parts = [_test_set(summary), _backbones(summary), *_repetitions(summary)]
    clauses = [
        f"{start} holds for {join(parts, 'and')}",
        f"it was not tried with {_not_tried(summary)}",
        _cost(summary),
    ]
    return sentence_of("; ".join(clause for clause in clauses if clause))


# What the sentences are made of.


def _against(summary: Summary, kind: StatementKind) -> list[Statement]:
    return [statement for statement in summary["statements"] if statement["kind"] == kind]


def _leads(summary: Summary) -> list[Statement]:
    """At every label count the verdict of pretraining as such, with the row it is about.

    Better if any row is; else undecided if any row may still be better; else equivalent if any row is; else worse.
    Among the rows of that verdict the one with the greatest difference.
    """
    order: list[Verdict] = ["better", "undecided", "equivalent", "worse"]
    found: dict[str, Statement] = {}
    for verdict in order:
        for lead in _leaders(summary, verdict):
            found.setdefault(lead["labels"], lead)
    return [found[labels] for labels in _tried(summary)]


def _leaders(summary: Summary, verdict: Verdict) -> list[Statement]:
    """At every label count with such a verdict the row of it with the greatest difference."""
    found = [statement for statement in _against(summary, "supervised") if statement["verdict"] == verdict]
    order = [labels for labels in _tried(summary) if any(statement["labels"] == labels for statement in found)]
    return [max((s for s in found if s["labels"] == labels), key=lambda s: s["difference"]) for labels in order]


def _tried(summary: Summary) -> list[str]:
    """The label counts with a verdict against training from scratch."""
    there = {statement["labels"] for statement in _against(summary, "supervised")}
    return [labels for labels in summary["conditions"]["labels"] if labels in there]


def _range(summary: Summary, labels: Sequence[str]) -> str:
    """ "from 4 labels per class on", "up to 10 labels per class" or, if it is neither end of the study, "with ..."."""
    order = summary["conditions"]["labels"]
    if len(labels) > 1:
        if list(labels) == order:
            return "with every number of labels tried"
        if list(labels) == order[-len(labels) :]:
            return f"from {labels_text([labels[0]])} on"
        if list(labels) == order[: len(labels)]:
            return f"up to {labels_text([labels[-1]])}"
    return at_labels(labels)


def _also(summary: Summary, wins: Sequence[Statement]) -> str:
    """Who else wins, where."""
    named = {win["id"] for win in wins}
    others = [s for s in _against(summary, "supervised") if s["verdict"] == "better" and s["id"] not in named]
    places: dict[tuple[str, ...], list[str]] = {}
    for a in dict.fromkeys(statement["a"] for statement in others):
        places.setdefault(tuple(s["labels"] for s in others if s["a"] == a), []).append(a)
    everywhere = tuple(win["labels"] for win in wins)
    clauses = [
        f"{join(rows, 'and')} {'gains' if len(rows) == 1 else 'gain'} {'there' if labels == everywhere else at_labels(labels)} too"
        for labels, rows in places.items()
    ]
    return f"; {join(clauses, 'and')}" if clauses else ""


def _losers(summary: Summary, told: set[str]) -> list[str]:
    """Rows that are worse than training from scratch, where `told` does not say so of all rows."""
    against = _against(summary, "supervised")
    by_places: dict[tuple[str, ...], list[str]] = {}
    for a in dict.fromkeys(statement["a"] for statement in against):
        lost = tuple(s["labels"] for s in against if s["a"] == a and s["verdict"] == "worse")
        if set(lost) - told:
            by_places.setdefault(lost, []).append(a)
    return [
        f"{join(rows, 'and')} {'is' if len(rows) == 1 else 'are'} worse than {SCRATCH} {_range(summary, labels)}"
        for labels, rows in by_places.items()
    ]


def _accidents(summary: Summary) -> list[str]:
    """Collapsed and failed pretraining and failed evaluations, named."""
    clauses = []
    scored = {point["row"] for point in summary["points"]}
    for row in summary["rows"]:
        for count, what in ((row["num_collapsed"], "collapsed"), (row["num_failed"], "failed")):
            if count:
                runs = "its only run" if row["num_runs"] == 1 else f"{count} of {row['num_runs']} runs"
                collapsed = (
                    "so that its scores are no verdict on the method"
                    if count == row["num_runs"]
                    else "which its scores include"
                )
                effect = (
                    "and has no scores"
                    if row["row"] not in scored
                    else collapsed
                    if what == "collapsed"
                    else "which its scores leave out"
                )
                clauses.append(f"{row['row']} {what} in {runs}, {effect}")
    told = {row["row"] for row in summary["rows"] if row["num_failed"]}
    for gap in summary["missing"]:
        if gap["failed"] and gap["row"] not in told:
            clauses.append(
                f"{gap['failed']} of {count_text(gap['planned'], 'evaluation')} of {gap['row']} {at_labels([gap['labels']])} failed"
            )
    return clauses


def _to_come(summary: Summary) -> str:
    """What of an unfinished study is still to come; nothing if it has run to its end."""
    by_row: dict[str, list[str]] = {}
    for gap in summary["missing"]:
        if gap["to_come"]:
            by_row.setdefault(gap["row"], []).append(gap["labels"])
    by_labels: dict[str, list[str]] = {}
    for row, labels in by_row.items():
        by_labels.setdefault(_range(summary, labels).removesuffix(" tried"), []).append(row)
    return join([f"{join(rows, 'and')} {where}" for where, rows in by_labels.items()], "and")


def _not_tried(summary: Summary) -> str:
    """What was the same throughout. Of draws and seeds: what no verdict against training from scratch has varied."""
    statements = _against(summary, "supervised") or summary["statements"]
    varied = {name for statement in statements for name in statement["varied"]}
    never = list(
        dict.fromkeys(name for statement in statements for name in statement["not_varied"] if name not in varied)
    )
    seeds = [name.removeprefix("seeds of ") for name in never if name.startswith("seeds of ")]
    parts = ["other draws of the labels"] if "label draws" in never else []
    parts += [f"other seeds of {join(seeds, 'and')}"] if seeds else []
    return join([*parts, "another split of the images", "other hyper-parameters"], "or")


def _repetitions(summary: Summary) -> list[str]:
    """ "5 draws of the labels (3 with 10 labels per class)", "2 pretraining seeds"."""
    points = _deciding(summary)
    draws = {
        labels: max((p["num_draws"] for p in points if p["labels"] == labels), default=0)
        for labels in summary["conditions"]["labels"]
        if labels != "all"
    }
    most = max(draws.values(), default=0)
    fewer = join([f"{draws[labels]} {at_labels([labels])}" for labels in draws if 0 < draws[labels] < most], "and")
    parts = [f"{count_text(most, 'draw')} of the labels{f' ({fewer})' if fewer else ''}"] if most else []
    frozen = [point["num_seeds"] for point in points if _kind(summary, point["row"]) in ("learned", "untrained")]
    if frozen:
        parts.append(count_text(max(frozen), "pretraining seed"))
    return parts


def _cost(summary: Summary) -> str:
    """What one pretraining of the row that leads took, and one training from scratch."""
    leads = [lead["a"] for lead in (*_leaders(summary, "better"), *_leads(summary), *_against(summary, "best"))]
    costs = {cost["row"]: cost for cost in summary["costs"]}
    learned = [
        name
        for name in (*leads, *costs)
        if _kind(summary, name) == "learned" and name in costs and costs[name]["num_runs"]
    ]
    scratch = [name for name in costs if _kind(summary, name) == "supervised"]
    parts = [
        f"pretraining {name} took {duration(costs[name]['pretraining_seconds'] / costs[name]['num_runs'])} a run"
        for name in learned[:1]
    ]
    parts += [
        f"{SCRATCH} {'once' if parts else 'took'} {duration(costs[name]['evaluation_seconds'] / costs[name]['num_evaluations'])}"
        for name in scratch[:1]
    ]
    return join(parts, "and")


def _test_set(summary: Summary) -> str:
    where = summary["conditions"]
    images = count_text(where["num_test_images"], "test image")
    if where["num_test_groups"] != where["num_test_images"]:
        images += f" from {count_text(where['num_test_groups'], 'group')}"
    return f"{where['data']} ({images}, {count_text(len(where['classes']), 'class', 'classes')})"


def _backbones(summary: Summary) -> str:
    names, size = summary["conditions"]["backbones"], summary["conditions"]["image_size"]
    return (
        f"the encoder{'s' if len(names) > 1 else ''} {join(names, 'and')} at {size} pixels"
        if names
        else f"images of {size} pixels"
    )


def _deciding(summary: Summary) -> list[Point]:
    return [point for point in summary["points"] if point["decides"]]


def _kind(summary: Summary, name: str) -> Kind | None:
    return next((row["kind"] for row in summary["rows"] if row["row"] == name), None)


def _metric(summary: Summary) -> str:
    return METRICS.get(summary["metric"], summary["metric"])


def _sources(statement: Statement) -> list[str]:
    """What was varied, in words."""
    names = {"label draws": "draws", "seeds of": "seeds", "test": "test images"}
    return [word for start, word in names.items() if any(name.startswith(start) for name in statement["varied"])]


def _score(summary: Summary, statement: Statement, side: Literal["a", "b"]) -> str:
    """The mean of row a or b with its own interval."""
    point = next(p for p in _deciding(summary) if p["row"] == statement[side] and p["labels"] == statement["labels"])
    return score_text(point)
