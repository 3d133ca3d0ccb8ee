"""What a run is: recipe and overrides become one frozen record in which nothing is left to guess."""

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from selfstudy import catalog, config
from selfstudy.encoder import BackboneSpec
from selfstudy.errors import UserError, nearest
from selfstudy.method import Method, Recipe
from selfstudy.types import DataCard
from selfstudy.views import Chain, Crop, preset
from selfstudy.views import parse as parse_views

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that `fit` needs to know about optimisation. Rates are final: nothing is scaled afterwards."""

    optimizer: Literal["sgd", "adamw", "lars"]
    lr: float  # peak
    weight_decay: float  # at the start
    momentum: float  # sgd, lars
    betas: tuple[float, float]  # adamw
    warmup: float  # share of the steps
    final_lr_factor: float
    final_weight_decay_factor: float = 1.0  # 1 keeps it as it is
    clip_norm: float  # 0 clips nothing
    batch_size: int
    steps: int
    chunk_size: int = 0  # images per backward pass; 0 is the whole batch at once
    precision: Precision = "float32"
    on_collapse: Literal["stop", "continue"] = "stop"


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """One pretraining run after every default. The names are the ones users type as key=value."""

    method: str
    recipe: str
    config: Mapping[str, Any]  # the method's Config; typed as method.NAME=value
    backbone: str
    stem: Literal["small", "imagenet"]
    init: str  # starting weights: "" none, "timm" published ones, a run's folder, or a file; selfstudy/weights.py
    image_size: int  # pixels a side, as the data were loaded
    channels: int
    views: Mapping[str, Any]  # slot -> {"size", "views": [operations]}
    optimizer: Literal["sgd", "adamw", "lars"]
    lr: float  # as typed: for a batch of 256 unless lr_scaling is none
    lr_scaling: Literal["linear", "sqrt", "none"]
    weight_decay: float
    momentum: float
    betas: tuple[float, float]
    batch_size: int
    chunk_size: int
    images_seen: int
    warmup_epochs: float
    epochs: float
    final_lr_factor: float
    final_weight_decay_factor: float
    clip_norm: float
    precision: Precision
    held_out: float  # share of the images kept aside for the validation loss
    on_collapse: Literal["stop", "continue"]
    seed: int
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)  # setting -> where its value came from

    @property
    def training(self) -> Training:
        scale = {"linear": self.batch_size / 256, "sqrt": (self.batch_size / 256) ** 0.5, "none": 1.0}[self.lr_scaling]
        return Training(
            optimizer=self.optimizer, lr=self.lr * scale, weight_decay=self.weight_decay, momentum=self.momentum,
            betas=self.betas, warmup=min(1.0, self.warmup_epochs / self.epochs) if self.epochs else 0.0,
            final_lr_factor=self.final_lr_factor, final_weight_decay_factor=self.final_weight_decay_factor,
            clip_norm=self.clip_norm, batch_size=self.batch_size, steps=self.images_seen // self.batch_size,
            chunk_size=self.chunk_size, precision=self.precision, on_collapse=self.on_collapse,
        )  # fmt: skip

    def chains(self) -> dict[str, Chain]:
        chains = {}
        for slot, chain in self.views.items():
            crop, *steps = parse_views(chain["views"], f"views of slot {slot}")
            assert isinstance(crop, Crop)
            chains[slot] = Chain(size=chain["size"], crop=crop, steps=tuple(steps))
        return chains

    def backbone_spec(self, mean: tuple[float, ...], std: tuple[float, ...]) -> BackboneSpec:
        return BackboneSpec(
            name=self.backbone, channels=self.channels, image_size=self.image_size, mean=mean, std=std, stem=self.stem
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the origins: what decides the result and nothing else."""
        return {name: value for name, value in asdict(self).items() if name != "origins"}


# Settings that are ours rather than a recipe's. held_out: large enough to see over-fitting, small enough to lose little.
_DEFAULTS: Mapping[str, object] = {
    "stem": "small", "init": "", "chunk_size": 0, "precision": "float32", "held_out": 0.05, "on_collapse": "stop", "seed": 0,
}  # fmt: skip
SMALL_STEM_UP_TO = 64  # pixels a side: above it ResNets keep their ImageNet stem, as TinyImageNet's users do
_NOT_NEGATIVE = ("lr", "weight_decay", "momentum", "final_lr_factor", "final_weight_decay_factor", "clip_norm")
_FROM_DATA = ("image_size", "channels", "origins", "config", "method")


def overridable() -> list[str]:
    """The names that may be set, apart from method.NAME."""
    return [f.name for f in dataclasses.fields(RunSettings) if f.name not in _FROM_DATA]


def resolve(method: str, overrides: Mapping[str, object], data: DataCard, place: str) -> RunSettings:
    """Recipe, then overrides (`{"epochs": 5, "method.temperature": 0.2}`), each value with where it came from.

    `data` is of the images to pretrain on. Raises UserError for anything unknown, of the wrong type or impossible.
    """
    kind = catalog.find("methods", method, Method)
    for key in overrides:
        if not key.startswith("method.") and key not in overridable():
            raise UserError(f'{place}: there is no setting "{key}".{nearest(key, [*overridable(), "method.NAME"])}')
    recipe_name = str(overrides.get("recipe", "small"))
    if recipe_name not in kind.recipes:
        raise UserError(f'{place}: {method} has no recipe "{recipe_name}".{nearest(recipe_name, kind.recipes)}')
    values, origins = _from_recipe(kind.recipes[recipe_name], recipe_name, data)
    plain = {key: value for key, value in overrides.items() if not key.startswith("method.")}
    values |= plain
    origins |= dict.fromkeys(plain, place)
    method_config = _resolve_config(kind, kind.recipes[recipe_name], overrides, origins, place)
    _resolve_length(values, origins, overrides, data, place)
    chains = _resolve_views(kind, method_config, data, values.pop("views", None), f"{place}: views")
    settings = config.validate(
        RunSettings,
        values
        | {
            "method": method, "recipe": recipe_name, "config": asdict(method_config), "origins": origins,
            "image_size": data.image_size, "channels": data.channels,
            "views": {slot: chain.to_json() for slot, chain in chains.items()},
        },
        place,
    )  # fmt: skip
    _check(kind, method_config, settings, data, place)
    return settings


def _from_recipe(recipe: Recipe, name: str, data: DataCard) -> tuple[dict[str, object], dict[str, str]]:
    values: dict[str, object] = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    source = f"recipe {name}: {values.pop('source')}"
    del values["config"]
    origins = dict.fromkeys(values, source) | dict.fromkeys(_DEFAULTS, "selfstudy's default")
    values |= _DEFAULTS
    if data.image_size > SMALL_STEM_UP_TO:
        values["stem"] = "imagenet"
        origins["stem"] = f"images above {SMALL_STEM_UP_TO} px"
    return values, origins


def _resolve_config(
    kind: type[Method], recipe: Recipe, overrides: Mapping[str, object], origins: dict[str, str], place: str
) -> Any:
    own = {key.removeprefix("method."): value for key, value in overrides.items() if key.startswith("method.")}
    known = [f.name for f in dataclasses.fields(kind.Config)]
    for key in own:
        if key not in known:
            raise UserError(f'{place}: method.{key}: {kind.__name__} has no setting "{key}".{nearest(key, known)}')
    origins |= {
        f"method.{key}": place if key in own else f"recipe: {recipe.source}" if key in recipe.config else "the paper"
        for key in known
    }
    return config.validate(kind.Config, {**recipe.config, **own}, f"{place}: method")


def _resolve_length(
    values: dict[str, Any], origins: dict[str, str], overrides: Mapping[str, object], data: DataCard, place: str
) -> None:
    """Make batch size, epochs, images seen and warm-up agree."""
    if "epochs" in overrides and "images_seen" in overrides:
        raise UserError(f"{place}: epochs and images_seen are both set, but each decides the other; keep one")
    for key in ("batch_size", "epochs", "images_seen", "warmup_epochs"):
        if key in values:
            values[key] = _positive(values[key], f"{place}: {key}", zero=key == "warmup_epochs")
    if values["batch_size"] > data.num_images:
        values["batch_size"] = data.num_images
        origins["batch_size"] = f"lowered: there are only {data.num_images} images"
    values["batch_size"] = int(values["batch_size"])
    if "images_seen" in overrides:
        values["epochs"] = values["images_seen"] / data.num_images
        origins["epochs"] = "from images_seen"
    else:
        values["images_seen"] = values["epochs"] * data.num_images
        origins["images_seen"] = "from epochs"
    values["images_seen"] = round(values["images_seen"])
    if values["images_seen"] < values["batch_size"]:
        raise UserError(
            f"{place}: {values['images_seen']} images seen are fewer than one batch of {values['batch_size']}"
        )
    if "warmup_epochs" not in overrides and values["warmup_epochs"] > values["epochs"] / 10:
        values["warmup_epochs"] = values["epochs"] / 10
        origins["warmup_epochs"] = "a tenth of this run, which is short for the recipe's"


def _positive(value: object, place: str, *, zero: bool) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(f"{place} is {value!r}, but must be a number") from None
    if not (0 <= number < float("inf")) or (number == 0 and not zero):
        raise UserError(f"{place} is {value!r}, but must be above 0")
    return number


def _resolve_views(
    kind: type[Method], method_config: object, data: DataCard, views: object, place: str
) -> Mapping[str, Chain]:
    """The method's own chains, or the study's steps in their place: a preset, one list for all slots, or one per slot."""
    chains = dict(kind.chains(method_config, data))
    if views is None:
        return chains
    by_slot = views if isinstance(views, Mapping) else dict.fromkeys(chains, views)
    for slot, entries in by_slot.items():
        if slot not in chains:
            raise UserError(f'{place}: there is no slot "{slot}".{nearest(str(slot), chains)}')
        entries = preset(entries, place) if isinstance(entries, str) else entries
        if not isinstance(entries, list | tuple):
            raise UserError(f"{place} is {entries!r}, but must be a preset's name or a list of operations")
        chains[slot] = chains[slot].with_steps(parse_views(entries, place))
    return chains


def _check(kind: type[Method], method_config: object, settings: RunSettings, data: DataCard, place: str) -> None:
    """What the method needs, said before anything is built."""
    needs = kind.requires(method_config, data)
    if settings.batch_size < needs.smallest_batch:
        raise UserError(
            f"{place}: {settings.method} needs batches of at least {needs.smallest_batch} images, but batch_size is {settings.batch_size}"
            + (f" ({settings.origins['batch_size']})" if "lowered" in settings.origins["batch_size"] else "")
        )
    if data.num_images < needs.least_images:
        asking = [name for name, value in asdict(method_config).items() if value == needs.least_images]  # type: ignore[call-overload]
        why = f"as method.{asking[0]} is {needs.least_images}" if asking else "with these settings"
        raise UserError(
            f"{place}: {settings.method} needs at least {needs.least_images} images, {why}, but there are {data.num_images}"
        )
    if data.image_size < needs.smallest_image:
        raise UserError(
            f"{place}: {settings.method} needs images of at least {needs.smallest_image} pixels a side with these settings, "
            f"but image_size is {data.image_size}"
        )
    if needs.channels and data.channels not in needs.channels:
        wanted = " or ".join(str(count) for count in needs.channels)
        raise UserError(
            f"{place}: {settings.method} needs images with {wanted} channels, but these have {data.channels}"
        )
    for slot, chain in settings.chains().items():
        for operation in chain.steps:
            if reason := operation.refusal(data.channels):
                raise UserError(
                    f"{place}: views of slot {slot}: {operation.name} cannot be used: {reason}; `views: microscopy` replaces all"
                )
            if reason := kind.spoils(method_config, operation):
                raise UserError(
                    f"{place}: views of slot {slot}: {settings.method} cannot use {operation.name}: {reason}"
                )
    if needs.most_images is not None and data.num_images > needs.most_images:
        raise UserError(
            f"{place}: {settings.method} takes at most {needs.most_images} images, but there are {data.num_images}"
        )
    if not 0 <= settings.held_out < 0.5:
        raise UserError(f"{place}: held_out is {settings.held_out}, but must be at least 0 and below 0.5")
    for name in _NOT_NEGATIVE:
        value = getattr(settings, name)
        if not 0 <= value < float("inf"):
            raise UserError(f"{place}: {name} is {value}, but must be a finite number of 0 or more")
    if not settings.chunk_size >= 0:
        raise UserError(f"{place}: chunk_size is {settings.chunk_size}, but must be 0 (the whole batch) or more")
