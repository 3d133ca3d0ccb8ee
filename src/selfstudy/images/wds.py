"""wds: WebDataset shards, tar files in which `KEY.jpg` and `KEY.cls` are one sample; local, or fetched once from anywhere.

Source  Aizman, Maltby, Breuel, arXiv:2001.01858, and the library webdataset, which says what a pattern means and opens it.
How     A shard is indexed once by the headers of its members; a picture is then read from its place when it is wanted.
Stream  What no store can hold is decoded each time it is wanted, and of shards of elsewhere only some lie on the disk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.errors import UserError, nearest
from selfstudy.images._decode import SUFFIXES
from selfstudy.images._file import Encoded
from selfstudy.images._imageset import Skipped
from selfstudy.images._index import remember, remembered
from selfstudy.images._names import class_name, printable
from selfstudy.images._shards import grouped, local_shards, members_of, places_of
from selfstudy.images._shelf import Shelf
from selfstudy.images._source import Listing, Source
from selfstudy.images._stream import Streamed

_DISK_GB = 100.0  # a hundred shards of the size that webdataset's makers advise


@dataclass(slots=True)
class _Samples:
    """What shards hold. Row i of each list is picture i."""

    pictures: list[Encoded] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)  # keys of samples that have no picture
    kinds: list[str] = field(default_factory=list)  # of members, for the message


@dataclass(frozen=True, kw_only=True)
class Wds(Source):
    """`wds:/data/bags-{000..099}.tar`, `wds:https://…/bags-{000..099}.tar` or `wds:pipe:COMMAND …`.

    Remote shards are fetched into the user's cache; a COMMAND is run by the shell. Members are named by what follows the first dot of their file name.
    """

    argument: ClassVar[str] = "PATTERN"

    wds: str
    test: str = ""  # a pattern of the shards of the test part
    image: str = ""  # the member that is the picture; empty: the only one that is named like a picture
    label: str = "cls"  # the member that holds the class as text, or a field of it: json:kind
    stream: bool = False  # true: nothing is stored, pictures are decoded each time; for sets that no disk holds
    disk_gb: Annotated[float, Field(gt=0)] = _DISK_GB  # of remote shards that lie on the disk while they are streamed

    def __post_init__(self) -> None:
        if self.disk_gb != _DISK_GB and not self.stream:
            raise ValueError(
                f"disk_gb is {self.disk_gb:g}, but only streamed shards leave the disk again: add stream: true"
            )

    def listing(self, labelled: bool) -> Listing:
        listing, kinds = self._streamed(labelled) if self.stream else self._stored(labelled)
        if not listing.pictures:
            raise UserError(
                f"the shards {printable(self.wds)} hold no pictures, but the members {', '.join(sorted(kinds))}"
            )
        if labelled and not any(listing.labels):
            name = self.label.partition(":")[0]
            known = "" if name in kinds else nearest(name, kinds)
            raise UserError(
                f'no sample of {printable(self.wds)} has a label in "{printable(self.label)}" (label).{known}'
            )
        return listing

    def _stored(self, labelled: bool) -> tuple[Listing, set[str]]:
        pictures, labels, parts = list[Encoded](), list[str](), list[str]()
        skipped, kinds = list[Skipped](), set[str]()
        for pattern, part in self._patterns:
            for shard in local_shards(pattern):
                found = self._samples(shard, members_of(shard), labelled)
                pictures += found.pictures
                labels += found.labels
                parts += [part] * len(found.pictures)
                skipped += _skipped(shard, found.without)
                kinds |= set(found.kinds)
        return self._listing(pictures, labels, parts, skipped), kinds

    def _streamed(self, labelled: bool) -> tuple[Listing, set[str]]:
        places = [(place, part) for pattern, part in self._patterns for place in places_of(pattern)]
        shelf = Shelf.open(places, round(self.disk_gb * 1e9))
        rows, labels, parts = list[Mapping[str, list]](), list[str](), list[str]()
        skipped, kinds = list[Skipped](), set[str]()
        for number, shard in enumerate(shelf.shards):
            # Labels lie in the shards, which may be far away: what was found is remembered with them.
            identity = f"rows {shard.identity} {shard.digest} {self.image} {self.label if labelled else ''}"
            found = remembered(identity)
            if found is None:
                found = self._rows(shelf, number, labelled)
                remember(identity, found)
            rows.append(found)
            labels += found["labels"]
            parts += [shard.part] * len(found["names"])
            skipped += _skipped(shard.place, found["without"])
            kinds |= set(found["kinds"])
        return self._listing(Streamed.of(shelf, rows), labels, parts, skipped), kinds

    def _listing(
        self, pictures: list[Encoded] | Streamed, labels: list[str], parts: list[str], skipped: list[Skipped]
    ) -> Listing:
        return Listing(pictures=pictures, labels=labels or (), parts=parts if self.test else (), skipped=skipped)

    def _rows(self, shelf: Shelf, number: int, labelled: bool) -> dict[str, list]:
        """What is remembered of a shard: of each picture its member with its first byte and size, and its label."""
        members = grouped(shelf.index(number).members, shelf.shards[number].place)

        def encoded(name: str, offset: int, size: int) -> Encoded:
            return Encoded(printable(name), "", partial(shelf.read, number, offset, size), (offset, size))

        samples = {key: {kind: encoded(*member) for kind, member in kinds.items()} for key, kinds in members.items()}
        found = self._samples(shelf.shards[number].place, samples, labelled)
        return {
            "names": [picture.name for picture in found.pictures],
            "offsets": [picture.place[0] for picture in found.pictures],
            "sizes": [picture.place[1] for picture in found.pictures],
            "labels": found.labels,
            "without": found.without,
            "kinds": found.kinds,
        }

    @property
    def _patterns(self) -> list[tuple[str, str]]:
        return [(pattern, part) for pattern, part in ((self.wds, "train"), (self.test, "test")) if pattern]

    def _samples(self, shard: Path | str, samples: Mapping[str, Mapping[str, Encoded]], labelled: bool) -> _Samples:
        found, kinds = _Samples(), set[str]()
        for key, members in samples.items():
            kinds |= members.keys()
            picture = self._picture(shard, key, members)
            if picture is None:
                found.without.append(key)
                continue
            found.pictures.append(picture)
            if labelled:
                found.labels.append(self._label(members))
        found.kinds = sorted(kinds)
        return found

    def _picture(self, shard: Path | str, key: str, members: Mapping[str, Encoded]) -> Encoded | None:
        if self.image:
            return members.get(self.image)
        found = [kind for kind in members if f".{kind.rpartition('.')[2].lower()}" in SUFFIXES]
        if len(found) > 1:
            kinds = " and ".join(sorted(found))
            raise UserError(f"{printable(shard)}/{key} has the pictures {kinds}: say which with the setting image")
        return members[found[0]] if found else None

    def _label(self, members: Mapping[str, Encoded]) -> str:
        kind, colon, field = self.label.partition(":")
        if kind not in members:
            return ""
        text = members[kind].read().decode("utf-8", "replace").strip()
        return class_name(_field(text, field, members[kind]) if colon or kind.endswith("json") else text)


def _skipped(shard: Path | str, keys: Iterable[str]) -> list[Skipped]:
    return [Skipped(f"{printable(shard)}/{key}", "has no picture among its members") for key in keys]


def _field(text: str, field: str, member: Encoded) -> str:
    """A field of a JSON object as text, "" where it is missing or null."""
    import json

    place = printable(member.name)
    try:
        found = json.loads(text)
    except ValueError:
        raise UserError(f"{place} is no JSON: make the shard again") from None
    if not isinstance(found, dict) or not field:
        fields: Sequence[str] = sorted(map(str, found)) if isinstance(found, dict) else []
        raise UserError(
            f"{place} holds the fields {', '.join(fields)}: name one, such as label: json:{(fields or ['label'])[0]}"
        )
    value = found.get(field)
    return "" if value is None else str(value)
