"""Judging one encoder outside a study: every protocol, classes, attributes and pages, with intervals. Tests name mutations."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from selfstudy import catalog, console
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import measure_attributes
from selfstudy.images import ImageSet, load, split
from selfstudy.judge import judge, resolve, shown_metrics
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from tests.digits_task import ATTRIBUTES, in_pages, with_attributes


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load("digits", image_size=8, labelled=True).select(np.arange(0, 1797, 2))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    spec = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,))
    with Rng.from_seed(0).seeding_torch():
        return Encoder(build_backbone(spec), Feed(size=8, channels=1), {"method": "random"})


def table(encoder: Encoder, images: ImageSet, **options: Any) -> pd.DataFrame:
    settings = resolve({"draws": 1, **options}, "evaluate")
    return judge(encoder, images, settings, device=torch.device("cpu"), progress=Progress(quiet=True))


SHORT = {"finetune.images_seen": 320, "head.images_seen": 320, "layers.layers": ["conv4", "features"]}


def test_every_protocol_fills_a_row(digits: ImageSet, encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    """With every metric, an interval around the one that decides, and JSON. Mutation: the interval of another metric."""
    names = catalog.names("evaluation")
    scores = table(encoder, digits, protocols=names, labels=[6], metric="macro_f1", **SHORT)
    assert scores.protocol.tolist() == names and shown_metrics(scores)[0] == "accuracy"
    assert (scores.low <= scores.macro_f1).all() and (scores.macro_f1 <= scores.high).all()
    assert ((scores.high - scores.low)[scores.protocol != "majority"] > 0.02).all()
    details = {name: json.loads(text) for name, text in zip(scores.protocol, scores.details, strict=True)}
    assert list(details["layers"]["layers"]) == ["conv4", "features"]
    console.print_scores(scores)
    assert "balanced accuracy" in capsys.readouterr().out


def test_attributes_have_their_own_metrics(
    digits: ImageSet, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every protocol again. Mutation: print the columns of classes."""
    names = catalog.names("evaluation")
    scores = table(encoder, with_attributes(digits), protocols=names, labels=[30], **SHORT)
    expected = set(measure_attributes(np.array([[0], [1]], dtype=np.int8), np.array([[0.1], [0.9]])))
    assert expected <= set(scores.columns) and "accuracy" not in scores.columns
    assert (scores.low <= scores.macro_auc).all() and (scores.macro_auc <= scores.high).all()
    assert [json.loads(text)["undefined_attributes"] for text in scores.details] == [0] * len(names)
    console.print_scores(scores)
    shown = " ".join(capsys.readouterr().out.split())
    assert "macro" in shown and "auc" in shown and "balanced" in shown


def test_by_default_attributes_choose_by_the_area_under_the_curve(digits: ImageSet, encoder: Encoder) -> None:
    images = with_attributes(digits)
    assert images.classes == ATTRIBUTES
    by_kind, named = (table(encoder, images, protocols=["knn"], **extra) for extra in ({}, {"metric": "macro_auc"}))
    assert by_kind.chosen.tolist() == named.chosen.tolist() and by_kind.low.tolist() == named.low.tolist()
    with pytest.raises(UserError, match="metric is 'macro_f2'"):
        table(encoder, images, protocols=["knn"], metric="macro_f2")
    with pytest.raises(UserError, match="metric is accuracy, but the images have attributes"):
        table(encoder, images, protocols=["knn"], metric="accuracy")


def test_pages_are_judged_whole(digits: ImageSet, encoder: Encoder) -> None:
    """Accuracy and its interval are shares of pages. Mutation: count tiles, or resample tiles."""
    paged = in_pages(digits)
    assert paged.pages is not None
    scores = table(encoder, paged, protocols=["knn"], labels=[2], test=0.4)
    test_rows = split(paged, test=0.4, rng=Rng.from_seed(0)).test_rows
    pages = len(set(paged.pages[test_rows].tolist()))
    assert pages < len(test_rows) / 2
    right = float(scores.accuracy[0]) * pages
    assert right == pytest.approx(round(right), abs=1e-6) and 0 < round(right) < pages
    spread = (scores.accuracy[0] * (1 - scores.accuracy[0]) / pages) ** 0.5
    assert scores.high[0] - scores.low[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)
