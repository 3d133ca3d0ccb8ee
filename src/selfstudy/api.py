"""The Python API: one function for each verb of the command line, which calls it and nothing else."""

import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch

from selfstudy import config, explaining, files
from selfstudy import judge as judging
from selfstudy.backbones.timm import changed_for_small_images
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import ByKind, Metric, Pages, features
from selfstudy.export import export as export_encoder
from selfstudy.finish import finish as finish_study
from selfstudy.images import ImageSet, Reading, ReadingOptions, left_out
from selfstudy.images import load as load_images
from selfstudy.model import Model
from selfstudy.progress import Progress
from selfstudy.report import write as write_report
from selfstudy.report import write_pair, write_preview
from selfstudy.study import run as study_run
from selfstudy.study import settings as study_settings
from selfstudy.study._study import Study
from selfstudy.study.preview import preview as preview_study
from selfstudy.training import Run, RunSettings, default_device, load_run, resolve
from selfstudy.training import pretrain as pretrain_images
from selfstudy.training.settings import overridable
from selfstudy.types import DataCard

Source = str | Path | Mapping[str, object]  # what images.load reads
_NOTHING: Mapping[str, object] = MappingProxyType({})


class PretrainOptions(ReadingOptions, total=False):
    """What may be set for a run: fields of Reading and of RunSettings, and `method` for the method's own settings."""

    method: Mapping[str, object]
    recipe: str
    backbone: str
    stem: Literal["small", "imagenet"]
    init: str
    views: str | Sequence[object] | Mapping[str, object]
    optimizer: Literal["sgd", "adamw", "lars"]
    lr: float
    lr_scaling: Literal["linear", "sqrt", "none"]
    weight_decay: float
    momentum: float
    betas: tuple[float, float]
    batch_size: int
    chunk_size: int
    images_seen: int
    epochs: float
    warmup_epochs: float
    final_lr_factor: float
    final_weight_decay_factor: float
    clip_norm: float
    precision: Literal["float32", "bfloat16"]
    held_out: float
    on_collapse: Literal["stop", "continue"]
    seed: int


_READING = tuple(Reading.__dataclass_fields__)


class EvaluateOptions(TypedDict, total=False):
    """What may be set for an evaluation: the fields of JudgeSettings, where they are explained."""

    protocols: Sequence[str]
    labels: Sequence[int | float | str]
    draws: int
    test: float
    metric: Metric | ByKind
    seed: int
    settings: Mapping[str, Mapping[str, object]]


class ExplainOptions(TypedDict, total=False):
    """What may be set for an explanation: the fields of ExplainSettings, where they are explained."""

    analyses: Sequence[str]
    count: int
    pick: Sequence[str]
    against: str
    twin: str
    labelled: bool | Literal["auto"]
    test: float
    seed: int
    settings: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Embeddings:
    """What an encoder makes of images."""

    features: np.ndarray  # float32 [N, D]
    ids: np.ndarray  # str [N], from content
    paths: np.ndarray  # str [N]

    def save(self, path: Path) -> None:
        """Write an .npz that numpy.load reads without pickles."""
        content = io.BytesIO()
        np.savez(content, features=self.features, ids=self.ids, paths=self.paths)
        files.write_bytes(path, content.getvalue())


@dataclass(frozen=True)
class StudyResult:
    """What a study left behind."""

    folder: Path
    report: Path  # the page
    answer: tuple[str, ...]  # three sentences

    def to_json(self) -> dict[str, object]:
        return {"folder": str(self.folder), "report": str(self.report), "answer": list(self.answer)}


def images(
    source: Source,
    *,
    size: int = Reading.image_size,
    labelled: bool = False,
    **options: Unpack[ReadingOptions],
) -> ImageSet:
    """Load a data source: a folder, `table:FILE`, a named set such as mnist5k, or a source's settings as a mapping.

    `size` is in pixels a side; `options` are explained at images.Reading. Files are decoded once, into the store that the
    first line names. Raises UserError if there are no such images, or too many that cannot be read.
    """
    settings: ReadingOptions = {"image_size": size, **options}
    with Progress() as progress:
        return load_images(source, labelled=labelled, progress=progress, **settings)


def pretrain(
    name: str,
    data: ImageSet | Source,
    /,
    *,
    out: str | Path = "",
    quiet: bool = False,
    **options: Unpack[PretrainOptions],
) -> Run:
    """Pretrain without labels by the method `name`, into the folder `out` (by default runs/METHOD-DATA).

    What is not set comes from the method's recipe. The same call again goes on where it stopped, or returns what it made.
    Raises UserError for a mistake in the request and RunError when training fails.
    """
    own = {f"method.{key}": value for key, value in options.get("method", {}).items()}
    overrides = {key: value for key, value in options.items() if key != "method"} | own
    _refuse_unknown(overrides)
    reading = {key: overrides.pop(key) for key in list(overrides) if key in _READING}
    with Progress(quiet=quiet) as progress:
        found = _loaded(data, reading, progress)
        card = DataCard(num_images=len(found), channels=found.channels, image_size=found.image_size)
        settings = resolve(name, overrides, card, "pretrain")
        if changed := changed_for_small_images(settings.backbone, settings.stem, settings.image_size):
            progress.say(f"{changed}; stem=imagenet keeps it as it was")
        folder = Path(out).expanduser() if out else Path("runs") / _folder_name(name, found.name)
        if not _claim(folder, settings, found):
            if found.skipped:
                progress.say(left_out(found.skipped))
            pretrain_images(settings, found, folder, progress=progress)
    return load_run(folder)  # from the disk, so that both ways give the same bits


def evaluate(
    encoder: Encoder | Run | str | Path,
    data: ImageSet | Source,
    /,
    *,
    quiet: bool = False,
    **options: Unpack[EvaluateOptions],
) -> pd.DataFrame:
    """Judge an encoder by labels: a row per protocol, budget of labels and draw, each with every metric in [0, 1]."""
    settings = judging.resolve(options, "evaluate")
    found = _encoder(encoder)
    with Progress(quiet=quiet) as progress:
        labelled = data if isinstance(data, ImageSet) else _fed(found, data, progress, labelled=True)
        return judging.judge(found, labelled, settings, device=default_device(), progress=progress)


def embed(encoder: Encoder | Run | str | Path, data: ImageSet | Source, /) -> Embeddings:
    """The features of every image, in the order of the set."""
    found = _encoder(encoder)
    pictures = data if isinstance(data, ImageSet) else _fed(found, data)
    values = features(found, pictures, default_device(), judging.FEATURE_BATCH)
    return Embeddings(values.numpy(), pictures.ids, pictures.paths)


def explain(
    source: Encoder | Model | Run | str | Path,
    data: ImageSet | Source,
    /,
    *,
    out: str | Path = "",
    quiet: bool = False,
    **options: Unpack[ExplainOptions],
) -> explaining.Explained:
    """What an encoder makes of images: sentences, tables, pictures and explain.html in the folder `out` (by default explain).

    `source` is a run, or a model or a finished study, which name classes; with labelled images a run gets a linear
    classifier. Raises UserError for a mistake, and for an analysis that was asked for and does not apply.
    """
    settings = explaining.resolve(options, "explain")
    match source:
        case Encoder():
            found = explaining.Source(name="encoder", encoder=source)
        case Model():
            found = explaining.Source.of_model(source)
        case Run():
            found = explaining.Source.open(source.folder)
        case _:
            found = explaining.Source.open(Path(source).expanduser())
    pictures = data if isinstance(data, ImageSet) else _perhaps_labelled(found.encoder, data, settings.labelled)
    folder = Path(out).expanduser() if out else Path("explain")
    with Progress(quiet=quiet) as progress:
        return explaining.explain(found, pictures, settings, folder, device=default_device(), progress=progress)


def study(
    name: str = "digits",
    settings: Mapping[str, object] = _NOTHING,
    /,
    *,
    out: str | Path = "",
    yes: bool = False,
    quiet: bool = False,
) -> StudyResult:
    """Run a built-in study by name or a study file by path, or what is left of it, in the folder `out` or runs/NAME.

    `settings` are laid over the file's: {"seeds": 5, "simclr.epochs": 100}. Raises UserError for a mistake in the request, and
    above max_hours unless `yes`; RunError if a part failed, after the report on all others is written.
    """
    found = study_settings.read(name, settings)
    folder = Path(out).expanduser() if out else Path("runs") / found.name
    with Progress(quiet=quiet) as progress:
        finished = study_run.run(found, folder, progress=progress, yes=yes)
    page = write_report(folder)
    finished.require_success()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return StudyResult(folder, page, tuple(summary["answer"]))


def dry_run(
    name: str = "digits", settings: Mapping[str, object] = _NOTHING, /, *, out: str | Path = "", quiet: bool = False
) -> Study:
    """Print every setting of a study and what it would cost in time and disk; nothing is written."""
    found = study_settings.read(name, settings)
    folder = Path(out).expanduser() if out else Path("runs") / found.name
    with Progress(quiet=quiet, stream=sys.stdout) as progress:
        return study_run.dry_run(found, folder, progress=progress)


def preview(
    name: str = "digits", settings: Mapping[str, object] = _NOTHING, /, *, out: str | Path = "", quiet: bool = False
) -> Path:
    """Write a page of what each method of a study would be shown, before anything is trained; its path.

    By default in runs/NAME-preview. Raises UserError for a mistake in the study or its images.
    """
    found = study_settings.read(name, settings)
    folder = Path(out).expanduser() if out else Path("runs") / f"{found.name}-preview"
    with Progress(quiet=quiet) as progress:
        prepared = study_run.prepare(found, folder, progress)
        return write_preview(preview_study(prepared, folder), folder / "preview.html")


def cell(folder: str | Path, name: str, /, *, quiet: bool = False) -> str:
    """Do one cell of a study, named by its hash; its status."""
    with Progress(quiet=quiet) as progress:
        return study_run.run_cell(Path(folder).expanduser(), name, progress=progress)


def report(folder: str | Path, other: str | Path = "", /, *, out: str | Path = "", figures: bool = False) -> Path:
    """Write the report of a study from what it has so far, or a page that holds it against `other`; the path of the page.

    With `figures` also figures/ and tables/ for a paper, beside the report. `out` is where the page of two studies goes, by
    default compare-OTHER.html in `folder`. Raises UserError if there is no study, or if `out` or `figures` has no meaning.
    """
    if not other:
        if out:
            raise UserError("report: out is where a page of two studies goes; the report of one lies in its folder")
        return write_report(Path(folder).expanduser(), figures=figures)
    if figures:
        raise UserError("report: figures are written for one study at a time")
    return write_pair(Path(folder).expanduser(), Path(other).expanduser(), Path(out).expanduser() if out else None)


def finish(folder: str | Path, /, *, row: str = "", quiet: bool = False) -> Model:
    """Fit the best row of a study, or the one named, on all its labels; the model is written to `folder`/model.

    Raises UserError if the study has no finished row that leaves a classifier behind.
    """
    with Progress(quiet=quiet) as progress:
        return finish_study(Path(folder).expanduser(), row=row, progress=progress)


def predict(model: Model | str | Path, data: ImageSet | Source, /) -> pd.DataFrame:
    """The class of every picture: columns path, id, label, confidence, accepted, and `p(CLASS)` for every class.

    Of a page that is cut into tiles the probabilities are the mean of its tiles', and the id is its first tile's. A row is
    accepted if its confidence reaches the model's threshold. Raises UserError if there is no model.
    """
    found = model if isinstance(model, Model) else Model.load(Path(model).expanduser())
    pictures = data if isinstance(data, ImageSet) else _fed(found.encoder, data)
    values = features(found.encoder, pictures, default_device(), judging.FEATURE_BATCH)
    pages = Pages.of(pictures, torch.arange(len(pictures)))
    probabilities, first = pages.average(found.probabilities(values)).float(), pages.first.numpy()
    confidence, answer = probabilities.max(1)
    columns = {f"p({name})": probabilities[:, number].numpy() for number, name in enumerate(found.classes)}
    return pd.DataFrame({
        "path": pictures.paths[first], "id": pictures.ids[first], "label": [found.classes[number] for number in answer.tolist()],
        "confidence": confidence.numpy(), "accepted": (confidence >= found.threshold).numpy(), **columns,
    })  # fmt: skip


def export(source: Encoder | Model | Run | str | Path, /, *, to: str, out: str | Path = "") -> str:
    """Write an encoder or a model for other programs, `to` "timm" or "onnx"; a sentence on how to load it.

    A study's folder stands for its model, a run's for its encoder. By default `out` is in the folder. Raises UserError where
    the format cannot hold the encoder, RunError if what was written gives other features.
    """
    folder = Path(source).expanduser() if isinstance(source, str | Path) else Path()
    if not isinstance(source, str | Path):
        found = source.encoder if isinstance(source, Run) else source
    elif (folder / "study.yaml").is_file() or (folder / "model.json").is_file():
        found = Model.load(folder)
    else:
        found = Encoder.load(folder)
    default = {"timm": folder / "timm", "onnx": folder / "encoder.onnx"}.get(to, folder)
    return export_encoder(found, to, Path(out).expanduser() if out else default)


def load(folder: str | Path) -> Run:
    """A finished run from its folder."""
    return load_run(Path(folder).expanduser())


def _encoder(source: Encoder | Run | str | Path) -> Encoder:
    match source:
        case Encoder():
            return source
        case Run():
            return source.encoder
        case _:
            return Encoder.load(Path(source).expanduser())


def _refuse_unknown(overrides: Mapping[str, object]) -> None:
    """The engine does so too, but knows nothing of how images are loaded, and offers no such name."""
    known = (*_READING, *overridable(), "method.NAME")
    for key in overrides:
        if key not in known and not key.startswith("method."):
            raise UserError(f'pretrain: there is no setting "{key}".{nearest(key, known)}')


def _loaded(data: ImageSet | Source, options: Mapping[str, object], progress: Progress) -> ImageSet:
    if isinstance(data, ImageSet):
        if options:
            raise UserError(f"pretrain: {next(iter(options))} is set, but the images are loaded already")
        return data
    reading = config.validate(Reading, options, "pretrain")
    return load_images(data, progress=progress, **{name: getattr(reading, name) for name in _READING})


def _fed(encoder: Encoder, source: Source, progress: Progress | None = None, *, labelled: bool = False) -> ImageSet:
    """Images as the encoder takes them."""
    feed = encoder.feed
    channels = feed.channels if feed.channels not in (1, 3) else 0  # grey and colour are matched when they are shown
    return load_images(
        source, labelled=labelled, progress=progress, image_size=feed.size, fit=feed.fit, tiles=feed.tiles, channels=channels,
        levels=feed.levels or "percentiles",
    )  # fmt: skip


def _perhaps_labelled(encoder: Encoder, source: Source, labelled: bool | Literal["auto"]) -> ImageSet:
    """With labels where the source has some, if nobody says whether it has."""
    if labelled != "auto":
        return _fed(encoder, source, labelled=labelled)
    try:
        return _fed(encoder, source, labelled=True)
    except UserError:  # no labels; any other mistake is made again below, and said
        return _fed(encoder, source)


def _folder_name(method: str, data: str) -> str:
    """`simclr-bags` from simclr and ~/pictures/bags."""
    return "-".join(re.sub(r"\W+", "-", Path(part).stem).strip("-") for part in (method, data))


def _claim(folder: Path, settings: RunSettings, data: ImageSet) -> bool:
    """Make the folder this run's own; True if the run is finished in it. UserError if it holds something else."""
    wanted = json.loads(json.dumps(settings.to_json()))
    record = folder / "run.json"
    if record.is_file():
        card = json.loads(record.read_text(encoding="utf-8"))
        if card["data"]["fingerprint"] != data.fingerprint:
            raise UserError(f"{folder} holds a run on other images; name another folder with --out")
        for key, value in wanted.items():
            if card["settings"].get(key) != value:
                raise UserError(
                    f"{folder} holds a run whose {key} is {card['settings'].get(key)} instead of {value}; "
                    "name another folder with --out"
                )
        return card["status"] in ("done", "collapsed")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something else already; name another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    origin = {"name": data.name, "fingerprint": data.fingerprint, "num_images": len(data)}
    files.write_json(record, {"method": settings.method, "settings": wanted, "data": origin, "status": "running"})
    return False
