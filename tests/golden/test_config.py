"""config.py: YAML without its traps, key=value, and sentences that name the place and the nearest valid name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from selfstudy.config import parse_overrides, parse_value, read_yaml, validate
from selfstudy.errors import UserError, nearest


@dataclass(frozen=True, kw_only=True)
class Loss:
    temperature: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Settings:
    epochs: Annotated[int, Field(ge=1)]
    lr: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    views: tuple[str, ...] = ()
    loss: Loss = field(default_factory=Loss)


def written(folder: Path, text: str) -> Path:
    path = folder / "bags.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # a word in YAML 1.1, whose exponents need a dot and a sign
        ("5E4", 50000.0),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000.5", 1000.5),
        (".inf", float("inf")),
        ("5_000_000", 5_000_000),
        ("-3", -3),
        ("no", "no"),  # Norway's trap: no, yes, on and off are truth values in YAML 1.1
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("e5", "e5"),
        ("1e", "1e"),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("resnet18", "resnet18"),
        ("vit_small_patch16_dinov3.lvd1689m", "vit_small_patch16_dinov3.lvd1689m"),
        ("total:200", "total:200"),
        ("~/bags/all", "~/bags/all"),
        ("C:\\bags", "C:\\bags"),
        ("linear,knn", ["linear", "knn"]),
        ("1,10,0.1,all", [1, 10, 0.1, "all"]),
        ("1,", [1]),
        ("[1, 2]", [1, 2]),
        ("{temperature: 0.2}", {"temperature": 0.2}),
        ("{unclosed", "{unclosed"),
    ],
)
def test_a_value_is_read_as_a_person_means_it(text: str, value: object) -> None:
    """Fails when YAML's own resolvers are put back."""
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@given(st.floats(allow_nan=False))
def test_any_number_python_writes_is_read_back(number: float) -> None:
    """Fails when an exponent without a dot, as in 1e-05, is a word."""
    text = repr(number).replace("inf", ".inf")
    assert parse_value(text) == number


def test_a_file_is_read_with_the_same_words(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs: 5\nlr: 1e-3\nviews: [yes, no]\nloss: {temperature: 0.5}\n")
    settings = validate(Settings, read_yaml(path), "bags.yaml")
    assert settings == Settings(epochs=5, lr=0.001, views=("yes", "no"), loss=Loss(temperature=0.5))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs: 5\nlr: 1\nepochs: 6\n", 'the key "epochs" comes twice'),
        ("data: {a: 1, a: 2}\n", 'the key "a" comes twice'),
        ("epochs: [\n", "is not valid YAML"),
        ("- simclr\n", "must hold `key: value` lines, but holds list"),
        ("", "must hold `key: value` lines, but holds NoneType"),
        ("x: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_name(tmp_path: Path, text: str, sentence: str) -> None:
    """Fails when a later key silently wins, or a loader that builds objects is used."""
    with pytest.raises(UserError) as caught:
        read_yaml(written(tmp_path, text))
    assert sentence in str(caught.value) and "bags.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read as a YAML file"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Stück\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml cannot be read"):
        read_yaml(tmp_path / "latin.yaml")


def test_overrides_are_key_and_value() -> None:
    found = parse_overrides(["epochs=5", "method.temperature=1e-1", "labels=1,all", "question=why = because"])
    assert found == {"epochs": 5, "method.temperature": 0.1, "labels": [1, "all"], "question": "why = because"}


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (["epochs"], '"epochs" is not a setting: expected key=value'),
        (["=5"], '"=5" is not a setting'),
        (["epochs=5", "epochs=6"], '"epochs" is set twice'),
    ],
)
def test_a_bad_override_is_one_sentence(pairs: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_overrides(pairs)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epoch": 5}, 'bags.yaml: there is no setting "epoch". Did you mean "epochs"?'),
        ({"epochs": 5, "zzz": 1}, 'there is no setting "zzz". Valid: epochs, loss, lr, optimizer, views.'),
        ({}, 'bags.yaml: the setting "epochs" is missing'),
        ({"epochs": 0}, "bags.yaml: epochs is 0, but it should be greater than or equal to 1"),
        ({"epochs": "many"}, "bags.yaml: epochs is 'many', but it should be a valid integer"),
        ({"epochs": 5, "optimizer": "adam"}, "optimizer is 'adam', but it should be 'sgd' or 'adamw'"),
        ({"epochs": 5, "loss": {"temperature": "warm"}}, "loss.temperature is 'warm'"),
        ({"epochs": 5, "views": ["crop", 3]}, "views.1 is 3"),
        ([5], "bags.yaml is [5], but must be `setting: value` pairs"),
    ],
)
def test_a_wrong_setting_is_one_sentence_with_place_and_remedy(values: object, sentence: str) -> None:
    """Fails when an unknown key passes, or the path into a nested record is lost."""
    with pytest.raises(UserError) as caught:
        validate(Settings, values, "bags.yaml")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=3)), max_size=3))
def test_validation_never_fails_otherwise(values: Mapping[str, object]) -> None:
    """Any plain values give settings or a UserError, never a traceback."""
    try:
        assert isinstance(validate(Settings, {"epochs": 1, **values}, "here"), Settings)
    except UserError as error:
        assert str(error).startswith("here")


def test_the_nearest_name_is_offered_and_else_all_of_them() -> None:
    assert nearest("simclrr", ["byol", "simclr"]) == ' Did you mean "simclr"?'
    assert nearest("x", ["byol", "simclr"]) == " Valid: byol, simclr."
    assert nearest("x", []) == " Valid: none."
