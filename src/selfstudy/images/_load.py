"""load: from what a user writes as a data source to an ImageSet."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack, get_args

import numpy as np
import torch
from pydantic import Field

from selfstudy import catalog, config
from selfstudy.encoder import Fit, Tiles
from selfstudy.errors import UserError, nearest
from selfstudy.images import _copies, _decode, _levels, _store
from selfstudy.images._colours import Unusable
from selfstudy.images._file import File
from selfstudy.images._imageset import ImageSet, Skipped
from selfstudy.images._names import expand, natural_order, printable
from selfstudy.images._source import Listing, Source
from selfstudy.images._squares import Recipe, to_common_size
from selfstudy.images._stream import Damage, Streamed, StreamedPixels
from selfstudy.progress import Progress
from selfstudy.types import Pixels

Levels = Literal["percentiles", "full"] | tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How pictures become rows of one size. The names are the ones users type."""

    image_size: Annotated[int, Field(ge=1)] = 64  # pixels a side: shapes are seen, ResNets keep their small stem
    fit: Fit = "crop"  # how a picture that is not square becomes square
    tiles: Tiles | None = None  # how pages are cut; None: a picture is looked at as a whole
    channels: Annotated[int, Field(ge=0)] = 0  # 0: grey if every picture is, else colour
    levels: Levels = "percentiles"  # what becomes black and white above 8 bits; full: the whole range of the type
    near_duplicates: bool = True  # whether pictures that are one picture, saved twice, share a group
    most_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05  # share of files; above it loading stops


class ReadingOptions(TypedDict, total=False):
    """The fields of Reading, where they are explained."""

    image_size: int
    fit: Fit
    tiles: Tiles | Mapping[str, object] | None
    channels: int
    levels: Levels
    near_duplicates: bool
    most_unreadable: float


def load(
    source: str | Path | Mapping[str, object],
    *,
    labelled: bool = False,
    progress: Progress | None = None,
    **options: Unpack[ReadingOptions],
) -> ImageSet:
    """Read a named set, a folder, `NAME:PATH` or the settings of a source, such as {table: FILE, label: Kind}.

    Pictures are stored square at up to 1.15 x the image size, those of files in the store on the disk. An id is the hash of
    the file's bytes (or of the array), so neither path nor image size decides it; exact copies get a suffix and share their
    group, as do near-duplicates where the source may have some. Files that cannot be read are in `.skipped`. Of streamed
    pictures a sample is read; their ids are places, and `.skipped` grows while others are read. Raises UserError if the share
    of unreadable files is above `most_unreadable`, and for any mistake in the source.
    """
    reading = _reading(options)
    progress = progress or Progress(quiet=True)
    name = printable(
        f"{_word(source)}:{source[_word(source)] or ''}".rstrip(":") if isinstance(source, Mapping) else source
    )
    listing = find(source).listing(labelled)
    if labelled and not any(listing.labels) and listing.marks is None:
        raise UserError(f"{name} has no labels")
    pictures = listing.pictures(reading.image_size) if callable(listing.pictures) else listing.pictures
    recipe = Recipe(
        most=_decode.largest_side(reading.image_size), fit=reading.fit, tiles=reading.tiles, channels=reading.channels
    )
    if isinstance(pictures, Streamed):
        return _streamed(name, pictures, listing, reading, recipe, labelled, progress)
    if isinstance(pictures, np.ndarray):
        found = _from_arrays(name, pictures, recipe, reading)
    else:
        recipe = replace(recipe, levels=_levels_for(pictures, listing.parts, reading))
        found = _from_files(pictures, recipe, reading, progress)
    skipped = [*listing.skipped, *found.skipped]
    _check_readable(name, len(found.contents), skipped, reading.most_unreadable)
    return _assemble(name, found, listing, reading, recipe.levels, labelled, skipped)


def _reading(options: ReadingOptions) -> Reading:
    if options.get("image_size", 1) < 1:
        raise UserError(f"image_size is {options['image_size']}, but must be at least 1 pixel")
    if "fit" in options and options["fit"] not in get_args(Fit):
        raise UserError(f'there is no fit "{options["fit"]}".{nearest(str(options["fit"]), get_args(Fit))}')
    return config.validate(Reading, options, "images")


@dataclass(frozen=True, eq=False)
class _Found:
    """Rows that could be read, in the order of the source."""

    contents: Sequence[str]
    tiles: Sequence[int]
    entries: np.ndarray  # int64: the position in the listing
    names: Sequence[str]
    pixels: Pixels
    looks: np.ndarray | None
    skipped: Sequence[Skipped] = ()


def _from_arrays(name: str, arrays: np.ndarray, recipe: Recipe, reading: Reading) -> _Found:
    if recipe.tiles is not None:
        raise UserError(
            f"tiles are cut from files of pages, but {name} holds pictures of {arrays.shape[1]} pixels a side"
        )
    try:
        read = _decode.from_arrays(arrays, recipe)
    except Unusable as error:
        raise UserError(f"{name} {error}") from None
    return _Found(
        contents=[content for content, _ in read], tiles=[0] * len(read), entries=np.arange(len(read)),
        names=[f"{name}/{position}" for position in range(len(read))],
        pixels=to_common_size([picture for _, picture in read], reading.image_size), looks=None,
    )  # fmt: skip


def _from_files(files: Sequence[File], recipe: Recipe, reading: Reading, progress: Progress) -> _Found:
    if not files:
        return _Found([], [], np.empty(0, dtype=np.int64), [], torch.empty(0), None)
    with _store.Store(recipe, _store.place()) as store:
        read = store.read(files, progress)
        rows = [(row, entry) for entry, rows in enumerate(read) if not isinstance(rows, Skipped) for row in rows]
        pixels = store.pixels([row for row, _ in rows], reading.image_size) if rows else torch.empty(0)
    return _Found(
        contents=[row.content for row, _ in rows], tiles=[row.tile for row, _ in rows],
        entries=np.array([entry for _, entry in rows], dtype=np.int64),
        names=[_decode.name_of(files[entry]) for _, entry in rows],
        pixels=pixels, looks=np.array([row.look for row, _ in rows], dtype=np.int64),
        skipped=[rows for rows in read if isinstance(rows, Skipped)],
    )  # fmt: skip


def _levels_for(files: Sequence[File], parts: Sequence[str], reading: Reading) -> tuple[tuple[float, float], ...]:
    match reading.levels:
        case "full":
            return ()
        case "percentiles":
            return _levels.measure(files, parts, reading.channels) if files else ()
        case levels:
            return levels


def _streamed(
    name: str,
    source: Streamed,
    listing: Listing,
    reading: Reading,
    recipe: Recipe,
    labelled: bool,
    progress: Progress,
) -> ImageSet:
    """Rows in the order of their shards, whose order follows from what is in them. A sample of the pictures is read."""
    if reading.tiles is not None:
        raise UserError(f"tiles are cut when pictures are stored, but {name} is streamed: leave out tiles or stream")
    parts = np.array(listing.parts) if len(listing.parts) else None
    known = source.sample(np.arange(len(source)) if parts is None else np.flatnonzero(parts != "test"))
    recipe = replace(recipe, levels=_levels_for([source.file(row) for row in known.tolist()], (), reading))
    skipped = list(listing.skipped)  # which grows
    pixels = StreamedPixels.open(source, recipe, Damage(name, reading.most_unreadable, labelled, skipped))
    shelf, channels = source.shelf, "grey" if pixels.kind == 1 else f"of {pixels.kind} channels"
    gigabytes = f"{shelf.num_bytes / 1e9:,.3g} GB"
    progress.say(f"{name}: {len(source):,} pictures are streamed from {len(shelf.shards):,} shards ({gigabytes})")
    note = (
        f"The pictures of {name} are streamed and known by their places in shards, so near-duplicates, and copies in other "
        f"sets, are not looked for; by a sample of them they are taken to be {channels}."
    )
    images = ImageSet(
        name=name, images=pixels, image_size=reading.image_size, ids=source.ids, groups=source.contents, paths=source.names,
        parts=parts, shards=source.shards, fit=reading.fit, levels=recipe.levels, notes=(note,), skipped=skipped,
        ignored=listing.ignored,
    )  # fmt: skip
    return _with_labels(images, listing, listing.labels, np.arange(len(source))) if labelled else images


def find(source: str | Path | Mapping[str, object]) -> Source:
    """The source a user means; a named set wins over a folder of its name. Raises UserError with the nearest name."""
    known = catalog.names("images")
    if isinstance(source, Mapping):
        return _make(_word(source), source)
    text = str(source)
    word, colon, place = text.partition(":")
    if isinstance(source, str) and word in known:
        return _make(word, {word: place} if colon else {})
    if not text.strip():
        raise UserError(f"data is empty.{nearest(text, known)}")
    if text.startswith("{"):
        raise UserError(
            f'{printable(text)} cannot be read as settings: put what holds braces or commas into quotes, as in {{wds: "PATTERN"}}'
        )
    path = expand(text)
    if os.path.isdir(path):  # unlike Path.is_dir it bears names too long for the system
        return _make("folder", {"folder": path})
    if os.path.isfile(path):
        raise UserError(f"{printable(text)} is a file: for a table write table:FILE, for pictures give their folder")
    if isinstance(source, Path) or text.startswith(("~", ".")) or any(mark in text for mark in "/\\"):
        raise UserError(f"the folder {printable(text)} does not exist")
    raise UserError(f'there is no data source and no folder "{printable(text)}".{nearest(word, known)}')


def _word(source: Mapping[str, object]) -> str:
    """The one key of the settings that names the source."""
    known = catalog.names("images")
    words = [key for key in source if key in known]
    if len(words) != 1:
        keys = ", ".join(map(str, source))
        raise UserError(f"data has the settings {keys}, but must name exactly one source: {', '.join(known)}")
    return words[0]


def _make(word: str, settings: Mapping[str, object]) -> Source:
    kind = catalog.find("images", word, Source)
    place = kind.__dataclass_fields__.get(word)  # type: ignore[attr-defined]
    if place is not None and place.default is MISSING and not settings.get(word):
        raise UserError(f"{word} needs a {kind.argument.lower()}: write {word}:{kind.argument}")
    if place is None and settings.get(word):
        raise UserError(f"{word} comes with selfstudy and takes no path: write {word}")
    if not settings.get(word):
        settings = {key: value for key, value in settings.items() if key != word}
    return config.validate(kind, settings, "data")


def _check_readable(name: str, num_read: int, skipped: list[Skipped], most_unreadable: float) -> None:
    total = num_read + len(skipped)
    if total == 0:
        raise UserError(f"{name} lists no pictures")
    first = f"; the first: {skipped[0].path} {skipped[0].reason}" if skipped else ""
    if num_read == 0:
        raise UserError(f"none of the {total} pictures of {name} can be read{first}")
    if len(skipped) > most_unreadable * total:
        raise UserError(
            f"{len(skipped)} of the {total} pictures of {name} cannot be read, "
            f"more than most_unreadable={most_unreadable} allows{first}"
        )


def _assemble(
    name: str,
    found: _Found,
    listing: Listing,
    reading: Reading,
    levels: tuple[tuple[float, float], ...],
    labelled: bool,
    skipped: list[Skipped],
) -> ImageSet:
    """Rows in the order of their content: renaming files changes nothing. Names only tell equal rows apart."""
    entries = found.entries.tolist()
    groups, parts, labels = (
        [field[entry] if len(field) else "" for entry in entries]
        for field in (listing.groups, listing.parts, listing.labels)
    )
    keys = list(zip(found.contents, found.tiles, groups, parts, labels, found.names, strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    positions = np.array(order, dtype=np.int64)
    images = ImageSet(
        name=name,
        images=found.pixels,
        image_size=reading.image_size,
        ids=np.array(found.contents),  # until they are made unique
        groups=np.array([group or content for group, content in zip(groups, found.contents, strict=True)]),
        paths=np.array(found.names),
        parts=np.array([part or "train" for part in parts]) if any(listing.parts) else None,
        pages=None if reading.tiles is None else np.array(found.contents),
        looks=found.looks if listing.has_copies else None,
        fit=reading.fit,
        tiles=reading.tiles,
        levels=levels,
        skipped=tuple(skipped),
        ignored=listing.ignored,
    ).select(positions)
    ids = _unique([keys[position][:2] for position in order], tiled=reading.tiles is not None)
    images = replace(images, ids=ids, folds=_folds(listing, ids, found.entries[positions]))
    if labelled:
        images = _with_labels(images, listing, [labels[position] for position in order], found.entries[positions])
    if reading.near_duplicates and images.looks is not None and not any(listing.groups):
        images = _with_copies_grouped(images)
    return images


def _unique(contents: Sequence[tuple[str, int]], tiled: bool) -> np.ndarray:
    """An id for every row: its content, the tile after a colon, and behind a hyphen which of several equal rows it is."""
    copies: Counter[str] = Counter()
    ids = []
    for content, tile in contents:
        name = f"{content}:{tile}" if tiled else content
        copies[name] += 1
        ids.append(name if copies[name] == 1 else f"{name}-{copies[name]}")
    return np.array(ids)


def _with_labels(images: ImageSet, listing: Listing, labels: Sequence[str], entries: np.ndarray) -> ImageSet:
    if listing.marks is not None:
        marks = torch.from_numpy(np.ascontiguousarray(listing.marks[entries], dtype=np.int8))
        return replace(images, labels=marks, classes=tuple(listing.attributes))
    classes = tuple(sorted({label for label in labels if label}, key=natural_order))
    if len(classes) < 2:
        found = f'only one class, "{classes[0]}"' if classes else "no readable picture with a label"
        raise UserError(f"{images.name} has {found}; two classes are needed")
    number = {label: position for position, label in enumerate(classes)}
    return replace(images, labels=torch.tensor([number.get(label, -1) for label in labels]), classes=classes)


def _folds(listing: Listing, ids: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(ids[np.isin(entries, np.asarray(fold, dtype=np.int64))] for fold in listing.folds)


def _with_copies_grouped(images: ImageSet) -> ImageSet:
    """Near-duplicates share a group, named by the first of their contents; pages by theirs."""
    assert images.looks is not None
    cluster = _copies.clusters(images.looks, images.images)
    if _copies.are_kin(cluster):
        note = (
            f"so many pictures of {images.name} look alike that near-duplicates cannot be told from kin: only exact copies are "
            "kept together; name a column of groups if there are any"
        )
        return replace(images, notes=(*images.notes, note))
    # Rows of one group (exact copies, tiles of a page) stay together whatever their cluster.
    groups, group = np.unique(images.groups, return_inverse=True)
    parent = list(range(len(groups)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first_of: dict[int, int] = {}
    for number, of_group in zip(cluster.tolist(), group.tolist(), strict=True):
        a, b = root(first_of.setdefault(number, of_group)), root(of_group)
        parent[max(a, b)] = min(a, b)
    return replace(images, groups=groups[[root(node) for node in group.tolist()]])
