"""What the sentences say, word by word, and that they never say more than the intervals."""

import copy

import pytest

from selfstudy.report import _phrases as phrases
from selfstudy.report import _words as words
from selfstudy.report._conditions import conditions
from selfstudy.report._reading import range_text
from selfstudy.report._verdicts import decide_text, verdict_text
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Point, RowCard, Statement, Summary, Verdict
from selfstudy.study.compare import summarise
from tests.synthetic_study import ACCURACY, Truth, write_study


def statement(
    a: str, labels: str, verdict: Verdict, means: tuple[float, float], low: float, high: float, **changes
) -> Statement:
    decide = {
        "half_width": 0.01,
        "further_draws": 3,
        "further_seeds": None,
        "further_test_images": 1234,
        "times_everything": 2,
    }
    plain = Statement(
        id=f"supervised/{a}/{labels}", kind="supervised", verdict=verdict, a=a, b="supervised", labels=labels, metric="accuracy",
        margin=0.01, protocol="linear", protocol_b="finetune", mean_a=means[0], mean_b=means[1], difference=means[0] - means[1],
        low=low, high=high, confidence=0.975, num_draws=5, num_seeds=2, num_seeds_b=5, num_test_images=1000,
        varied=["label draws", f"seeds of {a}", "seeds of supervised", "test images"], not_varied=[], tied_with=[],
        decide=decide if verdict == "undecided" else None,
    )  # fmt: skip
    return Statement(**{**plain, **changes})


def point(row: str, labels: str, mean: float, low: float, high: float) -> Point:
    return Point(
        row=row, protocol="linear", decides=True, labels=labels, mean=mean, low=low, high=high, standard_error=0.01,
        confidence=0.95, num_draws=1 if labels == "all" else 5, num_seeds=2, num_collapsed=0,
    )  # fmt: skip


@pytest.fixture
def digits() -> Summary:
    """Two methods that pay with one label, one equal and one open with ten, both behind with all."""
    return Summary(
        study="digits", question="", metric="accuracy", margin=0.01, complete=True, missing=[],
        conditions={
            "data": "mnist5k", "unit": "image", "num_train": 4000, "num_test_images": 1000, "num_test_groups": 1000, "classes": list("0123456789"),
            "image_size": 28, "backbones": ["conv4"], "protocols": ["linear", "knn"], "labels": ["1", "10", "all"],
            "num_folds": 0, "transductive": False, "trials": 1, "outside_budget": [],
        },
        rows=[
            RowCard(row=row, kind=kind, protocol="linear", num_runs=2, num_collapsed=0, num_failed=0)
            for row, kind in (("supervised", "supervised"), ("simclr", "learned"), ("byol", "learned"))
        ],
        points=[
            point("supervised", "1", 0.732, 0.68, 0.78), point("simclr", "1", 0.828, 0.79, 0.87), point("byol", "1", 0.81, 0.77, 0.85),
            point("supervised", "10", 0.963, 0.955, 0.971), point("simclr", "10", 0.96, 0.952, 0.968),
            point("supervised", "all", 0.985, 0.98, 0.99), point("simclr", "all", 0.969, 0.963, 0.975),
        ],
        statements=[
            statement("simclr", "1", "better", (0.828, 0.732), 0.052, 0.134), statement("byol", "1", "better", (0.81, 0.732), 0.03, 0.126),
            statement("simclr", "10", "undecided", (0.960, 0.963), -0.014, 0.008), statement("byol", "10", "worse", (0.940, 0.963), -0.034, -0.012),
            statement("simclr", "all", "worse", (0.969, 0.985), -0.024, -0.008), statement("byol", "all", "worse", (0.965, 0.985), -0.03, -0.01),
        ],
        crossovers=[],
        costs=[
            {"row": "simclr", "pretraining_seconds": 184.0, "num_runs": 2, "evaluation_seconds": 9.0, "num_evaluations": 20, "seconds": 193.0},
            {"row": "supervised", "pretraining_seconds": 0.0, "num_runs": 0, "evaluation_seconds": 1300.0, "num_evaluations": 10, "seconds": 1300.0},
        ],
        winners=[], test_classes=[], class_scores=[], labels_saved=[], plateaus=[], learning_curves=[], times_to=[], agreements=[], trade_offs=[],
    )  # fmt: skip


def test_the_answer_word_by_word(digits):
    """Mutations: a gain of the wrong sign, the interval of the score in place of the difference's, a seed for a draw."""
    assert words.answer(digits) == [
        "Pretraining pays with one label per class, where simclr reaches an accuracy of 0.83 (0.79 to 0.87) against 0.73 (0.68 to 0.78) "
        "for training from scratch, a gain of 9.6 points (5.2 to 13.4); byol gains there too.",
        "With all labels training from scratch is better than every pretrained row: simclr differs by -1.6 points (-2.4 to -0.8); "
        "with 10 labels per class it stays open which is better: simclr differs by -0.3 points (-1.4 to +0.8), and about 3 more draws of "
        "the labels or 1,300 more test images would decide it; byol is worse than training from scratch from 10 labels per class on.",
        "This holds for mnist5k (1,000 test images, 10 classes), the encoder conv4 at 28 pixels, 5 draws of the labels and 2 pretraining "
        "seeds; it was not tried with another split of the images or other hyper-parameters; pretraining simclr took 92 s a run and "
        "training from scratch once 2 min.",
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            statement("simclr", "4", "better", (0.962, 0.950), 0.003, 0.021),
            "simclr is better than supervised with 4 labels per class, by 1.2 points (0.3 to 2.1): 0.962 against 0.950.",
        ),
        (
            statement("simclr", "0.1", "worse", (0.938, 0.950), -0.021, -0.003),
            "simclr is worse than supervised with 10 % of the labels, by 1.2 points (0.3 to 2.1): 0.938 against 0.950.",
        ),
        (
            statement("simclr", "all", "equivalent", (0.951, 0.950), -0.002, 0.004),
            "simclr and supervised are equal to within 1 point with all labels: 0.951 against 0.950, a difference of +0.1 points (-0.2 to +0.4).",
        ),
        (
            statement("simclr", "total:200", "undecided", (0.951, 0.950), -0.062, 0.064),
            "simclr and supervised cannot be told apart with 200 labels in total: 0.951 against 0.950, a difference of 0 points (-6 to +6); "
            "about 3 more draws of the labels or 1,300 more test images would decide it.",
        ),
    ],
    ids=lambda value: value["verdict"] if isinstance(value, dict) else "",
)
def test_each_verdict_word_by_word(found, expected):
    """Mutation: the sign of a loss left on its size."""
    assert verdict_text(found, "image") == expected


@pytest.mark.parametrize(
    ("decide", "expected"),
    [
        ((1, None, None, 2), "about 1 more draw of the labels would decide it"),
        ((None, 2, None, 2), "about 2 more seeds of each row would decide it"),
        ((None, None, None, 2), "about twice as many draws, seeds and test images would decide it"),
        ((None, None, None, 9), "about 9 times as many draws, seeds and test images would decide it"),
        ((None, None, None, None), "no affordable repetition would decide it"),
    ],
)
def test_what_would_decide_in_words(decide, expected):
    found = statement("simclr", "4", "undecided", (0.951, 0.950), -0.02, 0.02)
    names = ("further_draws", "further_seeds", "further_test_images", "times_everything")
    assert (
        decide_text({**found, "decide": {"half_width": 0.01, **dict(zip(names, decide, strict=True))}}, "image")
        == expected
    )


def test_an_end_of_an_interval_is_never_rounded_to_the_other_verdict():
    """Mutation: always whole points for wide intervals, which prints an end of 0.4 as 0."""
    assert (
        phrases.gain_text(statement("simclr", "4", "undecided", (0.80, 0.90), -0.194, 0.004), signed=True)
        == "-10.0 points (-19.4 to +0.4)"
    )
    assert (
        phrases.gain_text(statement("simclr", "4", "better", (0.82, 0.80), 0.0003, 0.04))
        == "2.00 points (0.03 to 4.00)"
    )
    assert phrases.gain_text(statement("simclr", "4", "worse", (0.70, 0.82), -0.19, -0.05)) == "12 points (5 to 19)"


def test_label_counts_in_words(digits):
    """Mutation: naming the last label count of a range that starts at the fewest as its beginning."""
    assert phrases.at_labels(["1"]) == "with one label per class"
    assert (
        phrases.at_labels(["1", "4", "total:50", "0.1", "0.5", "all"])
        == "with 1 and 4 labels per class, 50 labels in total, 10 % and 50 % of the labels and all labels"
    )
    assert range_text(digits, ["1", "10"]) == "up to 10 labels per class"
    assert range_text(digits, ["10", "all"]) == "from 10 labels per class on"
    assert range_text(digits, ["1", "all"]) == "with one label per class and all labels"
    assert range_text(digits, ["1", "10", "all"]) == "with every number of labels tried"


def test_one_seed_and_one_draw_are_named_as_not_tried(digits):
    for found in digits["statements"]:
        found["varied"], found["not_varied"] = (
            ["test images"],
            ["label draws", f"seeds of {found['a']}", "seeds of supervised"],
        )
    tried = "it was not tried with other draws of the labels, other seeds of simclr, supervised and byol, another split of the images or"
    assert tried in words.answer(digits)[2]


def test_behind_is_every_row_only_where_every_row_is(digits):
    """Byol has the greater mean difference and is worse, but simclr may still be better. Mutation: the greatest difference leads."""
    digits["statements"][2] = statement("simclr", "10", "undecided", (0.930, 0.963), -0.070, 0.004)
    second = words.answer(digits)[1]
    assert (
        "with 10 labels per class it stays open which is better: simclr differs by -3.3 points (-7.0 to +0.4)" in second
    )
    digits["statements"] = [found for found in digits["statements"] if found["id"] != "supervised/byol/all"]
    assert (
        "with all labels training from scratch is better than every pretrained row that has scores"
        in words.answer(digits)[1].lower()
    )


def test_an_unfinished_study_says_so_first(digits):
    """Mutation: silence about what is missing."""
    gap = {"row": "byol", "labels": "all", "planned": 2, "failed": 0, "to_come": 2}
    first, _, third = words.answer({**digits, "missing": [gap]})
    assert first.startswith("So far, pretraining pays")
    assert third.startswith(
        "The study is unfinished (still to come: byol with all labels), and what there is holds for"
    )


STUDIES = {
    "as the issue has it": Truth(),
    "one seed": Truth(seeds=1),
    "all behind": Truth(accuracy={**ACCURACY, **dict.fromkeys(("simclr", "byol", "autoencoder"), (0.4, 0.6, 0.7, 0.8))}, seeds=3),
    "nothing sure": Truth(accuracy={"supervised": (0.8, 0.9, 0.94, 0.97), "simclr": (0.81, 0.905, 0.94, 0.97)}, num_test=100),
    "always ahead": Truth(accuracy={"supervised": (0.3, 0.4, 0.5, 0.6), "simclr": (0.9, 0.9, 0.9, 0.9)}, seeds=4),
    "one row": Truth(accuracy={"simclr": ACCURACY["simclr"]}),
    "one label count": Truth(accuracy={"simclr": (0.8,), "supervised": (0.6,)}, labels=("1",)),
    "no supervised": Truth(accuracy={row: ACCURACY[row] for row in ("majority", "random", "simclr", "byol")}),
    "no pretraining": Truth(accuracy={row: ACCURACY[row] for row in ("majority", "random", "supervised")}),
    "majority alone": Truth(accuracy={"majority": ACCURACY["majority"]}),
    "collapsed": Truth(accuracy={**ACCURACY, "byol": (0.12, 0.13, 0.14, 0.2)}, collapsed=("byol",)),
    "failed": Truth(failed=(("byol", 0), ("byol", 1), ("simclr", 1))),
    "unfinished": Truth(missing=[("simclr", "10"), ("simclr", "all"), ("byol", "all"), ("supervised", "all")]),
    "barely begun": Truth(missing=[(row, labels) for row in ACCURACY for labels in ("1", "4", "10", "all")]),
    "no supervised yet": Truth(missing=[("supervised", labels) for labels in ("1", "4", "10", "all")]),
    "no shared label count": Truth(missing=[("supervised", "1"), ("supervised", "4"), *((r, n) for r in ("simclr", "byol", "autoencoder") for n in ("10", "all"))]),
    "fractions": Truth(labels=("0.01", "total:200", "all"), accuracy={"supervised": (0.8, 0.95, 0.98), "simclr": (0.9, 0.95, 0.98)}, draws={"0.01": 3, "total:200": 3}),
    "macro F1 and groups": Truth(metric="macro_f1", images_per_group=4),
}  # fmt: skip


@pytest.fixture(scope="module", params=STUDIES)
def summary(request, tmp_path_factory) -> Summary:
    truth = STUDIES[request.param]
    small = Truth(**{**vars(truth), "num_test": min(truth.num_test, 300), "protocols": ("linear",)})
    return summarise(StudyRecord.read(write_study(tmp_path_factory.mktemp("study") / "folder", small)))


def test_every_study_gets_three_clean_sentences(summary):
    """Mutations: an empty list joined, a None or a nan printed, a sentence split in two."""
    sentences = words.answer(summary)
    assert len(sentences) == 3
    for sentence in [
        *sentences,
        *conditions(summary),
        *(verdict_text(each, "image") for each in summary["statements"]),
    ]:
        assert sentence.endswith(".") and ". " not in sentence
        assert not any(bad in sentence for bad in ("None", "nan", "  ", " ,", " ;", "()", "[", "{", ", and and"))
        assert sentence.isascii()  # every console prints it
    assert all(sentence[0].isupper() for sentence in sentences)


def test_no_claim_is_stronger_than_the_intervals(summary):
    """`pays`, `equal` and `is better` only where a statement says so. Mutation: the sign of the difference as the verdict."""
    held = [found for found in summary["statements"] if found["kind"] == "supervised"]
    verdicts = {found["verdict"] for found in held}
    first, second, third = words.answer(summary)
    assert first.startswith(("Pretraining pays", "So far, pretraining pays")) == ("better" in verdicts)
    assert "equal to within" not in second or "equivalent" in verdicts
    assert "is better than every" not in second or "worse" in verdicts
    assert ("cannot say" in first) == (bool(held) and verdicts == {"undecided"})
    assert ("cannot be said" in first or "nothing to say" in first) == (not held)
    assert ("unfinished" in third) == any(gap["to_come"] for gap in summary["missing"])
    for row in summary["rows"]:
        for count, word in ((row["num_collapsed"], "collapsed"), (row["num_failed"], "failed")):
            assert (f"{row['row']} {word}" in second) == (count > 0)


def test_losses_are_named(summary):
    """Every row that is worse than training from scratch somewhere is named. Mutation: naming the winners only."""
    answer = " ".join(words.answer(summary))
    for found in summary["statements"]:
        if found["kind"] == "supervised" and found["verdict"] == "worse":
            assert found["a"] in answer or "every pretrained row" in answer


def test_answer_leaves_the_summary_alone(digits):
    before = copy.deepcopy(digits)
    words.answer(digits)
    conditions(digits)
    assert digits == before


def test_a_winner_that_the_untrained_encoder_matches_is_doubted(digits: Summary):
    """Mutation: leaving the doubt out praises pretraining for what the probe alone can do."""
    assert "untrained" not in words.answer(digits)[0]
    starved = copy.deepcopy(digits)
    twin = statement("simclr", "1", "undecided", (0.83, 0.82), -0.02, 0.04, kind="untrained", b="random")
    starved["statements"].append(twin)
    assert "simclr is not shown to be better than the untrained encoder with one label" in words.answer(starved)[0]
