"""Every finding of a summary beside its verdicts, in sentences, under the headings of the page."""

from collections.abc import Sequence

from selfstudy.report._amounts import crossover_text, plateau_text, saved_text
from selfstudy.report._choices import agreement_text, winner_text
from selfstudy.report._classes import rare_text, recall_text
from selfstudy.report._reading import unit_of
from selfstudy.report._times import times_text, trade_offs_text
from selfstudy.study._summary import Summary


def findings(summary: Summary) -> list[tuple[str, Sequence[str]]]:
    """(heading, sentences); a heading with nothing to say is left out."""
    rare = {found["name"] for found in summary["test_classes"] if found["rare"]}
    chosen = {(winner["row"], winner["labels"]) for winner in summary["winners"]}
    recalls = [s for s in summary["class_scores"] if s["name"] in rare and (s["row"], s["labels"]) in chosen]
    found = [
        ("Which row to take", [winner_text(summary, winner) for winner in summary["winners"]]),
        (
            "Up to how many labels pretraining pays",
            [crossover_text(crossover, unit_of(summary)) for crossover in summary["crossovers"]],
        ),
        ("What labels it saves", [saved_text(summary, saved) for saved in summary["labels_saved"]]),
        ("How much unlabelled data", [plateau_text(summary, plateau) for plateau in summary["plateaus"]]),
        ("Rare classes", [*rare_text(summary), *(recall_text(score, unit_of(summary)) for score in recalls)]),
        ("How soon", times_text(summary)),
        ("Score against cost", trade_offs_text(summary)),
        ("Whether the protocols agree", [agreement_text(agreement) for agreement in summary["agreements"]]),
    ]
    return [(heading, sentences) for heading, sentences in found if sentences]
