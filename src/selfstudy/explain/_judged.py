"""What a classifier says of the images it has not learned from."""

from torch import Tensor

from selfstudy.errors import UserError
from selfstudy.explain._analysis import Subject


def judged(subject: Subject) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rows judged, their classes, the classes named and how sure that was: int64, int64, int64, float32 [m].

    UserError if there are no labelled images that the classifier has not learned from.
    """
    assert subject.labels is not None
    known = subject.labels[subject.judged_rows] >= 0
    rows = subject.judged_rows[known]
    if not len(rows):
        raise UserError("no labelled image is left to judge: the classifier has learned from all of them")
    probabilities = subject.viewer.probabilities(rows) if subject.answers is None else subject.answers[known]
    confidence, answers = probabilities.max(1)
    return rows, subject.labels[rows], answers, confidence
