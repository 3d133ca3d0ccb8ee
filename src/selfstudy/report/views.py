"""What each method was shown while it learned."""

import base64
from collections.abc import Sequence

from markupsafe import Markup

from selfstudy.report._figure import Figure, Panel
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

MOST_BYTES = 2_000_000  # of all sheets; the whole page may have 8 MiB


class Views(Figure):
    title = "What did it look at?"
    caption = (
        "A few images on top, and below each the views that the method was given of it. If you cannot tell any more what an image "
        "shows, the views are too strong; if all views look the same, they are too weak."
    )
    place = 30

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        panels: list[Panel] = []
        rows_by_sheet: dict[bytes, list[str]] = {}
        for row in record.rows:
            runs = sorted((key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled))
            sheet = next((run / "views.png" for _, run in runs if (run / "views.png").is_file()), None)
            if sheet is not None:
                rows_by_sheet.setdefault(sheet.read_bytes(), []).append(row.name)
        left = MOST_BYTES
        for content, rows in rows_by_sheet.items():
            alternative = f"Some images and the views that {' and '.join(rows)} learned from."
            left -= len(content)
            picture = (
                _picture(content, alternative)
                if left >= 0
                else Markup("<p>Too large for this page; see views.png in the folder of its run.</p>")
            )
            panels.append(Panel(content=picture, heading=", ".join(rows), alternative=alternative))
        return panels


def _picture(content: bytes, alternative: str) -> Markup:
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Markup('<div class="scroll" tabindex="0"><img class="sheet" src="{}" alt="{}" loading="lazy"></div>').format(
        address, alternative
    )
