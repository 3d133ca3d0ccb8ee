"""How the images of a study were divided and its labels drawn, in sentences."""

from collections.abc import Mapping

from selfstudy.report import _names
from selfstudy.report._phrases import sentence_of
from selfstudy.study._record import StudyRecord, read_json


def design(record: StudyRecord) -> list[str]:
    """How the images were divided and the labels drawn: rules of every study, with this one's numbers."""
    seen = ", without labels either" if not record.settings.get("transductive") else " with labels"
    splits = read_json(record.folder / "splits.json")
    notes = splits.get("notes", [])
    assert isinstance(notes, list)
    return [
        f"{_tested(record, splits)} What is tested is never trained on{seen}, and its labels are read once, at the end.",
        *(sentence_of(str(note)) for note in notes),
        "Label draws are nested (the fewer labels of a draw are among its more) and the same for every row, so rows are compared on the same labels.",
        "A label used for any choice counts as a label: what has to be chosen is chosen by cross-validation inside the label budget, "
        "and with too few labels for that it is fixed beforehand.",
    ]


def _tested(record: StudyRecord, splits: Mapping[str, object]) -> str:
    """Which images, or pages, are tested, and who decided it."""
    unit, number = record.unit, _names.count(len(record.test_labels))
    if record.num_folds:
        return (
            f"Each of {number} labelled {unit}s is tested in its turn, by {record.num_folds}-fold cross-validation over groups, once for "
            "every draw of the labels: one part would be too small."
        )
    if splits.get("dictated"):
        return (
            f"The source of the images says which {number} of the labelled {unit}s are tested; what shares a group with one of them, as a "
            f"copy does, is left out of training, and {_names.count(record.num_train)} stay to learn from."
        )
    drawn = "" if "dictated" not in splits else ", in the proportions of the classes"
    return (
        f"Of {_names.count(record.num_train + len(record.test_labels))} labelled {unit}s {number} were set aside for testing before anything "
        f"else{drawn}; copies of an image and {'tiles' if unit == 'page' else 'images'} of one group stay on one side."
    )
