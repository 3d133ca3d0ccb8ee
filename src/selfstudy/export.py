"""Exporting: an encoder, or a model with its classes, in a form that other programs load; checked by loading it back."""

import importlib.util
import tempfile
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from selfstudy import files
from selfstudy.backbones.timm import Timm, timm_arguments
from selfstudy.encoder import Encoder, state_of
from selfstudy.errors import RunError, UserError, nearest
from selfstudy.model import Model

FORMATS = ("timm", "onnx")
AGREE_WITHIN = 1e-3  # of the largest feature: what other kernels may differ by in float32
_PROBES = 3  # random images that both sides see


def export(source: Encoder | Model, to: str, out: Path) -> str:
    """Write `source` to the folder (timm) or file (onnx) `out`; a sentence on how to load it.

    Raises UserError where the format cannot hold it, RunError if what was written gives other features.
    """
    match to:
        case "timm":
            return _to_timm(source.encoder if isinstance(source, Model) else source, out)
        case "onnx":
            return _to_onnx(source, out)
    raise UserError(f'there is no export format "{to}".{nearest(to, FORMATS)}')


def _to_timm(encoder: Encoder, out: Path) -> str:
    """A folder in the form of timm's own hub: config.json and model.safetensors."""
    import timm

    backbone = encoder.backbone
    if not isinstance(backbone, Timm):
        raise UserError(f"the backbone {backbone.spec.name} is not one of timm's: export it --to onnx")
    if backbone.has_replaced_stem:
        raise UserError(
            f"timm cannot build {backbone.spec.name} with the small stem this run used: export it --to onnx, or pretrain "
            "with stem=imagenet"
        )
    spec = backbone.spec
    arguments = {key: value for key, value in timm_arguments(spec).items() if key not in ("in_chans", "num_classes")}
    size = [spec.channels, spec.image_size, spec.image_size]
    mean, std = (value.flatten().tolist() for value in (backbone.normalise.mean, backbone.normalise.std))
    config = {
        "architecture": spec.name.partition(".")[0], "num_classes": 0, "num_features": backbone.dim, "model_args": arguments,
        "pretrained_cfg": {"input_size": size, "fixed_input_size": False, "mean": mean, "std": std, "num_classes": 0},
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out / "model.safetensors", safetensors.torch.save(state_of(backbone.model), {"format": "pt"}))
    files.write_json(out / "config.json", config)
    with torch.no_grad():
        loaded = timm.create_model(f"local-dir:{out}", pretrained=True, in_chans=spec.channels).eval()
        images = _probes(encoder)
        _require_equal(loaded(backbone.normalise(images)), backbone.eval()(images), out)
    return (
        f'timm.create_model("local-dir:{out}", pretrained=True, in_chans={spec.channels}); its pretrained_cfg holds mean, std '
        "and input size"
    )


class _Pipeline(nn.Module):
    """What the file computes: pixels in [0, 1] to features, and to probabilities where there are classes."""

    def __init__(self, source: Encoder | Model) -> None:
        super().__init__()
        self.encoder = source.encoder if isinstance(source, Model) else source
        self.backbone = self.encoder.backbone  # registered, so that its weights are the file's
        self.model = source if isinstance(source, Model) else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder.pool(images)
        return (features,) if self.model is None else (features, self.model.probabilities(features))


def _to_onnx(source: Encoder | Model, out: Path) -> str:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"exporting to ONNX needs the package {package}: pip install 'selfstudy[onnx]'")
    import onnxruntime

    pipeline = _Pipeline(source).eval()
    images = _probes(pipeline.encoder)
    names = ["features", "probabilities"][: 1 if pipeline.model is None else 2]
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        program = torch.onnx.export(
            pipeline, (images,), input_names=["images"], output_names=names, dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True, verbose=False,
        )  # fmt: skip
        assert program is not None  # it is None only for the old exporter
        program.save(str(Path(folder) / "model.onnx"))
        session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), providers=["CPUExecutionProvider"])
        for found, expected in zip(session.run(None, {"images": images.numpy()}), pipeline(images), strict=True):
            _require_equal(torch.from_numpy(found), expected, out)
        content = (Path(folder) / "model.onnx").read_bytes()
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, content)
    shape = " x ".join(str(side) for side in images.shape[1:])
    classes = "" if pipeline.model is None else f"; the classes are, in order: {', '.join(pipeline.model.classes)}"
    return (
        f"input: images, float32 [batch, {shape.replace(' x ', ', ')}] in [0, 1]; outputs: {', '.join(names)}{classes}"
    )


def _probes(encoder: Encoder) -> Tensor:
    """Random pictures as the backbone takes them, float32 in [0, 1]."""
    size = encoder.feed.size
    pixels = torch.randint(
        0, 256, (_PROBES, encoder.feed.channels, size, size), generator=torch.Generator().manual_seed(0)
    )
    return encoder.feed(pixels.to(torch.uint8))


def _require_equal(found: Tensor, expected: Tensor, out: Path) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not difference <= AGREE_WITHIN:
        raise RunError(
            f"{out} gives other features than the encoder (by {difference:.1e} of the largest), so do not use it"
        )
