"""One battery over every operation. A new file in views/ is tested here without a line being added."""

import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfstudy import catalog
from selfstudy.errors import UserError
from selfstudy.rng import Draws, Rng
from selfstudy.views import PRESETS, Chain, Crop, Operation, _blocks, papers, parse, preset

SIZES = [(28, 28), (32, 32), (7, 7), (9, 14), (33, 6), (2, 2), (70, 70)]
FAULTS = {
    "affine": [
        {"degrees": -1}, {"degrees": 181}, {"translate": 1.5}, {"scale": [0, 1]}, {"scale": [1.2, 0.8]}, {"shear": 90}, {"fill": 2},
    ],
    "blur": [{"sigma": [0, 1]}, {"sigma": [2, 1]}, {"p": 1.1}],
    "crop": [{"scale": [0.5, 1.5]}, {"scale": [0, 1]}, {"ratio": [0, 1]}, {"ratio": [2, 1]}, {"p": 0.5}, {"interpolation": "nearest"}],
    "dilation": [{"size": 1}, {"size": 2.5}, {"ink": "blue"}],
    "elastic": [{"alpha": 0}, {"sigma": 0.1}, {"fill": -1}],
    "erase": [{"area": [0.5, 2]}, {"area": [0, 0]}, {"ratio": [0, 1]}, {"value": 7}, {"value": "black"}],
    "erosion": [{"size": 0}, {"ink": 1}],
    "flip": [{"p": -0.1}, {"vertical": "upside"}],
    "grey": [{"p": 2}],
    "intensity": [{"brightness": 1.5}, {"contrast": -1}, {"gamma": 5}],
    "jitter": [{"brightness": -0.1}, {"contrast": float("inf")}, {"hue": 0.6}, {"p": float("nan")}],
    "noise": [{"std": [0, 0]}, {"std": [0, 2]}, {"std": [0.2, 0.1]}, {"std": 0.1}],
    "quarter": [{"p": 2}],
    "solarise": [{"threshold": 1.5}],
}  # fmt: skip


@pytest.fixture(params=catalog.names("views"))
def operation(request: pytest.FixtureRequest) -> Operation:
    return catalog.find("views", request.param, Operation)()


def pictures(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(height))


def draws_of(index: Tensor, seed: int = 0) -> Draws:
    return Rng.from_seed(seed).per_image(index)


def test_the_folder_holds_what_is_promised():
    promised = "crop flip affine jitter grey blur solarise erosion dilation elastic erase noise"
    assert set(promised.split()) <= set(catalog.names("views"))


def test_settings_survive_json(operation: Operation):
    assert dataclasses.is_dataclass(operation) and operation.__dataclass_params__.frozen
    [again] = parse([json.loads(json.dumps(operation.to_json()))], "here")
    assert again == operation and [operation.name] == list(operation.to_json())
    assert parse([operation.name], "here") == (operation,)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_shape_type_range_and_purity(operation: Operation, channels: int, size: tuple[int, int]):
    images = pictures(5, channels, *size)
    for batch in (images, torch.zeros_like(images), torch.ones_like(images), images[:1]):
        before = batch.clone()
        changed = operation(batch, draws_of(torch.arange(len(batch))))
        assert changed.shape == batch.shape and changed.dtype == torch.float32
        assert float(changed.min()) >= 0.0 and float(changed.max()) <= 1.0
        assert torch.equal(batch, before) and changed.is_contiguous()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_its_images_one_by_one(operation: Operation, channels: int, monkeypatch: pytest.MonkeyPatch):
    """Bit by bit, wherever blocks begin and whatever stands beside an image."""
    images, index = pictures(40, channels, 28, 28), torch.arange(40) * 11 + 3
    whole = operation(images, draws_of(index))
    alone = [operation(images[i : i + 1], draws_of(index[i : i + 1])) for i in range(40)]
    assert torch.equal(whole, torch.cat(alone))
    order = index.argsort(descending=True)
    assert torch.equal(operation(images[order], draws_of(index[order])), whole[order])
    monkeypatch.setattr(_blocks, "_BLOCK_VALUES", 7 * images[0].numel())
    assert torch.equal(operation(images, draws_of(index)), whole)


def test_threads_change_nothing(operation: Operation):
    images, index = pictures(30, 3, 28, 28), torch.arange(30)
    alone = operation(images, draws_of(index))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(operation(images, draws_of(index)), alone)
        with ThreadPoolExecutor(1) as another:
            assert torch.get_num_threads() == another.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_draws_decide_and_nothing_else(operation: Operation):
    images, index = pictures(20, 3, 16, 16), torch.arange(20)
    first = operation(images, draws_of(index))
    torch.manual_seed(1)
    assert torch.equal(operation(images, draws_of(index)), first)
    if operation.draw(draws_of(index), 16, 16):  # something is random in it
        assert not torch.equal(operation(images, draws_of(index, seed=1)), first)
        same_picture = images[:1].expand(20, -1, -1, -1)
        assert len(operation(same_picture, draws_of(index)).flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_a_chain_applies_it_to_its_share_of_the_images(operation: Operation, p: float):
    if isinstance(operation, Crop):
        return
    count = 400
    images = (pictures(count, 3, 12, 12) * 255).to(torch.uint8)
    chain = Chain(size=12, crop=Crop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), steps=(dataclasses.replace(operation, p=p),))
    views = chain(images, torch.arange(count), Rng.from_seed(0))
    changed = int((views != images.float() / 255).flatten(1).any(dim=1).sum())
    assert (
        abs(changed - p * count) <= 4 * math.sqrt(count * p * (1 - p)) + 0.05 * p * count
    )  # some are changed by nothing


def test_what_it_returns_may_be_overwritten_by_the_next(operation: Operation):
    if isinstance(operation, Crop):
        return
    index, rng = torch.arange(30), Rng.from_seed(0)
    images = (pictures(30, 3, 12, 12) * 255).to(torch.uint8)
    steps = (dataclasses.replace(operation, p=1.0), catalog.find("views", "flip", Operation)())
    once, both = (Chain(size=12, crop=Crop(), steps=steps[:count])(images, index, rng) for count in (1, 2))
    flipped = (both != once).flatten(1).any(dim=1)
    assert 5 < int(flipped.sum()) < 25 and torch.equal(both[flipped], once[flipped].flip(3))


@pytest.mark.parametrize(
    ("name", "settings"), [(name, settings) for name, faults in FAULTS.items() for settings in faults], ids=str
)
def test_settings_without_sense_are_refused_in_words(name: str, settings: dict[str, object]):
    with pytest.raises(UserError, match=f"^study: {name}: ") as refusal:
        parse([{name: settings}], "study")
    assert "\n" not in str(refusal.value) and str(*settings) in str(refusal.value)


def test_every_operation_has_settings_that_are_refused(operation: Operation):
    assert operation.name in FAULTS


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["elastik"], 'there is no view "elastik". Did you mean "elastic"?'),
        ([{"affine": {"degree": 3}}], 'there is no setting "degree". Did you mean "degrees"?'),
        ([{"affine": {}, "flip": {}}], "view 1 is"),
        (["flip", {"crop": {}}], "crop is view 2, but must come first"),
        ([{"affine": 3}], "affine is 3, but must be"),
    ],
)
def test_lists_without_sense_are_refused_in_words(entries: list[object], words: str):
    with pytest.raises(UserError) as refusal:
        parse(entries, "study")
    assert words in str(refusal.value)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_lists_a_study_may_hold(name: str):
    entries = json.loads(json.dumps(preset(name, "here")))
    chain = papers.simclr(28).with_steps(parse(entries, "here"))
    for channels in (1, 3):
        views = chain((pictures(6, channels, 32, 32) * 255).to(torch.uint8), torch.arange(6), Rng.from_seed(0))
        assert views.shape == (6, channels, 28, 28) and 0 <= float(views.min()) <= float(views.max()) <= 1


def test_the_preset_for_digits_shows_whole_images_and_never_mirrors_them():
    names = [operation.name for operation in parse(PRESETS["digits"], "here")]
    assert "flip" not in names and {"affine", "elastic", "dilation", "erosion"} <= set(names)
    assert papers.simclr(28).with_steps(parse(PRESETS["digits"], "here")).crop.scale == (1.0, 1.0)


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match='Did you mean "digits"'):
        preset("digit", "here")


def test_with_steps_keeps_the_crop_unless_it_is_given():
    chain, own = papers.simclr(28), Crop(scale=(0.5, 1.0))
    assert chain.with_steps(parse(["flip"], "here")).crop == chain.crop
    assert chain.with_steps((own, *chain.steps)).crop == own
    assert chain.with_steps((own, *chain.steps)).steps == chain.steps


@pytest.mark.parametrize(
    ("chain", "shares"),
    [
        (papers.simclr(32), {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.5}),
        (papers.cifar_simclr(32), {"flip": 0.5, "jitter": 0.8, "grey": 0.2}),
        (papers.byol_first(32), {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 1.0}),
        (papers.byol_second(32), {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.1, "solarise": 0.2}),
        (papers.byol_second(32, blur=False), {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "solarise": 0.2}),
    ],
)
def test_the_papers_chains(chain: Chain, shares: dict[str, float]):
    assert {step.name: step.p for step in chain.steps} == shares and chain.crop == Crop()
    assert chain.to_json()["size"] == 32


def test_the_papers_strengths():
    jitter = {
        name: papers_chain.steps[1]
        for name, papers_chain in {"full": papers.simclr(32), "half": papers.cifar_simclr(32)}.items()
    }
    assert jitter["full"].to_json()["jitter"] == {
        "p": 0.8,
        "brightness": 0.8,
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.2,
    }
    assert jitter["half"].to_json()["jitter"] == {
        "p": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
    }
    byol = papers.byol_first(32).steps[1]
    assert byol.to_json()["jitter"] == {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}


OWN_VIEW = """
from dataclasses import dataclass
from selfstudy.views import Operation

@dataclass(frozen=True, kw_only=True)
class Invert(Operation):
    def draw(self, draws, height, width):
        return ()

    def apply(self, images):
        return 1 - images
"""


def test_a_view_of_the_users_own_goes_to_json_and_back(tmp_path: Path):
    """Mutation: naming it by its module, which is named by a hash that nobody can look up."""
    file = tmp_path / "invert.py"
    file.write_text(OWN_VIEW, encoding="utf-8")
    (own,) = parse([str(file)], "views")
    assert parse([own.to_json()], "views") == (own,)
