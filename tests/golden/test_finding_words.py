"""What the sentences about findings say, word by word, and that every study gets clean ones."""

import copy
from typing import Any

import pytest

from selfstudy.report._amounts import crossover_text, plateau_text, saved_text
from selfstudy.report._choices import agreement_text, winner_text
from selfstudy.report._classes import rare_text, recall_text
from selfstudy.report._conditions import conditions
from selfstudy.report._findings import findings
from selfstudy.report._first_screen import first_screen
from selfstudy.report._times import times_text, trade_offs_text
from selfstudy.report._verdicts import decide_text
from selfstudy.report._words import answer
from selfstudy.study._findings import ClassScore, ClassSupport, LabelsSaved, Plateau, PlateauStep, RankAgreement, TimeTo
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Crossover, Summary, Winner
from selfstudy.study.compare import summarise
from tests.golden.test_findings import WORSE_LOOKING, as_fractions
from tests.golden.test_words import statement
from tests.synthetic_study import ACCURACY, Truth, write_study

SMALL: dict[str, Any] = {"protocols": ("linear", "knn"), "num_test": 200, "draws": {"1": 3, "4": 2, "10": 2}}


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> Summary:
    truth = Truth(**SMALL, validation=WORSE_LOOKING)
    return summarise(StudyRecord.read(write_study(tmp_path_factory.mktemp("study") / "digits", truth)))


def winner(**changes: Any) -> Winner:
    plain = Winner(
        labels="10", row="simclr", protocol="linear", chosen_by="validation", chosen_at="10",
        candidates=[{"row": "simclr", "mean": 0.95, "num_cells": 6}, {"row": "byol", "mean": 0.94, "num_cells": 6}],
        unranked=["supervised"], mean=0.945, low=0.93, high=0.96, confidence=0.95,
        against=[
            statement("simclr", "10", "worse", (0.945, 0.963), -0.031, -0.005),
            statement("simclr", "10", "undecided", (0.945, 0.940), -0.004, 0.014, b="byol"),
        ],
        best_on_test="supervised", regret=0.018,
    )  # fmt: skip
    return Winner(**{**plain, **changes})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            winner(),
            "With 10 labels per class take simclr, the best of 2 rows in cross-validation inside the label budget (0.950); on the test "
            "images, looked at only then, its accuracy is 0.945 (0.930 to 0.960); it is worse than supervised by 1.8 points (0.5 to 3.1); "
            "it cannot be told from byol, +0.5 points (-0.4 to +1.4); supervised was no candidate, having no validation score; on the "
            "test images supervised scores 1.8 points more, which nobody could know before.",
        ),
        (
            winner(labels="1", chosen_by="validation at more labels", unranked=[], against=[], regret=0.0),
            "With one label per class take simclr, the best of 2 rows in cross-validation with 10 labels per class, as so few labels as "
            "these leave none to choose by; on the test images, looked at only then, its accuracy is 0.945 (0.930 to 0.960).",
        ),
        (
            winner(chosen_by="test", unranked=[], against=[], regret=0.0),
            "With 10 labels per class simclr has the highest accuracy of 2 rows, 0.945 (0.930 to 0.960), but no validation score was "
            "there to choose by, so the test images chose it and its score is optimistic.",
        ),
    ],
    ids=["validation", "more labels", "test"],
)
def test_the_row_to_take_word_by_word(summary, found, expected):
    """Mutation: a choice by the test images not owned up to."""
    assert winner_text(summary, found) == expected


def crossover(**changes: Any) -> Crossover:
    plain = Crossover(
        a="simclr", b="supervised", protocol="linear", better_at=["1"], equivalent_at=[], worse_at=["all"],
        undecided_at=["4", "10"], missing_at=[], pays_up_to="1", supervised_from="all",
        catches_up={"estimate": 56.4, "low": 20.8, "high": 446.0}, fewest=10.0, most=4000.0,
    )  # fmt: skip
    return Crossover(**{**plain, **changes})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            crossover(),
            "Pretraining simclr is worth it up to one label per class for sure; training from scratch is as good or better for sure from "
            "all labels on; by the means training from scratch catches up at about 56 labelled images (21 to 450).",
        ),
        (
            crossover(pays_up_to="all", supervised_from=None, catches_up={"estimate": None, "low": None, "high": None}),
            "Pretraining simclr is worth it up to all labels for sure; by the means training from scratch does not catch up with 4,000 "
            "labelled images.",
        ),
        (
            crossover(
                pays_up_to=None,
                better_at=[],
                supervised_from=None,
                catches_up={"estimate": 10.0, "low": 10.0, "high": None},
            ),
            "With no number of labels tried is it sure that pretraining simclr is worth it; by the means training from scratch is as good "
            "with 10 labelled images already, though from 10 or fewer to more than 4,000 nothing is ruled out.",
        ),
        (
            crossover(pays_up_to=None, better_at=["4"], supervised_from=None),
            "Pretraining simclr is worth it with 4 labels per class for sure, though not with fewer; by the means training from scratch "
            "catches up at about 56 labelled images (21 to 450).",
        ),
    ],
    ids=["both ends", "never", "at once", "in the middle"],
)
def test_the_crossover_word_by_word(found, expected):
    """Mutation: an end beyond the study printed as if it were measured."""
    assert crossover_text(found, "image") == expected


def test_labels_saved_word_by_word(summary):
    saved = LabelsSaved(
        a="simclr", b="supervised", labels="1", num_labels=10.0, score=0.861,
        needed={"estimate": 21.04, "low": 10.0, "high": 32.6}, confidence=0.95, fewest=10.0, most=4000.0,
    )  # fmt: skip
    start = "To reach the accuracy of 0.861 that simclr has with 10 labelled images, training from scratch takes"
    assert saved_text(summary, saved) == f"{start} about 21 labelled images (10 or fewer to 33), 2.1 times as many."
    never = LabelsSaved(**{**saved, "needed": {"estimate": None, "low": 900.0, "high": None}})
    assert (
        saved_text(summary, never)
        == f"{start} more than 4,000 labelled images, the most that were tried (900 to more than 4,000)."
    )


def test_plateaus_word_by_word(summary):
    """Mutation: "flat" of a curve that nobody knows to be."""

    def step(share: float, difference: float, low: float, high: float, verdict: Any) -> PlateauStep:
        return PlateauStep(
            unlabelled=share, num_images=round(4000 * share), mean=0.9 + difference, difference=difference, low=low, high=high, verdict=verdict
        )  # fmt: skip

    whole = step(1.0, 0.0, 0.0, 0.0, "itself")
    flat = Plateau(
        entry="simclr", labels="10", protocol="linear", verdict="flat", flat_from=0.3, confidence=0.95,
        steps=[step(0.1, -0.05, -0.07, -0.03, "worse"), step(0.3, -0.002, -0.006, 0.002, "equivalent"), whole],
    )  # fmt: skip
    assert plateau_text(summary, flat) == (
        "With 10 labels per class the curve of simclr is flat from 30 % of the unlabelled images (1,200 images) on: 100 % of the "
        "unlabelled images (4,000 images) adds less than 1 point, -0.2 points (-0.6 to +0.2)."
    )
    rising = Plateau(**{**flat, "verdict": "rising", "flat_from": None, "steps": [flat["steps"][0], whole]})
    assert plateau_text(summary, rising) == (
        "With 10 labels per class more unlabelled images still help: simclr on 10 % of the unlabelled images (400 images) differs from "
        "100 % of the unlabelled images (4,000 images) by -5.0 points (-7.0 to -3.0)."
    )
    assert "stays open" in plateau_text(summary, Plateau(**{**rising, "verdict": "undecided"}))


def test_rare_classes_are_printed_with_what_is_known_of_them(summary):
    """Mutation: the recall without its interval."""
    rare = ClassSupport(name="shopping", num_test_images=22, num_test_groups=22, rare=True, half_width=0.193)
    assert rare_text({**summary, "test_classes": [rare]}) == [
        "Too rare in the test images for more than a rough recall: shopping (22 test images: known to +-19 points)."
    ]
    assert rare_text({**summary, "test_classes": []}) == []
    many = rare_text({**summary, "test_classes": [rare] * 5})
    assert many[0].endswith(" and 2 more classes.")
    score = ClassScore(
        row="simclr", protocol="linear", labels="all", name="shopping", support=22, num_cells=3, recall=0.5, low=0.31, high=0.69,
        confidence=0.95, precision=0.6, f1=0.55,
    )  # fmt: skip
    assert recall_text(score, "image") == (
        "Of 22 test images of shopping simclr finds 50 % (31 to 69) with all labels; of what it calls so 60 % are, which is an F1 of 0.55."
    )


def test_pages_are_called_pages(summary):
    """Mutation: any sentence that says images whatever was tested."""
    seen = {**summary["conditions"], "unit": "page", "transductive": True}
    whole = {**summary, "conditions": seen, "winners": [winner()]}
    sentences = [*answer(whole), *conditions(whole), *first_screen(whole).sure, *first_screen(whole).next]
    sentences += [sentence for _, found in findings(whole) for sentence in found]
    said = " ".join(sentences)
    assert "test page" in said and "labelled page" in said
    assert "test image" not in said and "labelled image" not in said
    open_verdict = statement("simclr", "10", "undecided", (0.96, 0.963), -0.014, 0.008)
    assert "1,300 more test pages would decide it" in decide_text(open_verdict, "page")


def test_an_untrained_encoder_is_no_row_to_take(summary):
    """Mutation: "take random", and how to get the model of it."""
    candidates = [{"row": "random", "mean": 0.95, "num_cells": 6}, {"row": "simclr", "mean": 0.94, "num_cells": 6}]
    ahead = statement("random", "10", "worse", (0.945, 0.963), -0.031, -0.005)
    found = winner(row="random", candidates=candidates, against=[ahead])
    [first, *others] = first_screen({**summary, "winners": [found], "crossovers": []}).next
    assert first == (
        "With 10 labels per class no pretrained row did better in cross-validation than random, an encoder that was never trained, so "
        "nothing shows that pretraining taught anything: let the methods see more images (`budget`), try other views (`views`), and look "
        "below whether training was healthy; until then take supervised, which is better there."
    )
    assert not any("selfstudy finish" in sentence for sentence in others)
    assert winner_text(summary, found).startswith(
        "With 10 labels per class no pretraining did better than random, an encoder that was never trained, the best of 2 rows in "
    )
    alone = winner(row="random", candidates=candidates[:1], against=[])
    assert "take random: the best" in first_screen({**summary, "winners": [alone], "crossovers": []}).next[0]


def test_time_to_accuracy_names_who_never_reached_it(summary):
    """Mutation: silence about who did not."""
    time = TimeTo(
        level=0.9, named=True, row="simclr", entry="simclr", unlabelled=1.0, labels="4", protocol="linear", mean=0.93, reached=True,
        share_reached=1.0, images_seen=48000, seconds=38.0, cheapest=True, measured="along training",
    )  # fmt: skip
    never = TimeTo(
        **{
            **time,
            "row": "byol",
            "entry": "byol",
            "reached": False,
            "images_seen": None,
            "seconds": None,
            "cheapest": False,
        }
    )
    found = times_text({**summary, "times_to": [time, never]})
    assert found[0] == (
        "An accuracy of 0.9 was reached by simclr after 38 s (with 4 labels per class, 48,000 images seen); byol never reached it."
    )
    assert times_text({**summary, "times_to": [never]})[0] == "An accuracy of 0.9 was never reached by byol."


def test_agreement_word_by_word():
    found = RankAgreement(
        protocol="linear", protocol_b="knn", labels="1", rows=["a", "b", "c", "d"], tau=0.5, low=0.1, high=0.9, confidence=0.95,
        num_draws=5, swapped=[["a", "b"]],
    )  # fmt: skip
    assert agreement_text(found) == (
        "With one label per class a linear probe on frozen features and nearest neighbours on frozen features put the 4 rows in roughly "
        "the same order, Kendall's tau 0.50 (0.10 to 0.90 over 5 draws of the labels); they disagree on a and b."
    )
    assert "0.50 with one draw of the labels" in agreement_text(RankAgreement(**{**found, "low": None, "high": None}))


def test_score_for_time_lists_what_nothing_beats(summary):
    found = trade_offs_text(summary)
    assert len(found) == 4
    for labels, sentence in zip(summary["conditions"]["labels"], found, strict=True):
        there = [each for each in summary["trade_offs"] if each["labels"] == labels]
        for each in there:
            assert (f"{each['row']} ({each['mean']:.3f} for" in sentence) == each["pareto"]


def test_a_validated_winner_leads_the_answer(summary):
    """Simclr gains most, byol won in validation with 10 labels, and both gain. Mutation: the luckiest on the test images leads."""
    both = copy.deepcopy(summary)
    chosen = {found["labels"]: found["row"] for found in both["winners"]}
    assert chosen["1"] == "byol"
    both["statements"] = [
        statement("simclr", "1", "better", (0.83, 0.70), 0.05, 0.20), statement("byol", "1", "better", (0.81, 0.70), 0.03, 0.18),
    ]  # fmt: skip
    assert "where byol reaches" in answer(both)[0]
    assert "where simclr reaches" in answer({**both, "winners": []})[0]


def test_pretraining_on_the_test_images_is_said(summary):
    """Mutation: `transductive` read and not said."""
    said = "retraining saw the test images too, without their labels"
    assert said not in " ".join(answer(summary))
    seen = {**summary, "conditions": {**summary["conditions"], "transductive": True}}
    assert said in answer(seen)[2]
    assert any(said in sentence for sentence in first_screen(seen).sure)


STUDIES: dict[str, Truth] = {
    "validated": Truth(**SMALL, validation=WORSE_LOOKING),
    "one seed and draw": Truth(**{**SMALL, "seeds": 1, "draws": {}}),
    "one row": Truth(**SMALL, accuracy={"simclr": ACCURACY["simclr"]}),
    "no supervised": Truth(**SMALL, accuracy={row: ACCURACY[row] for row in ("random", "simclr", "byol")}),
    "failed": Truth(**SMALL, failed=(("byol", 0), ("byol", 1)), missing=[("supervised", "10"), ("simclr", "all")]),
    "collapsed": Truth(**SMALL, collapsed=("byol",)),
    "nothing yet": Truth(**SMALL, missing=[(row, labels) for row in ACCURACY for labels in ("1", "4", "10", "all")]),
    "groups": Truth(**SMALL, images_per_group=10, metric="macro_f1"),
    "fractions": Truth(**SMALL, accuracy={"half": (0.8,) * 4, "simclr": (0.8,) * 4, "supervised": (0.7,) * 4}),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_gets_clean_sentences(tmp_path, name):
    """Mutations: an empty list joined, a None or a nan printed, a sentence split in two."""
    folder = write_study(tmp_path / "study", STUDIES[name])
    record = as_fractions(folder, {"half": 0.5}) if name == "fractions" else StudyRecord.read(folder)
    summary = summarise(record)
    screen = first_screen(summary)
    found = [sentence for _, sentences in findings(summary) for sentence in sentences]
    for sentence in [*screen.answer, *screen.sure, *screen.cost, *screen.next, *found]:
        assert sentence.endswith(".") and ". " not in sentence, sentence
        assert sentence[0].isupper(), sentence
        assert not any(bad in sentence for bad in ("None", "nan", "  ", " ,", " ;", "()", "[", "{", ", and and")), (
            sentence
        )
        assert sentence.isascii(), sentence
    assert screen.question and len(screen.answer) == 2
    if name == "nothing yet":
        assert screen.next[0].startswith("Run the same command again")
        assert [heading for heading, _ in findings(summary)] == ["Rare classes"] and screen.cost == []
    if name == "fractions":
        assert any(heading == "How much unlabelled data" for heading, _ in findings(summary))


def test_where_supervised_is_better_the_next_step_is_to_train_from_scratch(summary):
    """Mutation: recommending the validated row whatever the test images said."""
    assert any("take supervised: simclr, the best row in validation, is worse than training from scratch there" in s
               for s in first_screen({**summary, "winners": [winner()]}).next)  # fmt: skip
