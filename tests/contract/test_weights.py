"""Starting weights: files in the true formats, an earlier run, published ones that cannot be had; and the row `pretrained`."""

import json
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch

import selfstudy
from selfstudy import weights
from selfstudy.encoder import Backbone, BackboneSpec, build_backbone
from selfstudy.errors import MissingWeights, RunError, UserError
from selfstudy.images import ImageSet
from selfstudy.study.settings import validate

NAME = "test_vit"


@pytest.fixture(scope="module")
def original() -> torch.nn.Module:
    """As it is published: three channels, 160 pixels, 1,000 classes; here with random weights."""
    torch.manual_seed(3)
    return timm.create_model(NAME)


@pytest.fixture(scope="module")
def file(original: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    safetensors.torch.save_file(original.state_dict(), path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    for key in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(key, raising=False)


def made(name: str = NAME, **changes: Any) -> Backbone:
    values = {"channels": 3, "image_size": 160, "mean": (0.1,) * 3, "std": (0.9,) * 3, "stem": "imagenet", **changes}
    channels = values["channels"]
    return build_backbone(BackboneSpec(name=name, **{**values, "mean": (0.1,) * channels, "std": (0.9,) * channels}))


class TestFiles:
    @pytest.mark.parametrize("form", ["safetensors", "torch", "wrapped"])
    def test_features_are_the_originals(self, form: str, original: torch.nn.Module, file: Path, tmp_path: Path):
        """Mutation: weights that are read but not put into the backbone."""
        if form != "safetensors":
            file = tmp_path / "model.pt"
            torch.save({"state_dict": original.state_dict()} if form == "wrapped" else original.state_dict(), file)
        images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        found = weights.start_from(made(), str(file)).eval()
        with torch.no_grad():
            expected = original.eval().forward_head(original.forward_features((images - 0.1) / 0.9), pre_logits=True)
            torch.testing.assert_close(found(images), expected)

    def test_other_sizes_and_channels_are_adapted(self, original: torch.nn.Module, file: Path):
        """Grey images get the sum of the colours' filters, as timm does; the blocks stay as they were."""
        found = weights.start_from(made(channels=1, image_size=28, stem="small"), str(file))
        state, expected = found.state_dict(), original.state_dict()
        assert torch.equal(state["model.blocks.0.attn.qkv.weight"], expected["blocks.0.attn.qkv.weight"])
        assert state["model.patch_embed.proj.weight"].shape == (64, 1, 4, 4)
        same_size = weights.start_from(made(channels=1), str(file)).state_dict()["model.patch_embed.proj.weight"]
        torch.testing.assert_close(same_size, expected["patch_embed.proj.weight"].sum(1, keepdim=True))

    def test_a_small_stem_keeps_its_own_start(self, tmp_path: Path):
        model = timm.create_model("test_resnet")
        safetensors.torch.save_file(model.state_dict(), tmp_path / "resnet.safetensors")
        backbone = made("test_resnet", stem="small", image_size=32)
        before = backbone.state_dict()["model.conv1.weight"].clone()
        after = weights.start_from(backbone, str(tmp_path / "resnet.safetensors")).state_dict()
        assert torch.equal(after["model.conv1.weight"], before)
        key = "layer1.0.conv2.weight"
        assert torch.equal(after[f"model.{key}"], model.state_dict()[key])

    def test_code_is_not_run(self, tmp_path: Path):
        """A pickle that would write a file on loading. Mutation: weights_only=False."""
        (tmp_path / "evil.pt").write_bytes(pickle.dumps(_Evil(tmp_path / "owned")))
        with pytest.raises(UserError, match="whose code is never run here"):
            weights.read(tmp_path / "evil.pt")
        assert not (tmp_path / "owned").exists()

    def test_what_is_no_weights_is_named(self, file: Path, tmp_path: Path):
        (tmp_path / "torn.safetensors").write_bytes(file.read_bytes()[:1000])
        with pytest.raises(UserError, match=r"torn\.safetensors cannot be read as weights"):
            weights.read(tmp_path / "torn.safetensors")
        with pytest.raises(MissingWeights, match=r"the file of weights .* does not exist"):
            weights.start_from(made(), str(tmp_path / "none.safetensors"))
        with pytest.raises(UserError, match="are not those of test_resnet"):
            weights.start_from(made("test_resnet"), str(file))
        torch.save({"epoch": 3}, tmp_path / "other.pt")
        with pytest.raises(UserError, match="holds no weights by name"):
            weights.read(tmp_path / "other.pt")
        with pytest.raises(UserError, match="conv4 can only start from a run's folder"):
            weights.start_from(made("conv4", image_size=32), str(file))


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class TestPublished:
    def test_offline_the_error_says_which_file_to_fetch(self, offline: None):
        with pytest.raises(MissingWeights) as caught:
            weights.find_published(NAME)
        assert "timm/test_vit.r160_in1k/resolve/main/model.safetensors, and give its path" in str(caught.value)

    def test_a_name_without_weights_is_refused(self):
        with pytest.raises(UserError, match=r'timm has no model "test_vitt".*Did you mean "test_vit'):
            weights.published_facts("test_vitt")

    def test_pixels_are_normalised_as_its_makers_did(self):
        """ImageNet's statistics for ResNet-18, not one half; their mean for grey. Mutation: no normalise_by."""
        mean = timm.get_pretrained_cfg("resnet18").mean
        assert weights.published_shape("resnet18", channels=3).backbone.spec.mean == pytest.approx(mean)
        (grey,) = weights.published_shape("resnet18", channels=1).backbone.spec.mean
        assert grey == pytest.approx(sum(mean) / 3) and abs(grey - 0.5) > 0.01

    def test_the_encoder_is_fed_as_its_makers_did(self, file: Path):
        """Mutation: the study's size or normalisation."""
        encoder = weights.published(NAME, str(file), channels=1)
        assert encoder.feed.size == 160 and encoder.backbone.spec.mean == (0.5,)
        assert encoder(torch.zeros(2, 1, 9, 9, dtype=torch.uint8)).shape == (2, 64)


class TestRuns:
    def test_a_run_goes_on_from_another(self, tmp_path: Path):
        """Without a step of training the weights are the first run's. Mutation: starting anew."""
        digits = selfstudy.images("digits", size=8)
        options: dict[str, Any] = {"backbone": "conv4", "images_seen": 256, "quiet": True}
        first = selfstudy.pretrain("autoencoder", digits, out=tmp_path / "first", **options)
        backbone = build_backbone(first.encoder.backbone.spec)
        found = weights.start_from(backbone, str(tmp_path / "first"))
        for name, value in first.encoder.backbone.state_dict().items():
            assert torch.equal(found.state_dict()[name], value), name
        second = selfstudy.pretrain(
            "simclr", digits, out=tmp_path / "second", init=str(tmp_path / "first"), lr=1e-9, **options
        )
        name = "convolutions.0.weight"
        torch.testing.assert_close(
            second.encoder.backbone.state_dict()[name], first.encoder.backbone.state_dict()[name]
        )

    def test_another_shape_is_refused(self, tmp_path: Path):
        digits = selfstudy.images("digits", size=8)
        selfstudy.pretrain("autoencoder", digits, out=tmp_path / "first", backbone="conv4", images_seen=128, quiet=True)
        with pytest.raises(UserError, match="whose image_size is 8, but this run's is 32"):
            weights.start_from(made("conv4", image_size=32, channels=1, stem="small"), str(tmp_path / "first"))


TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "threads": 1, "test": 100,
    "budget": {"images_seen": 640}, "labels": [2], "draws": 1, "seeds": 1, "protocols": ["linear"], "metric": "accuracy",
}  # fmt: skip


class TestRow:
    def study(self, folder: Path, row: dict[str, object]) -> Path:
        settings = validate({**TINY, "methods": ["random", {"pretrained": row}]}, "test").to_json()
        (folder / "tiny.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        return selfstudy.study(str(folder / "tiny.yaml"), out=folder / "out", quiet=True).folder

    def test_published_weights_are_a_row(self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        folder = self.study(tmp_path, {"backbone": NAME, "weights": str(file)})
        table = pd.read_csv(folder / "results.csv")
        assert set(table[table.entry == "pretrained"].weights) == {"published"}
        assert (table.status == "done").all()

    def test_weights_that_cannot_be_had_are_the_failure_of_their_row(self, offline: None, tmp_path: Path):
        """The others go on, and the report says which file to fetch. Mutation: an error that stops the study."""
        with pytest.raises(RunError, match="fetch https://"):
            self.study(tmp_path, {"backbone": NAME})
        table = pd.read_csv(tmp_path / "out" / "results.csv")
        assert table[table.entry == "random"].value.notna().all()
        assert "resolve/main/model.safetensors" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
        assert [gap["row"] for gap in summary["missing"]] == ["pretrained"]

    def test_moving_the_weights_computes_nothing_anew(self, file: Path, tmp_path: Path, digits: ImageSet):
        """Mutation: the path in the hash."""
        from selfstudy.study.material import gather
        from selfstudy.study.plan import plan

        copy = tmp_path / "copy.safetensors"
        copy.write_bytes(file.read_bytes())
        found = []
        for path in (file, copy):
            settings = validate({**TINY, "methods": [{"pretrained": {"backbone": NAME, "weights": str(path)}}]}, "test")
            found.append([cell.hash for cell in plan(settings, gather(settings, None))])
        assert found[0] == found[1] and len(np.unique(found[0])) == len(found[0])
