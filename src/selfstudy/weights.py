"""Starting weights: published ones of timm, a file, or the encoder of an earlier run. Nothing is ever unpickled.

`init` of a run and `weights` of the row `pretrained` are read here. "timm" asks timm's hub for the weights that belong to
the backbone's name; without a network they must lie in the hub's cache, or be named as a file.
"""

import hashlib
import os
import pickle
import socket
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from selfstudy.backbones.timm import Timm, timm_arguments
from selfstudy.encoder import Backbone, BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.errors import MissingWeights, UserError, nearest

# Where training scripts keep the weights inside a checkpoint; timm looks into the same places in the same order.
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model")
PUBLISHED = "timm"  # what stands for the published weights of the backbone's name
HUB = "huggingface.co"
_PATIENCE_SECONDS = 5.0  # to find out that there is no network; the hub's own client would try for a minute


def published_facts(name: str) -> Mapping[str, Any]:
    """timm's pretrained_cfg of a model: mean, std, input_size and hf_hub_id. UserError if it has no published weights."""
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise UserError(f'timm has no model "{name}".{nearest(name, timm.list_models())}')
    found = timm.get_pretrained_cfg(name)
    if found is None or not (found.hf_hub_id or found.url):
        raise UserError(f'backbone "{name}" has no published weights that timm knows; name a file of weights instead')
    return found.to_dict()


def published(backbone: str, source: str, channels: int) -> Encoder:
    """A timm model with its published weights (or those of a file), at the size and normalisation it was made for."""
    made = published_shape(backbone, channels)
    start_from(made.backbone, source)
    return made


def published_shape(backbone: str, channels: int) -> Encoder:
    """The same encoder without its weights."""
    facts = published_facts(backbone)
    size, blank = int(facts["input_size"][-1]), (0.5,) * channels  # until normalise_by knows better
    made = build_backbone(
        BackboneSpec(name=backbone, channels=channels, image_size=size, mean=blank, std=blank, stem="imagenet")
    )
    assert isinstance(made, Timm)
    made.normalise_by(facts["mean"], facts["std"])
    return Encoder(made, Feed(size=size, channels=channels), {"method": "pretrained", "weights": backbone})


def start_from(backbone: Backbone, source: str) -> Backbone:
    """The backbone with starting weights from `source`: "timm", a run's folder, or a .safetensors or .pt file.

    A backbone of another size, patch or number of channels gets them as timm adapts them; a small stem stays as it is.
    Raises UserError where there are no such weights or they do not fit.
    """
    path = Path(source).expanduser()
    if source != PUBLISHED and path.is_dir():
        return _from_run(backbone, path)
    if not isinstance(backbone, Timm):
        raise UserError(
            f"backbone {backbone.spec.name} can only start from a run's folder, since it is none of timm's; init is {source}"
        )
    file = find_published(backbone.spec.name) if source == PUBLISHED else path
    _load(backbone, read(file), file)
    if source == PUBLISHED:
        facts = published_facts(backbone.spec.name)
        backbone.normalise_by(facts["mean"], facts["std"])
    return backbone


def checksum(source: str, backbone: str) -> str:
    """Of the weights themselves, for a cell's hash: what they are called and where they lie decides nothing."""
    path = find_published(backbone) if source == PUBLISHED else Path(source).expanduser()
    file = path / "encoder.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise MissingWeights(f"there are no weights in {path}; give timm, a run's folder or a .safetensors file")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def find_published(name: str) -> Path:
    """The file of a timm model's published weights, from the hub's cache or from the hub.

    UserError that says which file to fetch if neither has it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    facts = published_facts(name)
    repository, file = str(facts["hf_hub_id"]), "model.safetensors"
    cached = try_to_load_from_cache(repository, file)
    if isinstance(cached, str):
        return Path(cached)
    try:
        if not any(key.lower() in ("https_proxy", "all_proxy") for key in os.environ):
            socket.create_connection((HUB, 443), _PATIENCE_SECONDS).close()
        return Path(hf_hub_download(repository, file))
    except OSError:
        raise MissingWeights(
            f"the published weights of {name} are not on this machine and cannot be fetched: on a machine with a network fetch "
            f"https://{HUB}/{repository}/resolve/main/{file}, and give its path instead of timm"
        ) from None


def read(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or torch's own format; which one is seen from the content."""
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # eight bytes of length, then JSON
        if is_safetensors:
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of old formats: either they can be read, or it is said below
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise MissingWeights(f"the file of weights {path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, but must be a file of weights, such as its model.safetensors") from None
    except PermissionError:
        raise UserError(f"the file of weights {path} may not be read") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, LookupError, EOFError, OSError):
        raise UserError(
            f"{path} cannot be read as weights: it is damaged or cut short, or it holds Python objects, whose code is never run "
            "here; fetch it again, or save its tensors alone as safetensors"
        ) from None
    for key in _INSIDE:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no weights by name, as `torch.save(model.state_dict(), ...)` writes them")
    # Trained by several processes, every name begins with "module."
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _from_run(backbone: Backbone, folder: Path) -> Backbone:
    found = Encoder.load(folder).backbone
    wanted, has = backbone.spec, found.spec
    for field in ("name", "channels", "stem", "image_size"):
        if getattr(has, field) != getattr(wanted, field):
            raise UserError(
                f"{folder} holds a backbone whose {field} is {getattr(has, field)}, but this run's is {getattr(wanted, field)}"
            )
    return found


def _load(backbone: Timm, state: dict[str, Tensor], file: Path) -> None:
    """Through timm's own adaptation to another image size, patch size or number of channels."""
    import timm

    spec = backbone.spec
    try:
        first, second = (
            timm.create_model(
                spec.name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **timm_arguments(spec)
            ).state_dict()
            for _ in range(2)
        )
        # timm leaves out what the file does not hold: it is where two models still begin at random.
        absent = [name for name, value in first.items() if not torch.equal(value, second[name])]
        if absent:
            raise KeyError(f"{len(absent)} tensors are missing, such as {absent[0]}")
        if backbone.has_replaced_stem:
            first = {name: value for name, value in first.items() if not name.startswith("conv1.")}
            first["conv1.weight"] = backbone.model.conv1.weight.detach()
        backbone.model.load_state_dict(first)
    except (RuntimeError, KeyError, ValueError) as error:
        raise UserError(
            f"the weights in {file} are not those of {spec.name}: {str(error).splitlines()[-1].strip()}"
        ) from None
