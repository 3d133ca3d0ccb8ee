"""How settings were chosen and what was given to each row, in sentences."""

from selfstudy.report import _names
from selfstudy.report._phrases import join
from selfstudy.study._findings import OutsideBudget
from selfstudy.study._summary import Summary


def searched(summary: Summary) -> list[str]:
    """Of the learning rate and weight decay of all rows; nothing where the study searched none."""
    trials = summary["conditions"]["trials"]
    if trials == 1:
        return []
    rounds = (
        " In cross-validation one trial serves all folds of a round, so that its choice has seen labels that other folds test."
        if summary["conditions"]["num_folds"]
        else ""
    )
    return [
        f"Settings were chosen by the same search for each row: {trials} trials of learning rate and weight decay, the first as the "
        "study file or the recipe has them. At every draw of the labels a row's score is that of the trial with the best "
        "cross-validation inside the label budget, or of the first where there are too few labels to choose by; trials.csv names all."
        f"{rounds}",
        "What a row took is what all of its trials took.",
    ]


def outside(summary: Summary) -> list[str]:
    """The rows that had more or less pretraining than the study's budget; nothing if none had."""
    found = summary["conditions"]["outside_budget"]
    if not found:
        return []
    rows = join([f"{each['row']} ({_amount(each, each['had'])})" for each in found], "and")
    fifth = " by more than a fifth" if found[0]["budget"] == "seconds" else ""
    return [
        f"The budget of each pretraining is {_amount(found[0], found[0]['asked'])}; outside it{fifth}, so that its rows are not "
        f"compared at equal cost: {rows}."
    ]


def mark(summary: Summary, row: str) -> list[str]:
    """Of one row, if it is outside the budget."""
    return [
        f"Its pretraining had {_amount(each, each['had'])}, where the study's budget is {_amount(each, each['asked'])}."
        for each in summary["conditions"]["outside_budget"]
        if each["row"] == row
    ]


def _amount(each: OutsideBudget, amount: float) -> str:
    if each["budget"] == "seconds":
        return _names.duration(amount)
    return f"{amount:,g} {'epochs' if each['budget'] == 'epochs' else 'images'}"
