"""explain.html: what the analyses found on one page that opens without a network, on a phone too."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from PIL import Image

from selfstudy import files
from selfstudy.explain import Findings, Picture

SHOWN_ROWS = 20  # of a table; the CSV beside the page has all
STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfb; --ink: #1c1f24; --muted: #5d646e; --rule: #e2e2dc; --accent: #0b62a8; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14161a; --ink: #e8e9eb; --muted: #a0a7b1; --rule: #2e333a; --accent: #6cb4ee; }
}
* { box-sizing: border-box; }
html { font: 17px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
body { margin: 0 auto; max-width: 1000px; padding: 1rem clamp(1rem, 4vw, 2.5rem) 3rem; background: var(--paper); color: var(--ink); }
h1, h2 { line-height: 1.25; text-wrap: balance; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 0.3rem; }
p { max-width: 44rem; }
a { color: var(--accent); }
figure { margin: 0.8rem 0; }
figcaption, .muted { color: var(--muted); font-size: 0.9rem; max-width: 44rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
img { display: block; }
table { border-collapse: collapse; font-size: 0.82rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.15rem 0.9rem 0.15rem 0; border-bottom: 1px solid var(--rule); white-space: nowrap; }
"""


def write_page(folder: Path, encoder: str, images: str, findings: Mapping[str, Findings]) -> Path:
    """Write explain.html; its path."""
    sections = "\n".join(_section(name, found) for name, found in findings.items())
    entries = "".join(f'<li><a href="#{name}">{_title(name)}</a></li>' for name in findings)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="selfstudy">
<title>{html.escape(encoder)}, explained</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>What {html.escape(encoder)} makes of {html.escape(images)}</h1>
<nav aria-label="Contents"><ul>{entries}</ul></nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""
    path = folder / "explain.html"
    files.write_text(path, page)
    return path


def _title(name: str) -> str:
    return html.escape(name.replace("_", " ").capitalize())


def _section(name: str, found: Findings) -> str:
    pictures = "\n".join(_figure(picture) for picture in found.pictures.values())
    return f"""<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{_title(name)}</h2>
<p>{html.escape(found.sentence)}</p>
{pictures}
{_table(name, found.table)}
</section>"""


def _figure(picture: Picture) -> str:
    content = io.BytesIO()
    Image.fromarray(picture.pixels).save(content, format="PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    height, width = picture.pixels.shape[:2]
    return (
        f'<figure><div class="scroll" tabindex="0"><img src="{address}" alt="{html.escape(picture.alternative)}" '
        f'width="{width}" height="{height}" loading="lazy"></div>'
        f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
    )


def _table(name: str, table: pd.DataFrame) -> str:
    if not len(table):
        return ""
    short = table.head(SHOWN_ROWS).copy()
    for column in short.columns:
        if column == "id":
            short[column] = short[column].astype(str).str[:12]
    body = short.to_html(index=False, border=0, float_format="{:.3f}".format, escape=True, na_rep="")
    whole = f"All {len(table):,} lines are" if len(table) > len(short) else "The same table is"
    return (
        f'<details><summary>Numbers</summary><div class="scroll" tabindex="0">{body}</div>'
        f'<p class="muted">{whole} in <a href="{name}.csv">{name}.csv</a>.</p></details>'
    )
