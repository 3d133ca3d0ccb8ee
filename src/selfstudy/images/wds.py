"""wds: WebDataset shards, tar files in which `KEY.jpg` and `KEY.cls` are one sample; local, or fetched once from anywhere.

Source  Aizman, Maltby, Breuel, arXiv:2001.01858, and the library webdataset, which says what a pattern means and opens it.
How     A shard is indexed once by the headers of its members; a picture is then read from its place when it is wanted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selfstudy.errors import UserError, nearest
from selfstudy.images._decode import SUFFIXES
from selfstudy.images._imageset import Skipped
from selfstudy.images._shards import local_shards, members_of
from selfstudy.images._source import Encoded, Listing, Source, class_name, printable


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

    def listing(self, labelled: bool) -> Listing:
        pictures, labels, parts = list[Encoded](), list[str](), list[str]()
        skipped = list[Skipped]()
        kinds = set[str]()  # of members, for the message
        for pattern, part in ((self.wds, "train"), (self.test, "test")):
            for shard in local_shards(pattern) if pattern else ():
                before = len(pictures)
                for key, members in members_of(shard).items():
                    kinds |= members.keys()
                    picture = self._picture(shard, key, members)
                    if picture is None:
                        skipped.append(Skipped(f"{printable(shard)}/{key}", "has no picture among its members"))
                        continue
                    pictures.append(picture)
                    labels.append(self._label(members) if labelled else "")
                parts += [part] * (len(pictures) - before)
        if not pictures:
            raise UserError(
                f"the shards {printable(self.wds)} hold no pictures, but the members {', '.join(sorted(kinds))}"
            )
        if labelled and not any(labels):
            name = self.label.partition(":")[0]
            known = "" if name in kinds else nearest(name, kinds)
            raise UserError(
                f'no sample of {printable(self.wds)} has a label in "{printable(self.label)}" (label).{known}'
            )
        return Listing(
            pictures=pictures,
            labels=labels if labelled else (),
            parts=parts if self.test else (),
            skipped=skipped,
        )

    def _picture(self, shard: Path, key: str, members: Mapping[str, Encoded]) -> Encoded | None:
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
