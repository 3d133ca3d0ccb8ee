"""The engine of `selfstudy explain`: an encoder, images, and the analyses that apply to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from selfstudy import catalog, config
from selfstudy.encoder import Encoder
from selfstudy.errors import UserError, nearest
from selfstudy.evaluation import Budget, LinearMap, features
from selfstudy.evaluation.linear import Linear
from selfstudy.explain import Analysis, Findings, Subject, Viewer, save
from selfstudy.explaining._page import write_page
from selfstudy.explaining._source import Source
from selfstudy.images import ImageSet, draw_labels, split
from selfstudy.progress import Progress
from selfstudy.rng import Rng

FEATURE_BATCH = 256  # as judging
# What is asked where nobody says what: one attribution, and everything else but what costs a hundred passes for each image.
DEFAULT = (
    "neighbours", "confused", "confident_mistakes", "integrated_gradients", "similarity", "border", "sanity", "deletion",
    "agreement", "reconstructions", "jigsaws", "map",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ExplainSettings:
    """How an encoder is explained. The names are the ones users type as key=value."""

    analyses: tuple[str, ...] = ()  # empty: all of the usual ones that apply
    count: Annotated[int, Field(ge=1)] = 8  # images looked at one by one: spread over the classes, if there are labels
    pick: tuple[str, ...] = ()  # instead: the ids of images, or how their paths end
    against: str = ""  # folder of a second run, for agreement
    twin: str = ""  # folder of a run like the first with another seed: how far two seeds agree
    labelled: bool | Literal["auto"] = "auto"  # whether sub-folders are classes; auto: where there are labels
    test: Annotated[float, Field(gt=0)] = 0.2  # the labelled images that the classifier does not learn from
    seed: int = 0
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # of analyses, by analysis


@dataclass(frozen=True, eq=False)
class Explained:
    """What came of it."""

    folder: Path
    page: Path  # explain.html
    findings: Mapping[str, Findings]

    @property
    def sentences(self) -> tuple[str, ...]:
        return tuple(found.sentence for found in self.findings.values())


def resolve(options: Mapping[str, Any], place: str) -> ExplainSettings:
    """Checked settings from `{"analyses": "map", "map.layout": "pca"}`; one value stands for a list of one."""
    values: dict[str, object] = {}
    own: dict[str, dict[str, object]] = {name: dict(part) for name, part in options.get("settings", {}).items()}
    for key, value in options.items():
        analysis, dot, name = key.partition(".")
        if dot:
            own.setdefault(analysis, {})[name] = value
        else:
            listed = key in ("analyses", "pick") and not isinstance(value, list | tuple)
            values[key] = [value] if listed else value
    if "pick" in values:
        values["pick"] = [str(one) for one in values["pick"]]  # type: ignore[attr-defined]
    settings = config.validate(ExplainSettings, {**values, "settings": own}, place)
    for name in (*settings.analyses, *settings.settings):
        if name not in catalog.names("explain") and not name.endswith(".py"):
            raise UserError(f'{place}: there is no analysis "{name}".{nearest(name, catalog.names("explain"))}')
    for name in settings.settings:
        if name not in (settings.analyses or DEFAULT):
            raise UserError(f'{place}: settings are given for "{name}", which is not asked for: add it to analyses=')
    return settings


def explain(
    source: Source,
    images: ImageSet,
    settings: ExplainSettings,
    folder: Path,
    *,
    device: torch.device,
    progress: Progress,
) -> Explained:
    """Run the analyses and write what they found and explain.html into `folder`.

    Raises UserError for an analysis that was asked for and cannot be made; of the usual ones those that apply are made.
    """
    names = settings.analyses or DEFAULT
    analyses = {name: _analysis(name, settings) for name in names}
    if settings.twin and not settings.against:
        raise UserError("explain: twin=RUN says how far two seeds agree, and needs against=RUN to be compared with")
    subject = _subject(source, images, settings, device, progress)
    found: dict[str, Findings] = {}
    if settings.analyses:
        for analysis in analyses.values():
            analysis.require(subject)  # before the first of them is made
    folder.mkdir(parents=True, exist_ok=True)
    progress.start("explain", len(analyses), "analyses")
    about = {"encoder": source.name, "images": images.name, "num_images": len(images)}
    for number, (name, analysis) in enumerate(analyses.items(), start=1):
        try:
            found[name] = analysis.explain(subject)
        except UserError:
            if settings.analyses:
                raise
            continue  # one of the usual ones that does not apply here
        save(found[name], folder, name, analysis.how(about))
        progress.update(number)
    progress.finish("")
    page = write_page(folder, source.name, images.name, found)
    return Explained(folder, page, found)


def _analysis(name: str, settings: ExplainSettings) -> Analysis[Any]:
    kind = catalog.find("explain", name, Analysis)
    return kind(config.validate(kind.Config, settings.settings.get(name, {}), name))


def _subject(
    source: Source, images: ImageSet, settings: ExplainSettings, device: torch.device, progress: Progress
) -> Subject:
    """Everything that the analyses may ask for. With labels and no classifier of its own, one is fitted on a part of them."""
    if images.multi_label:
        progress.say(f"{images.name} has attributes rather than classes: what needs classes is left out")
    values = features(source.encoder, images, device, FEATURE_BATCH)
    rng = Rng.from_seed(settings.seed)
    head, judged = source.head, torch.empty(0, dtype=torch.int64)
    known, pool = np.empty(0, dtype=np.int64), np.arange(len(images))
    if head is not None:
        images = _renamed(images, source.classes)
        assert images.labels is not None
        judged = torch.nonzero(images.labels >= 0)[:, 0]
    elif images.labels is not None and not images.multi_label:
        parts = split(images, test=settings.test if settings.test < 1 else int(settings.test), rng=rng)
        judged = torch.from_numpy(parts.test_rows)
        known, pool = draw_labels(images, parts, "all", 0, rng).rows, parts.train_rows
        head = _fitted(source.encoder, images, values, known, pool, rng)

    def viewer(folder: str) -> Viewer:
        other = Source.open(Path(folder).expanduser())
        own = features(other.encoder, images, device, FEATURE_BATCH)
        classifier = other.head if other.head is not None and other.classes == images.classes else None
        if classifier is None and len(known):
            classifier = _fitted(other.encoder, images, own, known, pool, rng)
        return Viewer(name=other.name, encoder=other.encoder, features=own, classifier=classifier)

    return Subject(
        viewer=Viewer(name=source.name, encoder=source.encoder, features=values, classifier=head),
        images=images, rows=_rows(images, judged, settings, rng.fork("rows")), judged_rows=judged,
        other=viewer(settings.against) if settings.against else None,
        twin=viewer(settings.twin) if settings.twin else None,
        shown=source.shown, device=device, rng=rng.fork("explain"),
    )  # fmt: skip


def _fitted(
    encoder: Encoder, images: ImageSet, values: Tensor, known: np.ndarray, pool: np.ndarray, rng: Rng
) -> LinearMap:
    """A linear probe, its strength chosen as every probe's is."""
    budget = Budget(
        images=images,
        train_rows=torch.from_numpy(known),
        pool_rows=torch.from_numpy(pool),
        encoder=encoder,
        features=values,
    )
    return Linear(Linear.Config()).hand_over(budget, rng.fork("protocol"))[1]


def _renamed(images: ImageSet, classes: Sequence[str]) -> ImageSet:
    """The images with their labels as numbers of the model's classes; other labels are none."""
    labels = torch.full((len(images),), -1, dtype=torch.int64)
    if images.labels is not None and not images.multi_label:
        number = torch.tensor([list(classes).index(name) if name in classes else -1 for name in images.classes])
        labels = torch.where(images.labels >= 0, number[images.labels.clamp(min=0)], -1)
    return replace(images, labels=labels, classes=tuple(classes))


def _rows(images: ImageSet, judged: Tensor, settings: ExplainSettings, rng: Rng) -> Tensor:
    """Int64 [n]: the images picked, or some spread over the classes, from those that no classifier learned from."""
    if settings.pick:
        return torch.tensor([_place(images, one) for one in settings.pick])
    candidates = judged if len(judged) else torch.arange(len(images))
    candidates = candidates[rng.permutation(len(candidates))]
    if images.labels is None or images.multi_label:
        return candidates[: settings.count].sort().values
    return spread(images.labels, candidates, settings.count)


def spread(labels: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Int64, at most `count` of the candidates: the first of every class before any class's second, sorted by class."""
    seen: dict[int, int] = {}
    rank = []
    for label in labels[candidates].tolist():
        rank.append(seen.setdefault(label, 0))
        seen[label] += 1
    chosen = candidates[torch.from_numpy(np.argsort(rank, kind="stable"))[:count]]
    return chosen[labels[chosen].argsort(stable=True)]


def _place(images: ImageSet, wanted: str) -> int:
    """The row of an id, or of a path that ends so. UserError if there is none, or more than one."""
    found = np.flatnonzero(images.ids == wanted)
    if not len(found):
        found = np.flatnonzero([str(path).replace("\\", "/").endswith(wanted) for path in images.paths])
    if len(found) == 1:
        return int(found[0])
    if len(found):
        raise UserError(f'pick: {len(found)} images of {images.name} end in "{wanted}", such as {images.paths[found[0]]}: say more of the path')  # fmt: skip
    names = [Path(str(path)).name for path in images.paths[:1000]]
    close = nearest(wanted, names)
    hint = close if "Did you mean" in close else " Give an id, or the end of a path."
    raise UserError(f'pick: no image of {images.name} is called "{wanted}".{hint}')
