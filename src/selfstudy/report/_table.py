"""HTML tables that scroll in their own box and, where asked for, are sorted and filtered by page.js."""

from collections.abc import Sequence

from markupsafe import Markup

Cell = tuple[str, float | str]  # what is shown, and what is sorted by
NOT_KNOWN: Cell = ("\N{EN DASH}", -1.0)


def table(
    caption: str, headers: Sequence[str], lines: Sequence[Sequence[Cell]], *, words: int, sortable: bool
) -> Markup:
    """The first `words` columns hold words, the others numbers. Everything is escaped."""
    head = Markup("").join(_header(text, place >= words, sortable) for place, text in enumerate(headers))
    body = Markup("\n").join(Markup("<tr>{}</tr>").format(_line(line, words)) for line in lines)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table{kind}><caption class="unseen">{caption}</caption>'
        "<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    ).format(caption=caption, kind=Markup(" data-sortable" if sortable else ""), head=head, body=body)


def _header(text: str, number: bool, sortable: bool) -> Markup:
    kind = Markup(' class="number"' if number else "")
    inside = Markup('<button type="button">{}</button>').format(text) if sortable else text
    return Markup('<th scope="col"{}>{}</th>').format(kind, inside)


def _line(line: Sequence[Cell], words: int) -> Markup:
    cells = []
    for place, (shown, key) in enumerate(line):
        if place == 0:
            cells.append(Markup('<th scope="row" data-key="{}">{}</th>').format(key, shown))
        else:
            kind = Markup(' class="number"' if place >= words else "")
            cells.append(Markup('<td data-key="{}"{}>{}</td>').format(key, kind, shown))
    return Markup("").join(cells)
