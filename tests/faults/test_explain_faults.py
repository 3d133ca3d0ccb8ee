"""Explaining with bad input: one sentence each, and nothing half done."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import selfstudy
from selfstudy import explaining
from selfstudy.encoder import BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import RunError, UserError
from selfstudy.evaluation import LinearMap
from selfstudy.explain import Subject, Viewer, load, save
from selfstudy.explain._attribution import find
from selfstudy.explain.agreement import Agreement
from selfstudy.explain.confused import Confused
from selfstudy.explain.neighbours import Neighbours
from selfstudy.explain.reconstructions import Reconstructions
from selfstudy.explain.saliency import Saliency
from selfstudy.explain.similarity import Similarity
from selfstudy.images import ImageSet
from selfstudy.study.settings import validate


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    return digits.select(np.arange(40))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    spec = BackboneSpec(name="conv4", channels=1, image_size=8, mean=(0.3,), std=(0.4,))
    return Encoder(build_backbone(spec), Feed(size=8, channels=1), {})


@pytest.fixture
def subject(few: ImageSet, encoder: Encoder) -> Subject:
    head = LinearMap(torch.zeros(10, encoder.dim), torch.zeros(10))
    return Subject(
        viewer=Viewer(name="tiny", encoder=encoder, features=encoder(few.images), classifier=head),
        images=few, rows=torch.arange(3), judged_rows=torch.arange(20),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"analyses": "salience"}, 'there is no analysis "salience". Did you mean "saliency"?'),
        ({"analyses": ["saliency", "maps"]}, 'there is no analysis "maps". Did you mean "map"?'),
        ({"analysis": "saliency"}, 'there is no setting "analysis". Did you mean "analyses"?'),
        ({"count": 0}, "count is 0"),
        ({"analyses": "map", "border.frame": 0.2}, 'settings are given for "border", which is not asked for'),
        ({"twin": "runs/other", "analyses": "map"}, "twin=RUN says how far two seeds agree, and needs against=RUN"),
        ({"analyses": "map", "map.layout": "tsnee"}, "layout is 'tsnee'"),
        ({"analyses": "border", "border.frame": 0.5}, "frame is 0.5"),
        (
            {"analyses": "border", "border.method": "neighbours"},
            'there is no attribution "neighbours": expected one of grad_cam',
        ),
        ({"analyses": "border", "border.method": "salienc"}, 'there is no attribution "salienc"'),
        ({"analyses": "saliency"}, "saliency needs a classifier: give labelled images"),
        ({"analyses": "confused"}, "confused needs a classifier"),
        ({"analyses": "agreement"}, "agreement compares two encoders: give the second with against=RUN"),
        ({"analyses": "jigsaws"}, "jigsaws shows what the method itself drew"),
        (
            {"analyses": "similarity", "similarity.to": "class_mean"},
            "similarity to a class mean needs images with one class each",
        ),
        ({"analyses": "similarity", "similarity.views": "foto", "similarity.to": "views"}, 'Did you mean "photo"'),
        ({"pick": "no.png"}, 'pick: no image of digits is called "no.png"'),
        ({"pick": "/1"}, None),
    ],
)
def test_a_mistake_in_the_request(
    options: dict[str, object], sentence: str | None, few: ImageSet, encoder: Encoder, tmp_path: Path
):
    """Before anything is made, as far as it can be known. Mutation: made in the order asked, and then refused."""
    bare = dataclasses.replace(few, labels=None, classes=(), paths=np.array([f"{n}/1" for n in range(40)]))
    with pytest.raises(UserError) as caught:
        selfstudy.explain(encoder, bare, out=tmp_path / "out", quiet=True, **options)  # type: ignore[arg-type]
    assert (sentence or 'pick: 40 images of digits end in "/1", such as 0/1: say more') in str(caught.value)
    assert "\n" not in str(caught.value) and not list((tmp_path).glob("out/*.json"))


def test_a_study_names_the_analysis_it_does_not_know():
    with pytest.raises(UserError, match=r'explain: there is no analysis "salience"\. Did you mean "saliency"'):
        validate(
            {"name": "t", "data": "digits", "image_size": 8, "methods": ["random"], "explain": ["salience"]}, "test"
        )


def test_all_images_of_one_group(subject: Subject, few: ImageSet):
    """Mutation: an image as its own neighbour."""
    one = dataclasses.replace(subject, images=dataclasses.replace(few, groups=np.array(["page"] * 40)))
    assert (
        Neighbours(Neighbours.Config()).explain(one).sentence == "All images are of one group, so none has a neighbour."
    )
    bare = dataclasses.replace(one, viewer=dataclasses.replace(one.viewer, classifier=None))
    with pytest.raises(UserError, match="of one group, so none has a neighbour"):
        Similarity(Similarity.Config()).explain(bare)


def test_a_class_of_one_image_has_no_mean(subject: Subject, few: ImageSet):
    assert few.labels is not None
    labels = few.labels.clone()
    labels[labels == labels[0]] = -1
    labels[0] = few.labels[0]
    alone = dataclasses.replace(subject, images=dataclasses.replace(few, labels=labels), rows=torch.tensor([0]))
    with pytest.raises(UserError, match="has one group only, so it has no mean"):
        Similarity(Similarity.Config(to="class_mean")).explain(alone)


def test_no_image_left_to_judge(subject: Subject):
    with pytest.raises(UserError, match="no labelled image is left to judge"):
        Confused(Confused.Config()).explain(dataclasses.replace(subject, judged_rows=torch.empty(0, dtype=torch.int64)))


def test_a_classifier_that_reads_nothing_has_flat_maps(subject: Subject):
    """Zeros have numbers too. Mutation: dividing by their sum."""
    found = Saliency(Saliency.Config()).explain(subject)
    assert (found.table["total"] == 0).all() and (found.table["half_on"] == 0.5).all()
    agreed = Agreement(Agreement.Config(method="saliency")).explain(dataclasses.replace(subject, other=subject.viewer))
    assert agreed.numbers == {"rmse": 0.0, "ssim": 1.0, "rank": 1.0}


def test_weights_that_are_not_finite_are_named(subject: Subject, encoder: Encoder):
    assert subject.viewer.classifier is not None
    broken = LinearMap(torch.full((10, encoder.dim), torch.nan), torch.zeros(10))
    with pytest.raises(RunError, match="values that are not finite"):
        find("saliency").explain(
            dataclasses.replace(subject, viewer=dataclasses.replace(subject.viewer, classifier=broken))
        )


def test_a_method_that_draws_something_else(subject: Subject, few: ImageSet):
    shown = {"in order": few.images[:2], "shuffled": few.images[:2], "put back": few.images[:2]}
    with pytest.raises(UserError, match="tiny is of a method that draws no pictures"):
        Reconstructions(Reconstructions.Config()).explain(dataclasses.replace(subject, shown=shown))


def test_images_with_attributes_have_no_classes(few: ImageSet, encoder: Encoder, tmp_path: Path):
    """What needs no class is made. Mutation: a row of attributes taken for a class."""
    marks = torch.randint(0, 2, (40, 3), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    several = dataclasses.replace(few, labels=marks, classes=("a", "b", "c"))
    found = selfstudy.explain(encoder, several, out=tmp_path, quiet=True, analyses=["neighbours", "border"], count=2)
    assert set(found.findings) == {"neighbours", "border"}
    with pytest.raises(UserError, match="confused needs a classifier"):
        selfstudy.explain(encoder, several, out=tmp_path, quiet=True, analyses=["confused"])


def test_an_encoder_for_other_channels(few: ImageSet, tmp_path: Path):
    spec = BackboneSpec(name="conv4", channels=2, image_size=8, mean=(0.3,) * 2, std=(0.4,) * 2)
    three = dataclasses.replace(few, images=few.images.expand(-1, 3, -1, -1), labels=None)
    with pytest.raises(UserError, match="the images have 3 channels, but the encoder takes 2"):
        selfstudy.explain(Encoder(build_backbone(spec), Feed(size=8, channels=2), {}), three, out=tmp_path, quiet=True)


def test_damaged_findings_are_named(subject: Subject, tmp_path: Path):
    made = Neighbours(Neighbours.Config())
    save(made.explain(subject), tmp_path, "neighbours", made.how({}))
    (tmp_path / "neighbours-neighbours.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"the findings of neighbours in .* are damaged"):
        load(tmp_path, "neighbours")
    (tmp_path / "neighbours.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"neighbours\.json cannot be read"):
        load(tmp_path, "neighbours")
    with pytest.raises(UserError, match=r"saliency\.json cannot be read"):
        load(tmp_path, "saliency")


def test_damaged_drawings_are_named(encoder: Encoder, tmp_path: Path):
    encoder.save(tmp_path)
    (tmp_path / "shown.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"shown\.safetensors is damaged"):
        explaining.Source.open(tmp_path)
