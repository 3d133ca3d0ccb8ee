"""Pictures inside the page: as small as they can be without looking worse."""

import base64
import io

from markupsafe import Markup
from PIL import Image

QUALITIES = (85, 70, 50)  # of WebP, tried in turn; at 85 no difference is seen at the size of a page


def data_address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shrunk(content: bytes, most_bytes: int) -> tuple[bytes, str]:
    """A PNG as it is or as WebP, whichever is smaller, with its kind; nothing if no quality fits into `most_bytes`."""
    if len(content) <= min(most_bytes, 20_000):
        return content, "image/png"
    picture = Image.open(io.BytesIO(content))
    for quality in QUALITIES:
        found = io.BytesIO()
        picture.save(found, format="WEBP", quality=quality, method=4)
        if found.tell() <= most_bytes:
            return (found.getvalue(), "image/webp") if found.tell() < len(content) else (content, "image/png")
    return b"", ""


def picture(content: bytes, alternative: str, most_bytes: int, where: str) -> Markup:
    """An <img> in a box that scrolls, or, where it is too large for the page, a sentence that says where it lies."""
    smaller, kind = shrunk(content, most_bytes)
    if not smaller:
        return Markup("<p>This picture is too large for the page; see <code>{}</code>.</p>").format(where)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{alt}"><img class="sheet" src="{src}" alt="{alt}" loading="lazy"></div>'
    ).format(src=data_address(smaller, kind), alt=alternative)
