"""A verdict as a sentence, and what would decide it where it is none."""

from selfstudy.report._phrases import about, at_labels, gain_text, join, number_text, points_text
from selfstudy.study._summary import Statement


def verdict_text(statement: Statement, unit: str) -> str:
    """One verdict as a sentence with its numbers; `unit` is what was tested."""
    a, b, at = statement["a"], statement["b"], at_labels([statement["labels"]])
    against = f"{number_text(statement['mean_a'])} against {number_text(statement['mean_b'])}"
    match statement["verdict"]:
        case "better" | "worse":
            return f"{a} is {statement['verdict']} than {b} {at}, by {gain_text(statement)}: {against}."
        case "equivalent":
            margin = points_text(statement["margin"])
            return f"{a} and {b} are equal to within {margin} {at}: {against}, a difference of {gain_text(statement, signed=True)}."
        case _:
            return f"{a} and {b} cannot be told apart {at}: {against}, a difference of {gain_text(statement, signed=True)}; {decide_text(statement, unit)}."


def decide_text(statement: Statement, unit: str) -> str:
    """What would decide an undecided verdict."""
    decide = statement["decide"]
    if decide is None:
        return "it is decided"
    options = [
        (decide["further_draws"], "draw of the labels", "draws of the labels"),
        (decide["further_seeds"], "seed of each row", "seeds of each row"),
        (decide["further_test_images"], f"test {unit}", f"test {unit}s"),
    ]
    ways = [f"{about(count)} more {one if count == 1 else many}" for count, one, many in options if count is not None]
    if ways:
        return f"about {join(ways, 'or')} would decide it"
    times = decide["times_everything"]
    if times is None:
        return "no affordable repetition would decide it"
    return f"about {'twice' if times == 2 else f'{times} times'} as many {join(sources(statement, unit), 'and')} would decide it"


def sources(statement: Statement, unit: str) -> list[str]:
    """What was varied, in words."""
    names = {"label draws": "draws", "seeds of": "seeds", "test": f"test {unit}s"}
    return [word for start, word in names.items() if any(name.startswith(start) for name in statement["varied"])]
