"""What a study is asked to do: a study file and key=value overrides become one frozen, checked StudySettings."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from selfstudy import catalog, config
from selfstudy.encoder import Tiles
from selfstudy.errors import UserError, nearest
from selfstudy.images import Levels

BASELINES = ("majority", "random", "supervised", "pretrained")  # rows that no file of methods/ stands for
# Analyses that take seconds for a row; those that do not apply to it are left out.
EXPLAINED = (
    "neighbours", "confused", "confident_mistakes", "integrated_gradients", "border", "agreement", "reconstructions",
    "jigsaws",
)  # fmt: skip
BUILT_IN = Path(__file__).parent.parent / "studies"

Source = str | Mapping[str, object]  # one word, a path, or the keys of a source; images.load reads it
Label = int | float | str  # 10: per class; 0.1: a fraction; "total:200"; "all"
Metric = Literal[
    "accuracy", "macro_f1", "balanced_accuracy", "macro_accuracy", "macro_auc", "mean_average_precision"
]  # as in evaluation/_metrics.py, without torch
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the study: a method under a name, and what is set differently for it."""

    name: str
    method: str
    overrides: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """All settings of a study; a key of the study file is a field of this record."""

    name: str
    question: str = ""
    data: Source  # or {unlabelled: ..., labelled: ...}
    image_size: Annotated[int, Field(ge=8)]  # pixels a side of what an encoder sees
    fit: Literal["crop", "pad", "squash"] = "crop"  # how a picture that is not square becomes square
    tiles: Tiles | None = (
        None  # how pages are cut, {side: 512, scale: 0.5, most: 16, blank: 0.03}; none: whole pictures
    )
    channels: Annotated[int, Field(ge=0)] = 0  # 0: grey if every picture is, else colour
    levels: Levels = (
        "percentiles"  # what becomes black and white above 8 bits: percentiles of the set, full, or numbers
    )
    near_duplicates: bool = True  # whether pictures that are one picture, saved twice, share a group
    transductive: bool = False  # whether methods may be pretrained on test images too, without their labels
    most_unreadable: Annotated[float, Field(ge=0, le=1)] = 0.05  # the share of files that may be unreadable
    test: Annotated[float, Field(gt=0)] = 0.2  # below one the share of labelled images, else their number
    split_seed: int = 0
    metric: Metric | Literal["by_balance"] = "by_balance"  # macro_f1 above 2:1 imbalance, else accuracy
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01  # differences inside it do not matter to you
    time_to: tuple[
        Annotated[float, Field(gt=0, lt=1)], ...
    ] = ()  # scores to say how soon they are reached; none: one that half the rows reach
    backbone: str | Annotated[tuple[str, ...], Field(min_length=1)] = (
        "resnet18"  # the same for every row; of several, each
    )
    methods: tuple[str | Mapping[str, Mapping[str, object]], ...]
    views: str | tuple[str | Mapping[str, object], ...] | Mapping[str, object] = field(default_factory=dict)
    unlabelled: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1.0,)
    labels: tuple[Label, ...] = (1, 10, "all")
    protocols: tuple[str, ...] = ("linear", "knn")
    evaluation: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # {finetune: {images_seen: 10000}}
    seeds: Count = 3
    draws: Count | Mapping[Label, Count] = 5
    budget: Mapping[Literal["images_seen", "epochs", "seconds"], Annotated[float, Field(gt=0)]] = field(
        default_factory=dict
    )  # of every pretraining; seconds become images by the rate of each row, see rates.py
    tune: Mapping[Literal["trials"], Annotated[int, Field(ge=2)]] = field(
        default_factory=dict
    )  # of learning rate and weight decay, for every row; nothing: each row as it is written
    explain: tuple[str, ...] = EXPLAINED  # analyses made of every row; [] for none
    max_hours: Annotated[float, Field(gt=0)] = 8.0  # a night
    device: Literal["best", "cpu", "cuda", "mps"] = "best"  # best: the first of cuda, mps, cpu that is there
    workers: Count = 1  # cells done at a time, each in a process of its own; on CPUs it pays where steps are short
    threads: Annotated[int, Field(ge=0)] = 0  # of the CPU, for each worker; 0: the cores, shared out among the workers
    on_collapse: Literal["stop", "continue"] = "stop"

    def __post_init__(self) -> None:
        if not self.name.strip() or any(mark in self.name for mark in '/\\:*?"<>|'):
            raise ValueError(f'name is "{self.name}", which cannot be the name of a folder')
        if len(self.budget) > 1:
            raise ValueError(f"budget names {' and '.join(self.budget)}: keep one")
        if self.test >= 1 and self.test != int(self.test):
            raise ValueError(f"test is {self.test}: give a share below one or a whole number of images")
        for label in self.labels:
            _check_label(label)
        if isinstance(self.draws, Mapping):
            for label in self.labels:
                if label not in self.draws:
                    raise ValueError(f"draws says nothing for labels {label}: add {label}: 5")
        for protocol in self.protocols:
            if protocol not in protocol_names():
                raise ValueError(f'protocols: there is no protocol "{protocol}".{nearest(protocol, protocol_names())}')
        for analysis in self.explain:
            if analysis not in catalog.names("explain") and not analysis.endswith(".py"):
                raise ValueError(
                    f'explain: there is no analysis "{analysis}".{nearest(analysis, catalog.names("explain"))}'
                )
        for protocol in self.evaluation:
            if protocol not in protocol_names():  # one that is not asked for now may be tomorrow
                raise ValueError(f'evaluation: there is no protocol "{protocol}".{nearest(protocol, protocol_names())}')
        found = [entry.name for entry in self.entries]
        for name in found:
            if found.count(name) > 1:
                raise ValueError(f'two rows are called "{name}": give one another name with `as:`')

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The rows in the order of the file; of several backbones each row with each, named by both."""
        written = [_entry(item) for item in self.methods]
        if isinstance(self.backbone, str):
            return tuple(written)
        rows = []
        for entry in written:
            if entry.method in ("majority", "pretrained") or "backbone" in entry.overrides:
                rows.append(entry)
                continue
            for backbone in self.backbone:
                overrides = {**entry.overrides, "backbone": backbone}
                rows.append(dataclasses.replace(entry, name=f"{entry.name} {backbone}", overrides=overrides))
        return tuple(rows)

    @property
    def first_backbone(self) -> str:
        """Of rows that name none of their own: the only one, since of several backbones every row names its own."""
        return self.backbone if isinstance(self.backbone, str) else self.backbone[0]

    @property
    def num_trials(self) -> int:
        """How often every row that is pretrained is so for each seed; 1: as it is written, and nothing is searched."""
        return self.tune.get("trials", 1)

    def num_draws(self, label: Label) -> int:
        """How often `label` labels are drawn anew; all of them can be drawn in one way only."""
        if label == "all":
            return 1
        return self.draws[label] if isinstance(self.draws, Mapping) else self.draws

    def to_json(self) -> dict[str, object]:
        """Plain values, in the order of the fields, that `validate` turns into the same settings."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def write(self) -> str:
        """The text of study.yaml."""
        return yaml.safe_dump(self.to_json(), sort_keys=False, allow_unicode=True, width=120)


def protocol_names() -> list[str]:
    """What `protocols:` accepts: the files of evaluation/, less the baseline that looks at no encoder."""
    return [name for name in catalog.names("evaluation") if name != "majority"]


def study_names() -> list[str]:
    """The built-in studies."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def read(study: str = "digits", overrides: Mapping[str, object] | None = None) -> StudySettings:
    """The settings of a built-in study by name or of a file by path, with overrides such as {"seeds": 5}.

    An override's key is a setting, a part of one (`budget.epochs`), or a row and what to change in it
    (`simclr.epochs`). `small: true` lays what the file holds under `small` over the rest first: the study in miniature, on
    data that are there, to see that it runs. Raises UserError with the place and the nearest valid name.
    """
    if study.endswith((".yaml", ".yml")):
        path = Path(study).expanduser()
    elif study in study_names():
        path = BUILT_IN / f"{study}.yaml"
    else:
        raise UserError(
            f'there is no built-in study "{study}"; a study file ends in .yaml.{nearest(study, study_names())}'
        )
    values = {"name": path.stem, **config.read_yaml(path)}
    miniature, overrides = values.pop("small", {}), dict(overrides or {})
    if overrides.pop("small", False) is True:
        if not isinstance(miniature, Mapping) or not miniature:
            raise UserError(f"{path} has no miniature: it says nothing under `small`")
        values = {**values, "name": f"{values['name']}-small", **miniature}
    return validate(_override(values, overrides), str(path))


def validate(values: Mapping[str, object], place: str) -> StudySettings:
    """Checked settings from plain values: one value stands for a list of one, and "10" for 10."""
    values = dict(values)
    for key in ("labels", "unlabelled", "protocols", "methods", "time_to", "explain"):
        if key in values:
            values[key] = _as_list(values[key])
    if "labels" in values:
        values["labels"] = [_label(label) for label in _as_list(values["labels"])]
    if isinstance(draws := values.get("draws"), Mapping):
        values["draws"] = {_label(label): count for label, count in draws.items()}
    return config.validate(StudySettings, values, place)


def _label(value: object) -> object:
    """A label count as a number if it reads as one: keys of mappings and shells deliver words."""
    return config.parse_value(value) if isinstance(value, str) else value


def _check_label(label: Label) -> None:
    if label in ("all", "fold") or (isinstance(label, int) and label >= 1):
        return
    if label == 1.0:
        raise ValueError("labels is 1.0, which could mean one label per class or all of them: write 1 or all")
    if isinstance(label, float) and 0 < label < 1 and math.isfinite(label):
        return
    if (
        isinstance(label, str)
        and label.startswith("total:")
        and label.removeprefix("total:").isdigit()
        and int(label[6:])
    ):
        return
    raise ValueError(f"labels is {label}: give a whole number per class, a fraction below one, total:N, fold or all")


def _entry(item: str | Mapping[str, Mapping[str, object]]) -> Entry:
    """A row from `simclr` or `simclr: {as: name, epochs: 5}`."""
    if isinstance(item, Mapping):
        if len(item) != 1:
            raise ValueError(f"methods: {dict(item)} must be a name or one `name: {{setting: value}}`")
        [(method, values)] = item.items()
    else:
        method, values = item, {}
    known = [*BASELINES, *catalog.names("methods")]
    if method not in known and not method.endswith(".py"):
        raise ValueError(f'there is no method "{method}".{nearest(method, known)}')
    overrides = {key: value for key, value in values.items() if key != "as"}
    return Entry(name=str(values.get("as", Path(method).stem)), method=method, overrides=overrides)


def _override(values: dict[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    """The study file's values with the command line's laid over them."""
    fields = [f.name for f in dataclasses.fields(StudySettings)]
    rows: dict[str, object] = {}
    for key, value in overrides.items():
        setting, dot, part = key.partition(".")
        if key in fields:
            values[key] = value
        elif dot and setting in ("budget", "tune"):
            values[setting] = {part: value}  # of several kinds of budget only one may stand
        elif dot and isinstance(values.get(setting), Mapping):
            values[setting] = {**values[setting], (_label(part) if setting == "draws" else part): value}  # type: ignore[dict-item]
        else:
            rows[key] = value
    if rows:
        values["methods"] = [_override_row(item, rows) for item in _as_list(values.get("methods", []))]
    if rows:
        raise UserError(f'there is no setting or row "{next(iter(rows))}".{nearest(next(iter(rows)), fields)}')
    return values


def _override_row(item: object, rows: dict[str, object]) -> object:
    """One item of `methods` with its overrides taken out of `rows`, which hold `NAME.SETTING`."""
    try:
        entry = _entry(item)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"methods: {error}") from None
    mine = {key: rows.pop(key) for key in list(rows) if key.startswith(f"{entry.name}.")}
    if not mine:
        return item
    changed = {key.removeprefix(f"{entry.name}."): value for key, value in mine.items()}
    return {entry.method: {"as": entry.name, **entry.overrides, **changed}}


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _plain(value: object) -> object:
    """Tuples to lists and mappings to dicts, as YAML and JSON hold them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return dataclasses.asdict(value) if isinstance(value, Tiles) else value
