"""The contract of a figure: one file of this folder shows one thing about a study."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import altair as alt
from markupsafe import Markup

from selfstudy.report._table import Table
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart, one table, or one piece of HTML, of a figure.

    A chart takes the width of the page, so it must be a single or a layered view: facets and concatenations have no
    width of their own to give up. Its colours are the custom properties of page.css.
    """

    content: alt.Chart | alt.LayerChart | Table | Markup
    heading: str = ""
    alternative: str  # what the panel says, for whoever cannot see it
    row: str = ""  # the row of the study that it is about; "" where it is about several


class Figure(ABC):
    """Subclass it in report/NAME.py; that file is all a new figure needs."""

    title: ClassVar[str]
    caption: ClassVar[str]  # what is drawn and how to read it, in whole sentences; {unit} is what is tested
    place: ClassVar[int]  # figures stand on the page in this order
    columns: ClassVar[int] = 1  # panels side by side where the window has room
    keyed: ClassVar[bool] = False  # whether the colours of the rows need their key
    by_row: ClassVar[bool] = (
        False  # whether it belongs to the part that each row has to itself: every panel names its row
    )

    @abstractmethod
    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        """The figure's panels; none where the study holds nothing to show."""
