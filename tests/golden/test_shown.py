"""What methods show when their training is over: an answer that is right gives back the picture, and nothing is changed."""

import json
from pathlib import Path

import pytest
import safetensors
import torch
from torch import Tensor, nn

import selfstudy
from selfstudy import catalog
from selfstudy.explain import load
from selfstudy.explaining import read_shown
from selfstudy.images import ImageSet
from selfstudy.method import Method
from selfstudy.methods.jigsaw import in_order
from selfstudy.methods.mae import normalise_patches, patchify, pick
from selfstudy.progress import Progress
from selfstudy.rng import Rng
from selfstudy.training import Data, resolve
from selfstudy.training.pretrain import build_method, pretrain, write_shown
from selfstudy.types import Batch, Step, Views
from tests.method_task import overrides

METHODS = [name for name in catalog.names("methods") if catalog.find("methods", name, Method).show is not Method.show]
CPU = torch.device("cpu")


def pictures(channels: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(0, 256, (40, channels, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet("tiny", stored, 32, *(torch.arange(40).numpy().astype(str),) * 3)


def settings_of(name: str, images: ImageSet, **more: object):  # type: ignore[no-untyped-def]
    own = {**overrides(name), "images_seen": 32, "batch_size": 16, "seed": 0, **more}
    return resolve(name, own, images.card, "test")


def begun(name: str, images: ImageSet, **more: object) -> tuple[Method, Data, Views, Step]:
    """A method before its training, in eval mode, with views of four images."""
    settings = settings_of(name, images, **more)
    method = build_method(settings, images, Rng.from_seed(0)).eval()
    data = Data(images, settings.chains(), Rng.from_seed(0))
    views = method.views(Batch(images.images[:4], torch.arange(4)), Rng.from_seed(1), data.chains)
    return method, data, views, Step(0, 0, False, 0.0, Rng.from_seed(2))


def test_the_methods_that_draw_or_put_in_order_show_it():
    assert METHODS == ["autoencoder", "colorization", "denoising", "jigsaw", "mae", "vae"]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_keeps_what_its_method_shows(name: str, tmp_path: Path):
    """Pictures of 8 bits by name, explained without the method. Mutation: names in the order of the tensors' sizes."""
    images = pictures()
    run = pretrain(settings_of(name, images), images, tmp_path / name, progress=Progress(quiet=True), device=CPU)
    with safetensors.safe_open(run.folder / "shown.safetensors", "pt") as file:
        names = json.loads(file.metadata()["names"])
    shown = read_shown(run.folder)
    assert list(shown) == names and all(value.dtype == torch.uint8 and value.ndim == 4 for value in shown.values())
    assert {len(value) for value in shown.values()} == {12}
    analysis = "jigsaws" if name == "jigsaw" else "reconstructions"
    selfstudy.explain(run, images, out=tmp_path / "out", quiet=True, analyses=[analysis], count=2)
    assert len(load(tmp_path / "out", analysis).table) == 12


@pytest.mark.parametrize("name", METHODS)
def test_showing_changes_nothing(name: str, tmp_path: Path):
    """Neither weights nor the statistics of BatchNorm, nor torch's generator. Mutation: train mode."""
    method, data, _, _ = begun(name, pictures())
    before = {key: value.clone() for key, value in method.state_dict().items()}
    generator = torch.random.get_rng_state()
    write_shown(method.train(), data, 0, CPU, tmp_path)
    first = (tmp_path / "shown.safetensors").read_bytes()
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert torch.equal(generator, torch.random.get_rng_state())
    write_shown(method.train(), data, 0, CPU, tmp_path)
    assert (tmp_path / "shown.safetensors").read_bytes() == first


def test_a_method_without_pictures_writes_none(tmp_path: Path):
    method, data, _, _ = begun("simclr", pictures())
    write_shown(method, data, 0, CPU, tmp_path)
    assert not list(tmp_path.iterdir())


class _Answer(nn.Module):
    """Says what it was told to, whatever it is asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *asked: Tensor) -> Tensor:
        return self.answer


@pytest.mark.parametrize("norm_pix", [True, False])
def test_mae_with_the_true_patches_gives_back_the_picture(norm_pix: bool):
    """Mutation: rows and columns of a patch swapped, its mean and deviation left out, hidden and kept mixed up."""
    method, _, views, step = begun("mae", pictures(), **{"method.norm_pix": norm_pix})
    patches = patchify((views["base"] - method.mean) / method.std, method.backbone.patch_size)  # type: ignore[arg-type]
    _, hidden = method.split(views.index, step)  # type: ignore[operator]
    truth = pick(normalise_patches(patches) if norm_pix else patches, hidden)
    method.decoder = _Answer(truth)
    with torch.no_grad():
        shown = method.show(views, step)
    torch.testing.assert_close(shown["drawn"], views["base"], atol=1e-4, rtol=1e-4)
    seen = (shown["input"] == shown["original"]).float().mean()
    assert 0.2 < seen < 0.35  # three quarters are hidden


def test_a_jigsaw_with_the_true_order_is_solved():
    """Mutation: the order applied where its inverse belongs; then only orders that are their own inverse are solved."""
    method, _, views, step = begun("jigsaw", pictures())
    label, orders = views["label"], method.orders
    method.fuse = _Answer(nn.functional.one_hot(label, len(orders)).float()[:, None])  # type: ignore[arg-type]
    with torch.no_grad():
        shown = method.show(views, step)
    assert torch.equal(shown["put back"], shown["in order"]) and not torch.equal(shown["shuffled"], shown["in order"])
    side = shown["shuffled"].shape[-1] // 3
    first = in_order(views["tiles"].flatten(2), orders[label]).view(views["tiles"].shape)[:, 0]  # type: ignore[index]
    torch.testing.assert_close(shown["shuffled"][:, :, :side, :side], method.to_pixels(first).clamp(0, 1))  # type: ignore[operator]


def test_colorization_with_the_true_colours_gives_back_smooth_ones():
    """Pictures of one colour each have no detail to lose. Mutation: a and b swapped, lightness in [0, 1] instead of 100."""
    colours = torch.tensor([[200, 40, 30], [30, 160, 60], [40, 60, 200], [220, 200, 40]], dtype=torch.uint8)
    stored = colours[:, :, None, None].expand(-1, -1, 32, 32).repeat(10, 1, 1, 1).contiguous()
    images = ImageSet("flat", stored, 32, *(torch.arange(40).numpy().astype(str),) * 3)
    method, _, views, step = begun("colorization", images)
    with torch.no_grad():
        shown = method.show(views, step)
    torch.testing.assert_close(shown["original"], stored[:4].float() / 255, atol=0.01, rtol=0)
    assert (shown["input"].amax(1) - shown["input"].amin(1)).max() == 0
