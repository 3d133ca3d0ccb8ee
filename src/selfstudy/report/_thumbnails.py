"""The thumbnails of a study's test images, once on the page; maps point into them."""

from collections.abc import Mapping
from dataclasses import dataclass

from selfstudy.report._pictures import data_address
from selfstudy.study._record import StudyRecord, read_json
from selfstudy.study.thumbnails import PLACES, SHEET

SHOWN_PIXELS = 96  # a side of the thumbnail beside the pointer


@dataclass(frozen=True)
class Thumbnails:
    """A sheet of equal squares, in lines of `columns`."""

    address: str  # of the sheet, as a data URI
    side: int  # pixels, as shown
    columns: int
    lines: int


def places(record: StudyRecord) -> Mapping[str, int]:
    """Where on the sheet an image is, by its id; nothing where the study has no sheet."""
    if not (record.folder / PLACES).is_file() or not (record.folder / SHEET).is_file():
        return {}
    ids = read_json(record.folder / PLACES).get("ids", [])
    assert isinstance(ids, list)
    return {str(name): place for place, name in enumerate(ids)}


def sheet(record: StudyRecord) -> Thumbnails | None:
    """The sheet of a study; None if it has none."""
    count = len(places(record))
    if not count:
        return None
    columns = int(str(read_json(record.folder / PLACES)["columns"]))
    content = (record.folder / SHEET).read_bytes()
    return Thumbnails(data_address(content, "image/jpeg"), SHOWN_PIXELS, columns, -(-count // columns))
