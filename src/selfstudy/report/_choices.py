"""Which row to take, in words: how it was chosen, what it then scored, and whether protocols agree about it."""

from selfstudy.report._phrases import at_labels, count_text, gain_text, join, points_text, sentence_of
from selfstudy.report._reading import PROTOCOLS, kind_of, metric_text, unit_of
from selfstudy.study._findings import RankAgreement
from selfstudy.study._summary import Statement, Summary, Winner

STRONG, WEAK = 0.8, 0.3  # of Kendall's tau: nine and two thirds of all pairs of rows in the same order


def winner_text(summary: Summary, winner: Winner) -> str:
    """ "With 10 labels per class take simclr: ...", how it was chosen, its score on the test images, and against whom."""
    row, where = winner["row"], at_labels([winner["labels"]])
    metric, take = metric_text(summary), f"take {row}"
    if kind_of(summary, row) == "untrained" and any(
        kind_of(summary, each["row"]) == "learned" for each in winner["candidates"]
    ):
        take = f"no pretraining did better than {row}, an encoder that was never trained"
    score = f"{winner['mean']:.3f} ({winner['low']:.3f} to {winner['high']:.3f})"
    among = count_text(len(winner["candidates"]), "row")
    match winner["chosen_by"]:
        case "validation":
            how = (
                f"{where} {take}, the best of {among} in cross-validation inside the label budget "
                f"({winner['candidates'][0]['mean']:.3f}); on the test {unit_of(summary)}s, looked at only then, its {metric} is {score}"
            )
        case "validation at more labels":
            how = (
                f"{where} {take}, the best of {among} in cross-validation {at_labels([winner['chosen_at']])}, as so few "
                f"labels as these leave none to choose by; on the test {unit_of(summary)}s, looked at only then, its {metric} is {score}"
            )
        case _:
            how = (
                f"{where} {row} has the highest {metric} of {among}, {score}, but no validation score was there to choose "
                f"by, so the test {unit_of(summary)}s chose it and its score is optimistic"
            )
    clauses = [how, *(_against(statement) for statement in winner["against"])]
    if winner["unranked"]:
        verb = "was" if len(winner["unranked"]) == 1 else "were"
        clauses.append(f"{join(winner['unranked'], 'and')} {verb} no candidate, having no validation score")
    if winner["regret"] > 0:
        clauses.append(
            f"on the test {unit_of(summary)}s {winner['best_on_test']} scores {points_text(round(winner['regret'], 4))} more, which "
            "nobody could know before"
        )
    return sentence_of("; ".join(clauses))


def agreement_text(agreement: RankAgreement) -> str:
    """Whether two protocols order the rows alike, with the interval over draws of the labels."""
    tau = f"{agreement['tau']:.2f}"
    if agreement["low"] is not None and agreement["high"] is not None:
        tau += f" ({agreement['low']:.2f} to {agreement['high']:.2f} over {agreement['num_draws']} draws of the labels)"
    else:
        tau += " with one draw of the labels"
    how = "in the same order" if agreement["tau"] > 0.995 else "in much the same order"
    if agreement["tau"] < STRONG:
        how = "in roughly the same order" if agreement["tau"] >= WEAK else "in different orders"
    protocols = join([PROTOCOLS.get(agreement[key], agreement[key]) for key in ("protocol", "protocol_b")], "and")
    text = f"{at_labels([agreement['labels']])} {protocols} put the {count_text(len(agreement['rows']), 'row')} {how}, Kendall's tau {tau}"
    if agreement["swapped"]:
        pairs = join([f"{first} and {second}" for first, second in agreement["swapped"][:3]], "or")
        more = len(agreement["swapped"]) - 3
        text += f"; they disagree on {pairs}{f' and {more} more' if more > 0 else ''}"
    return sentence_of(text)


def _against(statement: Statement) -> str:
    """A verdict on the chosen row as a clause."""
    gain = gain_text(statement, signed=statement["verdict"] in ("equivalent", "undecided"))
    match statement["verdict"]:
        case "better" | "worse":
            return f"it is {statement['verdict']} than {statement['b']} by {gain}"
        case "equivalent":
            return f"it equals {statement['b']} to within {points_text(statement['margin'])}, {gain}"
        case _:
            return f"it cannot be told from {statement['b']}, {gain}"
