"""What each method was shown while it learned."""

from collections.abc import Sequence

from selfstudy.report._figure import Figure, Panel
from selfstudy.report._pictures import picture
from selfstudy.study._record import StudyRecord
from selfstudy.study._summary import Summary

MOST_BYTES = 1_000_000  # of all sheets; the whole page may have 8 MiB


class Views(Figure):
    title = "What did it look at?"
    caption = (
        "A few images on top, and below each the views that the method was given of it. If you cannot tell any more what an image "
        "shows, the views are too strong; if all views look the same, they are too weak."
    )
    place = 30
    by_row = True

    def draw(self, record: StudyRecord, summary: Summary) -> Sequence[Panel]:
        sheets = {}
        for row in record.rows:
            runs = sorted((key[2], path) for key, path in record.runs.items() if key[:2] == (row.entry, row.unlabelled))
            found = next((run / "views.png" for _, run in runs if (run / "views.png").is_file()), None)
            if found is not None:
                sheets[row.name] = found
        panels = []
        for name, path in sheets.items():
            alternative = f"Some images and the views that {name} learned from."
            content = picture(
                path.read_bytes(), alternative, MOST_BYTES // len(sheets), f"cells/{path.parent.name}/views.png"
            )
            panels.append(Panel(content=content, alternative=alternative, row=name))
        return panels
