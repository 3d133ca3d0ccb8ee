"""The folder is the registry: every file of every open folder defines one member, and a user's own file joins them."""

import importlib
from pathlib import Path

import pytest

from selfstudy import catalog
from selfstudy.encoder import Backbone
from selfstudy.errors import UserError
from selfstudy.evaluation import Protocol
from selfstudy.explain import Analysis
from selfstudy.images._source import Source
from selfstudy.listing import LISTS, contents
from selfstudy.method import Method
from selfstudy.views import Operation

CONTRACTS: dict[str, type] = {
    "backbones": Backbone, "evaluation": Protocol, "explain": Analysis, "images": Source, "methods": Method, "views": Operation,
}  # fmt: skip
MEMBERS = [(folder, name) for folder in CONTRACTS for name in catalog.names(folder)]


@pytest.mark.parametrize(("folder", "name"), MEMBERS)
def test_every_file_of_an_open_folder_is_one_member(folder: str, name: str) -> None:
    kind = catalog.find(folder, name, CONTRACTS[folder])
    assert issubclass(kind, CONTRACTS[folder]) and kind.__module__ == f"selfstudy.{folder}.{name}"
    assert not getattr(kind, "__abstractmethods__", None)


@pytest.mark.parametrize(("folder", "name"), MEMBERS)
def test_every_member_says_in_one_line_what_it_is(folder: str, name: str) -> None:
    docstring = importlib.import_module(f"selfstudy.{folder}.{name}").__doc__ or ""
    first = docstring.partition("\n")[0]
    assert first.endswith((".", ":")) and 20 < len(first) <= 120


def test_private_parts_are_no_members() -> None:
    assert not [name for folder in CONTRACTS for name in catalog.names(folder) if name.startswith("_")]
    with pytest.raises(UserError, match='there is no view "_chain"'):
        catalog.find("views", "_chain", Operation)


@pytest.mark.parametrize(
    ("folder", "name", "sentence"),
    [
        ("methods", "simclrr", 'there is no method "simclrr". Did you mean "simclr"?'),
        ("views", "../methods/simclr", 'there is no view "../methods/simclr"'),
        ("backbones", "", 'there is no backbone "". Valid: conv2, conv3, conv4, mlp, timm.'),
    ],
)
def test_an_unknown_member_is_one_sentence(folder: str, name: str, sentence: str) -> None:
    """Fails when a name is joined to a path unchecked, or the nearest one is not offered."""
    with pytest.raises(UserError) as caught:
        catalog.find(folder, name, CONTRACTS[folder])
    assert sentence in str(caught.value)


OWN = """
from dataclasses import dataclass
from torch import Tensor
from selfstudy.rng import Draws
from selfstudy.views import Operation

class _Helper(Operation):
    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        return images

@dataclass(frozen=True, kw_only=True)
class Negative(_Helper):
    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        return 1 - images
"""


def test_a_file_of_the_users_own_is_a_member(tmp_path: Path) -> None:
    """Imported and private classes do not count; the same content is loaded once, another content anew."""
    path = tmp_path / "negative.py"
    path.write_text(OWN, encoding="utf-8")
    kind = catalog.find("views", str(path), Operation)
    assert kind.__name__ == "Negative"
    assert catalog.find("views", str(path), Operation) is kind
    path.write_text(OWN.replace("1 - images", "images"), encoding="utf-8")
    assert catalog.find("views", str(path), Operation) is not kind


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\n", "defines 0 classes of the kind Operation"),
        (OWN + "\nclass Second(Negative): ...\n", "defines 2 classes of the kind Operation"),
    ],
)
def test_a_file_without_one_member_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        catalog.find("views", str(path), Operation)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.py is not a file"):
        catalog.find("views", str(tmp_path / "none.py"), Operation)


def test_the_lists_hold_every_member_and_a_sentence_for_each() -> None:
    """Fails when a list reads another folder than the one its members are found in."""
    assert list(contents("methods")) == catalog.names("methods")
    assert list(contents("datasets")) == catalog.names("images")
    assert "digits" in contents("studies")
    for what in LISTS:
        for name, sentence in ((name, entry["what"]) for name, entry in contents(what).items()):
            assert sentence and sentence[0] == sentence[0].upper(), (what, name)
    with pytest.raises(UserError, match=r'there is no list of "method"\. Did you mean "methods"'):
        contents("method")


def test_methods_tell_family_needs_state_and_what_was_measured() -> None:
    """The numbers are of the version that is here. Mutation: raising a version without `python -m benchmarks.methods`."""
    listed = contents("methods")
    for name, entry in listed.items():
        assert {"family", "source", "needs", "state"} <= set(entry), name
        if "linear" in entry:
            assert entry["version"] == str(catalog.find("methods", name, Method).version), name
    assert {name for name, entry in listed.items() if "linear" not in entry} == {"colorization"}
