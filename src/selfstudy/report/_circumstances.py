"""Under what circumstances a study says what it says: its test images, repetitions, cost, accidents, and what is missing."""

from selfstudy.progress import duration
from selfstudy.report._phrases import at_labels, count_text, join
from selfstudy.report._reading import (
    SCRATCH,
    deciding,
    kind_of,
    leaders_of,
    leads_of,
    range_text,
    unit_of,
    verdicts_against,
)
from selfstudy.study._summary import Summary


def transductive(summary: Summary) -> str:
    """What must be said where methods were pretrained on what is tested; nothing elsewhere."""
    if not summary["conditions"]["transductive"]:
        return ""
    tested = unit_of(summary)
    return f"pretraining saw the test {tested}s too, without their labels, so {tested}s that come later may score lower"


def test_set(summary: Summary) -> str:
    where = summary["conditions"]
    images = count_text(where["num_test_images"], f"test {where['unit']}")
    if where["num_test_groups"] != where["num_test_images"]:
        images += f" from {count_text(where['num_test_groups'], 'group')}"
    if where["num_folds"]:
        images += f", each tested in its turn by {where['num_folds']}-fold cross-validation"
    return f"{_data(where['data'])} ({images}, {count_text(len(where['classes']), 'class', 'classes')})"


def _data(source: str) -> str:
    """The name of the data without the folders above them, which mean nothing to a reader elsewhere."""
    kind, colon, place = source.partition(":")
    if "/" not in source.replace("\\", "/"):
        return source
    return f"{kind}:{_last(place)}" if colon and "/" not in kind else _last(source)


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path


def backbones(summary: Summary) -> str:
    names, size = summary["conditions"]["backbones"], summary["conditions"]["image_size"]
    return (
        f"the encoder{'s' if len(names) > 1 else ''} {join(names, 'and')} at {size} pixels"
        if names
        else f"images of {size} pixels"
    )


def repetitions(summary: Summary) -> list[str]:
    """ "5 draws of the labels (3 with 10 labels per class)", "2 pretraining seeds"."""
    points = deciding(summary)
    draws = {
        labels: max((p["num_draws"] for p in points if p["labels"] == labels), default=0)
        for labels in summary["conditions"]["labels"]
        if labels != "all"
    }
    most = max(draws.values(), default=0)
    fewer = join([f"{draws[labels]} {at_labels([labels])}" for labels in draws if 0 < draws[labels] < most], "and")
    parts = [f"{count_text(most, 'draw')} of the labels{f' ({fewer})' if fewer else ''}"] if most else []
    frozen = [point["num_seeds"] for point in points if kind_of(summary, point["row"]) in ("learned", "untrained")]
    if frozen:
        parts.append(count_text(max(frozen), "pretraining seed"))
    return parts


def not_tried(summary: Summary) -> str:
    """What was the same throughout. Of draws and seeds: what no verdict against training from scratch has varied."""
    statements = verdicts_against(summary, "supervised") or summary["statements"]
    varied = {name for statement in statements for name in statement["varied"]}
    never = list(
        dict.fromkeys(name for statement in statements for name in statement["not_varied"] if name not in varied)
    )
    seeds = [name.removeprefix("seeds of ") for name in never if name.startswith("seeds of ")]
    parts = ["other draws of the labels"] if "label draws" in never else []
    parts += [f"other seeds of {join(seeds, 'and')}"] if seeds else []
    return join(
        [
            *parts,
            *([] if summary["conditions"]["num_folds"] else [f"another split of the {unit_of(summary)}s"]),
            "other hyper-parameters"
            + (" than learning rate and weight decay" if summary["conditions"]["trials"] > 1 else ""),
        ],
        "or",
    )


def cost_text(summary: Summary) -> str:
    """What one pretraining of the row that leads took, and one training from scratch."""
    leads = [
        lead["a"] for lead in (*leaders_of(summary, "better"), *leads_of(summary), *verdicts_against(summary, "best"))
    ]
    costs = {cost["row"]: cost for cost in summary["costs"]}
    learned = [
        name
        for name in (*leads, *costs)
        if kind_of(summary, name) == "learned" and name in costs and costs[name]["num_runs"]
    ]
    scratch = [name for name in costs if kind_of(summary, name) == "supervised"]
    trials = summary["conditions"]["trials"]
    each = f" ({trials} runs for each seed, to choose its settings)" if trials > 1 else ""
    parts = [
        f"pretraining {name} took {duration(costs[name]['pretraining_seconds'] / costs[name]['num_runs'])} a run{each}"
        for name in learned[:1]
    ]
    parts += [
        f"{SCRATCH} {'once' if parts else 'took'} {duration(costs[name]['evaluation_seconds'] / costs[name]['num_evaluations'])}"
        for name in scratch[:1]
    ]
    return join(parts, "and")


def accidents(summary: Summary) -> list[str]:
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


def to_come(summary: Summary) -> str:
    """What of an unfinished study is still to come; nothing if it has run to its end."""
    by_row: dict[str, list[str]] = {}
    for gap in summary["missing"]:
        if gap["to_come"]:
            by_row.setdefault(gap["row"], []).append(gap["labels"])
    by_labels: dict[str, list[str]] = {}
    for row, labels in by_row.items():
        by_labels.setdefault(range_text(summary, labels).removesuffix(" tried"), []).append(row)
    return join([f"{join(rows, 'and')} {where}" for where, rows in by_labels.items()], "and")
