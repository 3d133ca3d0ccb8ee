"""How much data, in words: from how many labels on supervised catches up, what labels are saved, where the curve is flat."""

from selfstudy.report._phrases import (
    about,
    at_labels,
    count_text,
    difference_text,
    labels_text,
    points_text,
    sentence_of,
)
from selfstudy.report._reading import SCRATCH, metric_text, unit_of
from selfstudy.study._findings import LabelRange, LabelsSaved, Plateau, PlateauStep
from selfstudy.study._summary import Crossover, Summary


def crossover_text(crossover: Crossover, unit: str) -> str:
    """Up to how many labels pretraining pays, and from how many on training from scratch is as good; `unit` has a label."""
    a, found = crossover["a"], crossover["catches_up"]
    if crossover["pays_up_to"] is not None:
        first = f"pretraining {a} is worth it up to {labels_text([crossover['pays_up_to']])} for sure"
    elif crossover["better_at"]:
        first = f"pretraining {a} is worth it {at_labels(crossover['better_at'])} for sure, though not with fewer"
    else:
        first = f"with no number of labels tried is it sure that pretraining {a} is worth it"
    last = ""
    if crossover["supervised_from"] is not None:
        last = f"; {SCRATCH} is as good or better for sure from {labels_text([crossover['supervised_from']])} on"
    if found["estimate"] is None:
        means = f"by the means {SCRATCH} does not catch up with {_labelled(crossover['most'], unit)}"
    elif found["estimate"] <= crossover["fewest"]:
        means = f"by the means {SCRATCH} is as good with {_labelled(crossover['fewest'], unit)} already"
    else:
        means = f"by the means {SCRATCH} catches up at {_roughly(found['estimate'], unit)}"
    return sentence_of(f"{first}{last}; {means}{_ends(found, crossover['fewest'], crossover['most'])}")


def saved_text(summary: Summary, saved: LabelsSaved) -> str:
    """How many labels training from scratch needs for the same score."""
    needed, have, labelled = saved["needed"], saved["num_labels"], unit_of(summary)
    start = f"to reach the {metric_text(summary)} of {saved['score']:.3f} that {saved['a']} has with {_labelled(have, labelled)}, {SCRATCH} takes"
    ends = _ends(needed, saved["fewest"], saved["most"])
    if needed["estimate"] is None:
        return sentence_of(f"{start} more than {_labelled(saved['most'], labelled)}, the most that were tried{ends}")
    if needed["estimate"] <= saved["fewest"]:
        return sentence_of(f"{start} {_labelled(saved['fewest'], labelled)} or fewer{ends}")
    times = needed["estimate"] / have
    ratio = f", {times:.2g} times as many" if 1.05 < times < 99.5 else ""
    return sentence_of(f"{start} {_roughly(needed['estimate'], labelled)}{ends}{ratio}")


def plateau_text(summary: Summary, plateau: Plateau) -> str:
    """From how much unlabelled data on more of it adds nothing that matters."""
    margin, where = points_text(summary["margin"]), at_labels([plateau["labels"]])
    *_, next_to, largest = plateau["steps"]
    if plateau["verdict"] == "flat":
        start = next(step for step in plateau["steps"] if step["unlabelled"] == plateau["flat_from"])
        whole = "the smallest amount tried" if start == plateau["steps"][0] else _share(start)
        return sentence_of(
            f"{where} the curve of {plateau['entry']} is flat from {whole} on: {_share(largest)} adds less than {margin}, "
            f"{_gain(start)}"
        )
    step = f"{plateau['entry']} on {_share(next_to)} differs from {_share(largest)} by {_gain(next_to)}"
    if plateau["verdict"] == "rising":
        return sentence_of(f"{where} more unlabelled images still help: {step}")
    return sentence_of(
        f"{where} it stays open whether more unlabelled images help: {step}, which is no plateau to within {margin}"
    )


def _gain(step: PlateauStep) -> str:
    return difference_text(step["difference"], step["low"], step["high"], signed=True)


def _share(step: PlateauStep) -> str:
    images = f" ({step['num_images']:,} images)" if step["num_images"] else ""
    return f"{100 * step['unlabelled']:g} % of the unlabelled images{images}"


def _labelled(number: float, unit: str) -> str:
    return count_text(round(number), f"labelled {unit}")


def _roughly(number: float, unit: str) -> str:
    """Two significant digits: it was read off a line between two label counts."""
    return f"about {about(round(number))} labelled {unit}s"


def _ends(found: LabelRange, fewest: float, most: float) -> str:
    """ " (21 to 450)", " (10 or fewer to 450)", " (21 to more than 4,000)": the ends of a number of labels."""
    low, high = found["low"], found["high"]
    if low is None:
        return ""
    if low <= fewest and high is None:
        return f", though from {round(fewest):,} or fewer to more than {round(most):,} nothing is ruled out"
    if low == high:
        return ""
    start = f"{round(fewest):,} or fewer" if low <= fewest else about(round(low))
    return f" ({start} to {about(round(high)) if high is not None else f'more than {round(most):,}'})"
