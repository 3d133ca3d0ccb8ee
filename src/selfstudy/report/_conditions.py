"""What every verdict of a study depends on, and how it was reached, in sentences for the page."""

from selfstudy.report._circumstances import (
    accidents,
    backbones,
    not_tried,
    repetitions,
    test_set,
    to_come,
    transductive,
)
from selfstudy.report._phrases import count_text, join, points_text, sentence_of
from selfstudy.report._reading import PROTOCOLS, deciding, metric_text
from selfstudy.report._tuning import outside, searched
from selfstudy.study._summary import Summary


def conditions(summary: Summary) -> list[str]:
    """What the verdicts depend on, and how they were reached: one sentence each, for the page."""
    where = summary["conditions"]
    trained = count_text(where["num_train"], f"other {where['unit']}")
    sentences = [f"Everything was measured on {test_set(summary)}, after training on at most {trained}."]
    if seen := transductive(summary):
        sentences.append(sentence_of(seen))
    if to_come(summary):
        sentences.append(f"The study is unfinished; still to come: {to_come(summary)}.")
    sentences += [f"Note that {clause}." for clause in accidents(summary)]
    if where["protocols"]:
        first, *others = (PROTOCOLS.get(name, name) for name in where["protocols"])
        beside = f"; the results of {join(others, 'and')} are shown, but decide nothing" if others else ""
        sentences.append(f"Pretrained rows are judged by {first}{beside}.")
    sentences += [*searched(summary), *outside(summary)]
    if deciding(summary):
        covered = join([*repetitions(summary), f"the choice of the test {where['unit']}s"], "and")
        sentences.append(f"The intervals cover {covered}.")
    sentences.append(f"Every verdict is about {backbones(summary)}; it was not tried with {not_tried(summary)}.")
    if summary["statements"]:
        sentences.append("The interval of a single score holds with 95 % confidence, one score at a time.")
        sentences.append(
            "The verdicts against one baseline with one number of labels are judged together: that all of them are right has at "
            "least 95 % confidence, which is why the intervals of differences are wider."
        )
        sentences.append(
            f"Rows are called equal where the whole interval of their difference lies within {points_text(summary['margin'])}; "
            f"a point is 0.01 of the {metric_text(summary)}."
        )
    return sentences
