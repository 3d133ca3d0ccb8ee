"""Words for the short names of metrics, protocols and label counts."""

import re
from collections.abc import Iterable, Mapping

from selfstudy.report._reading import METRICS

PROTOCOLS: Mapping[str, str] = {
    "linear": "linear probe",
    "knn": "nearest neighbours",
    "finetune": "fine-tuning",
    "head": "small head",
    "layers": "best single layer",
    "prototype": "nearest class mean",
    "majority": "largest class",
}


def metric(name: str) -> str:
    return METRICS.get(name, name.replace("_", " ").replace("f1", "F1"))


def protocol(name: str) -> str:
    return PROTOCOLS.get(name, name)


def labels(name: str) -> str:
    """ "1" to "1 label per class"; fractions, totals and all as they are meant."""
    if name == "all":
        return "all labels"
    if name == "fold":
        return "a published draw of labels"
    if name.startswith("total:"):
        return f"{name.removeprefix('total:')} labels"
    if "." in name:
        return f"{100 * float(name):g} % of the labels"
    return f"{name} label per class" if name == "1" else f"{name} labels per class"


def short_labels(name: str) -> str:
    """ "5 per class", "10 %", "all": where the heading says that labels are meant."""
    if name.startswith("total:"):
        return f"{name.removeprefix('total:')} in total"
    if name == "fold":
        return "a published draw"
    if "." in name:
        return f"{100 * float(name):g} %"
    return name if name == "all" else f"{name} per class"


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count(number: float) -> str:
    """A whole number with commas between thousands, as in the sentences of the page."""
    return f"{round(number):,}"


def anchors(names: Iterable[str]) -> dict[str, str]:
    """A different word for every name, for addresses within the page and for files: "SimCLR, 200" to "simclr-200"."""
    found: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "row"
        taken = set(found.values())
        found.setdefault(name, next(w for w in (word, *(f"{word}-{n}" for n in range(2, 999))) if w not in taken))
    return found
