"""The report of a study: one page that needs nothing but a browser. One figure per file of this folder."""

from pathlib import Path

from selfstudy import files
from selfstudy.report import _pair
from selfstudy.report._export import export
from selfstudy.report._page import page
from selfstudy.report._preview import preview_page
from selfstudy.report._shown import draw
from selfstudy.report._words import answer
from selfstudy.study._record import StudyRecord
from selfstudy.study.compare import summarise
from selfstudy.study.preview import Preview


def write(folder: Path, *, figures: bool = False) -> Path:
    """Write summary.json and report.html into a study folder, finished or not; the path of the page.

    With `figures` also figures/NAME.svg and .png and tables/NAME.csv and .tex, for a paper. Raises UserError if the folder
    holds no study or a damaged one.
    """
    record = StudyRecord.read(folder)
    summary = summarise(record)
    sentences = answer(summary)
    files.write_json(folder / "summary.json", {**summary, "answer": sentences})
    study, rows = draw(record, summary)
    files.write_text(folder / "report.html", page(record, summary, sentences, study, rows))
    if figures:
        export(folder, study, rows)
    return folder / "report.html"


def write_preview(preview: Preview, path: Path) -> Path:
    """Write the page of a preview; its path."""
    files.write_text(path, preview_page(preview))
    return path


def write_pair(a: Path, b: Path, path: Path | None = None) -> Path:
    """Write the page that holds two studies against each other, by default A/compare-B.html; its path.

    Raises UserError if one of the folders holds no study or a damaged one, or both are the same.
    """
    target = path or a / f"compare-{b.resolve().name}.html"
    files.write_text(target, _pair.page(a, b))
    return target
