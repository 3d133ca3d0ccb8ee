"""Single classes in words: which are too rare in the test images to say much, and which are found worst."""

from selfstudy.report._phrases import at_labels, count_text, join, sentence_of
from selfstudy.report._reading import unit_of
from selfstudy.study._findings import ClassScore
from selfstudy.study._summary import Summary

MOST = 3  # classes named in one sentence


def rare_text(summary: Summary) -> list[str]:
    """One sentence on the classes with fewer than 30 test images, pages or groups; nothing where there is none."""
    rare = [found for found in summary["test_classes"] if found["rare"]]
    if not rare:
        return []
    named = [
        f"{found['name']} ({count_text(found['num_test_groups'], independent(summary))}: known to +-{100 * found['half_width']:.0f} points)"
        for found in rare[:MOST]
    ]
    if len(rare) > MOST:
        named.append(count_text(len(rare) - MOST, "more class", "more classes"))
    return [f"Too rare in the test {unit_of(summary)}s for more than a rough recall: {join(named, 'and')}."]


def recall_text(score: ClassScore, unit: str) -> str:
    """The recall of a class with its interval, its precision and F1; `unit` is what was tested."""
    return sentence_of(
        f"of {count_text(score['support'], f'test {unit}')} of {score['name']} {score['row']} finds "
        f"{100 * score['recall']:.0f} % ({100 * score['low']:.0f} to {100 * score['high']:.0f}) {at_labels([score['labels']])}; "
        f"of what it calls so {100 * score['precision']:.0f} % are, which is an F1 of {score['f1']:.2f}"
    )


def independent(summary: Summary) -> str:
    """What is counted where it must be independent of the rest."""
    where = summary["conditions"]
    return f"test {where['unit']}" if where["num_test_groups"] == where["num_test_images"] else "test group"
