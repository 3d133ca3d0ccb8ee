"""Whether the protocols put the rows in the same order."""

from collections.abc import Sequence

from selfstudy.report import _names
from selfstudy.report._figure import Figure, Panel
from selfstudy.report._table import NOT_KNOWN, Cell, Table
from selfstudy.study._findings import RankAgreement
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary


class Protocols(Figure):
    title = "Do the protocols agree on the order?"
    caption = (
        "Two ways to judge encoders may rank them differently. Agreement is Kendall's tau: 1 is the same order of all rows, 0 is no "
        "relation, -1 the reverse order; its range is that over the draws of the labels. Where it is low, a verdict holds for the "
        "protocol that was chosen to decide, and not for features as such."
    )
    place = 27

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        lines = [_line(each, record) for each in summary["agreements"]]
        if not lines:
            return []
        caption = f"Agreement of protocols on the order of the rows, {len(lines)} comparisons."
        headers = ["one", "the other", "labels", "agreement", "from", "to", "rows", "pairs swapped"]
        content = Table(caption=caption, headers=headers, lines=lines, words=3, sortable=True)
        return [Panel(content=content, alternative=caption)]


def _line(each: RankAgreement, record: StudyRecord) -> list[Cell]:
    ends = [NOT_KNOWN if end is None else (f"{end:.2f}", end) for end in (each["low"], each["high"])]
    return [
        (_names.protocol(each["protocol"]), each["protocol"]),
        (_names.protocol(each["protocol_b"]), each["protocol_b"]),
        (_names.labels(each["labels"]), record.num_labels(each["labels"])),
        (f"{each['tau']:.2f}", each["tau"]),
        *ends,
        (str(len(each["rows"])), len(each["rows"])),
        (str(len(each["swapped"])), len(each["swapped"])),
    ]
