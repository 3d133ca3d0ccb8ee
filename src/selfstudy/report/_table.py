"""Tables: HTML that scrolls in its own box and, where asked for, is sorted and filtered by page.js; CSV; LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from selfstudy.report._phrases import typeset

Cell = tuple[str, float | str]  # what is shown, and what is sorted by; a number is what the CSV holds
TALL = 40  # lines, above which a table scrolls in a box of its own height; paper shows all of them
NOT_KNOWN: Cell = ("\N{EN DASH}", -1.0)

LATEX = {  # characters that mean something to TeX
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "\N{EN DASH}": "--", "\N{NO-BREAK SPACE}": "~", "\N{PLUS-MINUS SIGN}": r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first `words` columns hold words, the others numbers. The first column names its line."""

    caption: str
    headers: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    words: int
    sortable: bool = False
    csv_headers: Sequence[str] = ()  # where the CSV needs units that the page writes beside its numbers

    def html(self) -> Markup:
        """Everything is escaped."""
        head = Markup("").join(self._header(text, place >= self.words) for place, text in enumerate(self.headers))
        body = Markup("\n").join(Markup("<tr>{}</tr>").format(self._line(line)) for line in self.lines)
        return Markup(
            '<div class="scroll{tall}" tabindex="0" role="region" aria-label="{caption}"><table{kind}><caption class="unseen">{caption}</caption>'
            "<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
        ).format(
            caption=typeset(self.caption), kind=Markup(" data-sortable" if self.sortable else ""), head=head, body=body,
            tall=" tall" if len(self.lines) > TALL else "",
        )  # fmt: skip

    def csv(self) -> str:
        """Words as they are shown, numbers with all their digits, nothing where nothing is known."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.csv_headers or self.headers)
        for line in self.lines:
            writer.writerow([
                "" if cell == NOT_KNOWN else cell[1] if place >= self.words and isinstance(cell[1], float | int) else cell[0]
                for place, cell in enumerate(line)
            ])  # fmt: skip
        return text.getvalue()

    def latex(self) -> str:
        r"""A tabular with the rules of the package booktabs: \usepackage{booktabs}."""
        columns = "".join("l" if place < self.words else "r" for place in range(len(self.headers)))
        lines = [" & ".join(_tex(shown) for shown, _ in line) + r" \\" for line in self.lines]
        return "\n".join([
            f"% {' '.join(self.caption.split())}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
            " & ".join(map(_tex, self.headers)) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", "",
        ])  # fmt: skip

    def _header(self, text: str, number: bool) -> Markup:
        kind = Markup(' class="number"' if number else "")
        words = typeset(text)
        inside = Markup('<button type="button">{}</button>').format(words) if self.sortable else words
        return Markup('<th scope="col"{}>{}</th>').format(kind, inside)

    def _line(self, line: Sequence[Cell]) -> Markup:
        cells = []
        for place, (text, key) in enumerate(line):
            shown = typeset(text)
            if place == 0:
                cells.append(Markup('<th scope="row" data-key="{}">{}</th>').format(key, shown))
            else:
                kind = Markup(' class="number"' if place >= self.words else "")
                cells.append(Markup('<td data-key="{}"{}>{}</td>').format(key, kind, shown))
        return Markup("").join(cells)


def percent(value: float, decimals: int = 1) -> Cell:
    """A share as per cent, without the sign: the heading or the caption says it."""
    return NOT_KNOWN if value != value else (f"{100 * value:.{decimals}f}", float(value))


def _tex(text: str) -> str:
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found.group()], text)
