"""The plan: a study's rows, seeds and draws as cells, each named by a hash of all that decides its result.

Equal content means equal hash, whatever a row is called and wherever its files lie, so nothing is computed twice.

Which seeds and draws: every encoder, which has a pretraining seed, meets every draw of the labels. A row that trains on its
labels from scratch does so once per draw, each time with another seed; where there is one draw, as with all labels, it
trains once per seed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from selfstudy import catalog, config
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import Protocol
from selfstudy.method import Method
from selfstudy.study.material import Material, own_source
from selfstudy.study.settings import Entry, Label, StudySettings
from selfstudy.training import RunSettings, resolve
from selfstudy.training.settings import SMALL_STEM_UP_TO
from selfstudy.types import DataCard
from selfstudy.views import parse, preset
from selfstudy.weights import PUBLISHED, checksum, published_facts

Content = Mapping[str, object]
STEMS = ("small", "imagenet")
PRETRAINED = "pretrained"  # the row of published weights


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """An encoder as it is before training."""

    backbone: str
    stem: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Published:
    """An encoder with published weights, as it was made: its own size, its own normalisation."""

    backbone: str
    weights: str  # timm, or a file


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A protocol and its settings; `start` is the encoder where no other cell makes it."""

    protocol: str
    config: object  # the protocol's Config
    start: Untrained | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One piece of work of the study, and the row that wants it. Cells of equal hash are done once."""

    hash: str
    kind: Literal["pretrain", "evaluate"]
    entry: str
    method: str
    backbone: str
    unlabelled: float
    seed: int
    round: int  # rounds are run in order, so that every row has a first result before any has its second
    work: RunSettings | Untrained | Published | Evaluation
    needs: str = ""  # hash of the cell that makes the encoder
    protocol: str = ""
    labels: Label = ""
    draw: int = 0
    source: str = ""  # of the images, where the row is pretrained on others than the study's

    def to_json(self) -> dict[str, object]:
        """A line of plan.json, and of the cell's own folder."""
        return {name: value for name, value in vars(self).items() if name not in ("work", "round")}


def plan(settings: StudySettings, material: Material) -> list[Cell]:
    """All cells of a study in the order in which they are to be run. Pure; computes nothing but hashes.

    Raises UserError for settings that no method or protocol knows, and for labels that are not there.
    """
    drawn = {
        (label, draw): material.drawn_content(label, draw)
        for label in settings.labels
        for draw in range(settings.num_draws(label))
    }
    pools = {}
    for fraction in {1.0, *settings.unlabelled}:
        rows = material.pool_rows(fraction)
        pools[fraction] = _Pool(len(rows), material.pool_content(rows))
    planner = _Planner(settings, material, drawn, pools)
    cells = [cell for entry in settings.entries for cell in planner.cells(entry)]
    return sorted(cells, key=lambda cell: cell.round)


def hash_of(content: Content) -> str:
    """16 hexadecimal digits of canonical JSON: sorted keys, no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def default_stem(image_size: int) -> str:
    """The stem of an encoder for which none is asked: the one that `resolve` gives methods."""
    return "small" if image_size <= SMALL_STEM_UP_TO else "imagenet"


@dataclass(frozen=True)
class _Pool:
    num_images: int
    content: str


@dataclass(frozen=True)
class _Planner:
    settings: StudySettings
    material: Material
    drawn: Mapping[tuple[Label, int], str]  # content of the labelled rows of each draw
    pools: Mapping[float, _Pool]  # by fraction of the unlabelled images

    def cells(self, entry: Entry) -> Iterator[Cell]:
        match entry.method:
            case "majority":
                _refuse(entry, entry.overrides)
                yield from self._judged(entry, "majority", backbone="none")
            case "random":
                yield from self._random(entry)
            case "supervised":
                yield from self._supervised(entry)
            case "pretrained":
                yield from self._published(entry)
            case _:
                yield from self._learned(entry)

    def _random(self, entry: Entry) -> Iterator[Cell]:
        start, rest = self._start(entry)
        _refuse(entry, rest)
        for seed in range(self.settings.seeds):
            encoder = Untrained(**start, seed=seed)
            cell = Cell(
                hash=hash_of(self._untrained_content(encoder)), kind="pretrain", entry=entry.name, method="random",
                backbone=encoder.backbone, unlabelled=1.0, seed=seed, round=seed, work=encoder,
            )  # fmt: skip
            yield from self._with_evaluations(entry, cell)

    def _published(self, entry: Entry) -> Iterator[Cell]:
        """One encoder: published weights have no seed of ours."""
        rest = dict(entry.overrides)
        if "backbone" not in rest:
            raise UserError(f"methods: {entry.name}: name the timm model with `pretrained: {{backbone: ...}}`")
        work = Published(backbone=str(rest.pop("backbone")), weights=str(rest.pop("weights", PUBLISHED)))
        _refuse(entry, rest)
        published_facts(work.backbone)  # an unknown name is refused before anything is computed
        content = {"kind": "published", "backbone": work.backbone, "weights": _weights(work.weights, work.backbone)}
        cell = Cell(
            hash=hash_of({**content, "channels": self.material.images.channels}), kind="pretrain", entry=entry.name,
            method=PRETRAINED, backbone=work.backbone, unlabelled=1.0, seed=0, round=0, work=work,
        )  # fmt: skip
        yield from self._with_evaluations(entry, cell)

    def _supervised(self, entry: Entry) -> Iterator[Cell]:
        start, rest = self._start(entry)
        evaluation = self._evaluation("finetune", rest, f"methods: {entry.name}")
        yield from self._judged(entry, "finetune", backbone=start["backbone"], evaluation=evaluation, start=start)

    def _learned(self, entry: Entry) -> Iterator[Cell]:
        code = _code("methods", entry.method, Method)
        source = own_source(entry.overrides)
        for seed in range(self.settings.seeds):
            for fraction in (1.0,) if source else self.settings.unlabelled:
                pool = self.pools[fraction]
                if source:
                    pool = _Pool(len(self.material.others[source]), self.material.other_content(source))
                run = self._run_settings(entry, seed, pool.num_images)
                written = {**run.to_json(), "method": Path(entry.method).stem, "init": _weights(run.init, run.backbone)}
                content = {"kind": "pretrain", "settings": _by_content(written), "code": code, "images": pool.content}
                cell = Cell(
                    hash=hash_of(content), kind="pretrain", entry=entry.name, method=Path(entry.method).stem,
                    backbone=run.backbone, unlabelled=fraction, seed=seed, round=seed, work=run, source=source,
                )  # fmt: skip
                yield from self._with_evaluations(entry, cell)

    def _with_evaluations(self, entry: Entry, encoder: Cell) -> Iterator[Cell]:
        yield encoder
        for protocol in self.settings.protocols:
            yield from self._judged(entry, protocol, backbone=encoder.backbone, encoder=encoder)

    def _judged(
        self, entry: Entry, protocol: str, *, backbone: str, evaluation: Evaluation | None = None,
        encoder: Cell | None = None, start: Mapping[str, str] | None = None,
    ) -> Iterator[Cell]:  # fmt: skip
        """The evaluations of an entry, or of one of its encoders, by one protocol: every label count, every draw."""
        evaluation = evaluation or self._evaluation(
            protocol, self.settings.evaluation.get(protocol, {}), f"evaluation: {protocol}"
        )
        kind = catalog.find("evaluation", protocol, Protocol)
        for label in self.settings.labels:
            for seed, draw in self._design(kind.needs, self.settings.num_draws(label), encoder):
                begin = None if start is None else Untrained(backbone=start["backbone"], stem=start["stem"], seed=seed)
                content = {
                    "kind": "evaluate", "protocol": Path(protocol).stem, "code": _code("evaluation", protocol, Protocol),
                    "config": _by_content(asdict(evaluation.config)), "seed": seed,  # type: ignore[call-overload]
                    "encoder": encoder.hash if encoder else self._untrained_content(begin) if begin else "none",
                    "train": self.drawn[label, draw], "test": self.material.test_content,
                    "standardised_over": self.material.train_content if kind.needs == "features" else "none",
                }  # fmt: skip
                yield Cell(
                    hash=hash_of(content), kind="evaluate", entry=entry.name, method=Path(entry.method).stem, backbone=backbone,
                    unlabelled=encoder.unlabelled if encoder else 1.0, seed=seed,
                    round=encoder.round if encoder else seed,
                    work=Evaluation(protocol=protocol, config=evaluation.config, start=begin),
                    needs=encoder.hash if encoder else "", protocol=Path(protocol).stem, labels=label, draw=draw,
                )  # fmt: skip

    def _design(self, needs: str, num_draws: int, encoder: Cell | None) -> list[tuple[int, int]]:
        """(seed, draw) of the evaluations of one encoder, or of a row without one: see the top of this file."""
        if encoder is not None or needs == "labels":
            return [(encoder.seed if encoder else 0, draw) for draw in range(num_draws)]
        if num_draws == 1:
            return [(seed, 0) for seed in range(self.settings.seeds)]
        return [(draw, draw) for draw in range(num_draws)]

    def _run_settings(self, entry: Entry, seed: int, num_images: int) -> RunSettings:
        """A method's settings. On a fraction of the images it sees as many images as on all of them."""
        place = f"methods: {entry.name}"
        if "seed" in entry.overrides:
            raise UserError(
                f"{place}: seed cannot be set for one row; `seeds: N` trains every row with seeds 0 to N - 1"
            )
        shared: dict[str, object] = {"backbone": self.settings.first_backbone, "on_collapse": self.settings.on_collapse}
        if not any(key in entry.overrides for key in ("epochs", "images_seen")):
            shared |= dict(self.settings.budget.items())
        if self.settings.views:
            shared["views"] = self.settings.views
        overrides = {**shared, **{key: value for key, value in entry.overrides.items() if key != "data"}, "seed": seed}
        whole = resolve(entry.method, overrides, self._card(len(self.material.pool)), place)
        if num_images == len(self.material.pool):
            return whole
        alike = {key: value for key, value in overrides.items() if key != "epochs"}
        warmup = whole.warmup_epochs * len(self.material.pool) / num_images
        return resolve(
            entry.method,
            {**alike, "images_seen": whole.images_seen, "warmup_epochs": warmup},
            self._card(num_images),
            place,
        )

    def _card(self, num_images: int) -> DataCard:
        return DataCard(
            num_images=num_images, channels=self.material.pool.channels, image_size=self.settings.image_size
        )

    def _evaluation(self, protocol: str, overrides: Mapping[str, object], place: str) -> Evaluation:
        """A protocol's settings: the study's metric and views where it has a use for them, and the row's own."""
        kind = catalog.find("evaluation", protocol, Protocol).Config
        known = [f.name for f in fields(kind)]
        views = self.settings.views.get("base", ()) if isinstance(self.settings.views, Mapping) else self.settings.views
        study = {"metric": self.settings.metric, **({"views": views} if views else {})}
        values = {key: value for key, value in study.items() if key in known} | dict(overrides)
        if "views" in known:
            self._refuse_views(values.get("views", "photo"), place)
        return Evaluation(protocol=protocol, config=config.validate(kind, values, place))

    def _refuse_views(self, views: object, place: str) -> None:
        """Operations that make no sense for images of so many channels."""
        entries = preset(views, place) if isinstance(views, str) else views
        for operation in parse(entries, f"{place}: views") if isinstance(entries, list | tuple) else ():
            if reason := operation.refusal(self.material.pool.channels):
                raise UserError(
                    f"{place}: views: {operation.name} cannot be used: {reason}; `views: microscopy` replaces all"
                )

    def _start(self, entry: Entry) -> tuple[dict[str, str], dict[str, object]]:
        """Which untrained encoder a baseline starts from, and the rest of its overrides."""
        rest = dict(entry.overrides)
        stem = str(rest.pop("stem", default_stem(self.settings.image_size)))
        if stem not in STEMS:
            raise UserError(f'methods: {entry.name}: there is no stem "{stem}".{nearest(stem, STEMS)}')
        return {"backbone": str(rest.pop("backbone", self.settings.first_backbone)), "stem": stem}, rest

    def _untrained_content(self, encoder: Untrained) -> Content:
        """Its normalisation is measured on the whole pool."""
        return {"kind": "untrained", **asdict(encoder), "images": self.pools[1.0].content}


def _code(folder: str, name: str, contract: type[Method] | type[Protocol]) -> int | str:
    """The version of a method's or protocol's code: of ours a number, of a user's file its content."""
    kind = catalog.find(folder, name, contract)
    if name.endswith(".py"):
        return hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest()
    return kind.version


def _by_content(value: Any) -> Any:
    """The settings with a user's own view files named by what is in them, so that they may move."""
    if isinstance(value, Mapping):
        return {_named(str(key)): _by_content(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_content(item) for item in value]
    return _named(value) if isinstance(value, str) else value


def _named(name: str) -> str:
    path = Path(name).expanduser()
    if path.suffix != ".py" or not path.is_file():
        return name
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(source: str, backbone: str) -> str:
    """Starting weights by their content. Those that cannot be had are the failure of a row, not of the study."""
    try:
        return checksum(source, backbone) if source else ""
    except UserError:
        return "not there"


def _refuse(entry: Entry, overrides: Mapping[str, object]) -> None:
    for key in overrides:
        raise UserError(f'methods: {entry.name}: there is no setting "{key}"; the row {entry.method} has none to set')
