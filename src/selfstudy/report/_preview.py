"""The page of a preview: the sheets of views, before anything is trained."""

import base64

from selfstudy.report._page import render
from selfstudy.study.preview import Preview


def preview_page(preview: Preview) -> str:
    """The whole page as HTML; its pictures are inside it."""
    pictures = [
        f"data:image/png;base64,{base64.b64encode(sheet.path.read_bytes()).decode()}" for sheet in preview.sheets
    ]
    return render("preview.html.j2", preview=preview, pictures=pictures)
