"""The plan: a study's rows, seeds and draws as cells, each named by a hash of all that decides its result.

Equal content means equal hash, whatever a row is called and wherever its files lie, so nothing is computed twice.

Which seeds and draws: every encoder, which has a pretraining seed, meets every draw of the labels. A row that trains on its
labels from scratch does so once per draw, each time with another seed; where there is one draw, as with all labels, it
trains once per seed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from selfstudy import catalog, config
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import Protocol
from selfstudy.study._content import Content, by_content, code, fewer_trials, hash_of, run_content, weights
from selfstudy.study.material import Material, own_source
from selfstudy.study.rates import images_in
from selfstudy.study.settings import Entry, Label, StudySettings
from selfstudy.training import RunSettings, resolve
from selfstudy.training.settings import SMALL_STEM_UP_TO
from selfstudy.training.trials import pretraining_trials
from selfstudy.types import DataCard
from selfstudy.views import parse, preset
from selfstudy.weights import PUBLISHED, published_facts

Rate = Callable[[str, str, RunSettings], float]  # images per second; by hash of what decides it, row and settings
STEMS = ("small", "imagenet")
PRETRAINED = "pretrained"  # the row of published weights
NOT_THE_RATE = (  # settings that make no step faster or slower
    "lr", "weight_decay", "images_seen", "epochs", "warmup_epochs", "final_lr_factor", "final_weight_decay_factor",
    "on_collapse", "seed",
)  # fmt: skip


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
    trial: int = 0  # of the row's pretraining; 0 is the row as it is written
    fewer_trials: tuple[str, ...] = ()  # hashes of the same with a shorter search on the labels, fewest first

    @property
    def row(self) -> str:
        """What a person is told that it belongs to: `simclr, seed 0`."""
        row = self.entry + ("" if self.unlabelled == 1.0 else f" on {100 * self.unlabelled:g} % of the images")
        return row if self.method == "majority" else f"{row}, seed {self.seed}"

    def to_json(self) -> dict[str, object]:
        """A line of plan.json, and of the cell's own folder."""
        return {name: value for name, value in vars(self).items() if name not in ("work", "round", "fewer_trials")}


def _unmeasured(key: str, row: str, settings: RunSettings) -> float:
    raise ValueError(f"the budget is in seconds, and nobody measures how fast {row} is")


def plan(settings: StudySettings, material: Material, rate: Rate = _unmeasured) -> list[Cell]:
    """All cells of a study in the order in which they are to be run. Computes nothing but hashes.

    `rate` is asked only where the budget is in seconds. Raises UserError for settings that no method or protocol knows, and
    for labels that are not there.
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
    planner = _Planner(settings, material, drawn, pools, rate)
    cells = [cell for entry in settings.entries for cell in planner.cells(entry)]
    return sorted(cells, key=lambda cell: cell.round)


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
    rate: Rate

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
        content = {"kind": "published", "backbone": work.backbone, "weights": weights(work.weights, work.backbone)}
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
        source = own_source(entry.overrides)
        for seed in range(self.settings.seeds):
            for fraction in (1.0,) if source else self.settings.unlabelled:
                pool = self.pools[fraction]
                if source:
                    pool = _Pool(len(self.material.others[source]), self.material.other_content(source))
                written = self._run_settings(entry, seed, pool.num_images)
                for trial, run in enumerate(pretraining_trials(written, self.settings.num_trials)):
                    content = {"kind": "pretrain", **run_content(entry.method, run), "images": pool.content}
                    cell = Cell(
                        hash=hash_of(content), kind="pretrain", entry=entry.name, method=Path(entry.method).stem,
                        backbone=run.backbone, unlabelled=fraction, seed=seed, round=seed, work=run, source=source,
                        trial=trial,
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
                    "kind": "evaluate", "protocol": Path(protocol).stem, "code": code("evaluation", protocol, Protocol),
                    "config": by_content(asdict(evaluation.config)), "seed": seed,  # type: ignore[call-overload]
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
                    trial=encoder.trial if encoder else 0, fewer_trials=fewer_trials(content, evaluation.config),
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
        if self.settings.views:
            shared["views"] = self.settings.views
        overrides = {**shared, **{key: value for key, value in entry.overrides.items() if key != "data"}, "seed": seed}
        overrides |= self._length(entry, overrides, place)
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

    def _length(self, entry: Entry, overrides: Mapping[str, object], place: str) -> dict[str, float]:
        """What the study's budget gives to a row; nothing to one that says itself how long it is pretrained."""
        if any(key in overrides for key in ("epochs", "images_seen")):
            return {}
        budget = {str(unit): amount for unit, amount in self.settings.budget.items()}
        if "seconds" not in budget:
            return budget
        run = resolve(entry.method, {**overrides, "seed": 0}, self._card(len(self.material.pool)), place)
        content = run_content(entry.method, run)
        content["settings"] = {name: value for name, value in content["settings"].items() if name not in NOT_THE_RATE}
        rate = self.rate(hash_of(content), entry.name, run)
        return {"images_seen": images_in(budget["seconds"], rate, run, entry.name)}

    def _card(self, num_images: int) -> DataCard:
        return DataCard(
            num_images=num_images, channels=self.material.pool.channels, image_size=self.settings.image_size
        )

    def _evaluation(self, protocol: str, overrides: Mapping[str, object], place: str) -> Evaluation:
        """A protocol's settings: the study's metric, views and trials where it has a use for them, and the row's own."""
        kind = catalog.find("evaluation", protocol, Protocol).Config
        known = [f.name for f in fields(kind)]
        views = self.settings.views.get("base", ()) if isinstance(self.settings.views, Mapping) else self.settings.views
        study: dict[str, object] = {"metric": self.settings.metric, **({"views": views} if views else {})}
        if self.settings.tune:
            study["search"] = self.settings.num_trials
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


def _refuse(entry: Entry, overrides: Mapping[str, object]) -> None:
    for key in overrides:
        raise UserError(f'methods: {entry.name}: there is no setting "{key}"; the row {entry.method} has none to set')
