"""The parts that sentences are made of: numbers, label counts, lists. They know a statement, never a whole study."""

import re
from collections.abc import Sequence

from selfstudy.study._summary import Point, Statement

UNITS = re.compile(r"(?<=\d) (?=(?:%|points?|min|ms|s|h|MB|GB|pixels?|px)(?!\w))")


def typeset(text: str) -> str:
    """As the page prints it: no line ends between a number and its unit, and "+-19" is one sign."""
    return UNITS.sub("\N{NO-BREAK SPACE}", text).replace("+-", "\N{PLUS-MINUS SIGN}")


def at_labels(labels: Sequence[str]) -> str:
    """ "with 4 and 10 labels per class and all labels"."""
    return f"with {labels_text(labels)}"


def labels_text(labels: Sequence[str]) -> str:
    per_class = [name for name in labels if name.isdigit()]
    totals = [name.removeprefix("total:") for name in labels if name.startswith("total:")]
    shares = [
        f"{100 * float(name):g} %"
        for name in labels
        if not name.isdigit() and not name.startswith("total:") and name not in ("all", "fold")
    ]
    parts = []
    if per_class:
        parts.append("one label per class" if per_class == ["1"] else f"{join(per_class, 'and')} labels per class")
    if totals:
        parts.append(f"{join(totals, 'and')} labels in total")
    if shares:
        parts.append(f"{join(shares, 'and')} of the labels")
    if "fold" in labels:
        parts.append("a published draw of labels")
    if "all" in labels:
        parts.append("all labels")
    return join(parts, "and")


def score_text(point: Point) -> str:
    """0.83 (0.79 to 0.87), with a third decimal where the interval needs it."""
    decimals = 2 if point["high"] - point["low"] >= 0.02 else 3
    return f"{point['mean']:.{decimals}f} ({point['low']:.{decimals}f} to {point['high']:.{decimals}f})"


def number_text(score: float) -> str:
    return f"{score:.3f}"


def gain_text(statement: Statement, *, signed: bool = False) -> str:
    """11 points (6 to 16). Without a sign: the size of a difference that is sure, whichever its direction."""
    return difference_text(statement["difference"], statement["low"], statement["high"], signed=signed)


def difference_text(difference: float, low: float, high: float, *, signed: bool = False) -> str:
    """A difference of shares with the ends of its interval, in points; as `gain_text`."""
    low, high, difference = 100 * low, 100 * high, 100 * difference
    if not signed and difference < 0:
        low, high, difference = -high, -low, -difference
    decimals, sign = 0 if high - low >= 10 else 1, "+" if signed else ""
    while decimals < 2 and any(value and not round(value, decimals) for value in (low, high)):
        decimals += 1  # on which side of 0 the interval ends is what the verdict hangs on
    rounded = [round(value, decimals) for value in (difference, low, high)]
    texts = [f"{value:{sign}.{decimals}f}" if value else f"{0:.{decimals}f}" for value in rounded]
    return f"{texts[0]} point{'' if texts[0].lstrip('+-') == '1' else 's'} ({texts[1]} to {texts[2]})"


def points_text(share: float) -> str:
    value = f"{100 * share:g}"
    return f"{value} point" if value == "1" else f"{value} points"


def about(count: int) -> str:
    """Two significant digits: the number is rough."""
    scale = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // scale) * scale:,}"


def count_text(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def join(parts: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def sentence_of(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
