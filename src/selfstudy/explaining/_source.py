"""What is explained: an encoder, with classes if it is a finished study's model, and what its method drew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import safetensors
from torch import Tensor

from selfstudy.encoder import Encoder
from selfstudy.errors import UserError
from selfstudy.evaluation import LinearMap
from selfstudy.model import Model
from selfstudy.training.pretrain import SHOWN


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """An encoder and what belongs to it."""

    name: str
    encoder: Encoder
    head: LinearMap | None = None
    classes: tuple[str, ...] = ()  # of the head
    shown: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """From the folder of a run, of a model, or of a finished study. UserError if it is none."""
        if (folder / "study.yaml").is_file() or (folder / "model.json").is_file():
            return cls.of_model(Model.load(folder), folder.resolve().name)
        return cls(name=_name(folder), encoder=Encoder.load(folder), shown=read_shown(folder))

    @classmethod
    def of_model(cls, model: Model, name: str = "model") -> Self:
        return cls(name=name, encoder=model.encoder, head=model.head, classes=model.classes)


def read_shown(folder: Path) -> dict[str, Tensor]:
    """What the method of a run drew, by name in its order; nothing where it draws nothing. UserError if it is damaged."""
    path = folder / SHOWN
    if not path.is_file():
        return {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = json.loads(file.metadata()["names"])
            return {name: file.get_tensor(name) for name in names}
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _name(folder: Path) -> str:
    """A cell of a study is called as its row is, any other run as its folder."""
    card = folder / "run.json"
    entry = json.loads(card.read_text(encoding="utf-8")).get("entry", "") if card.is_file() else ""
    return str(entry) or folder.resolve().name
