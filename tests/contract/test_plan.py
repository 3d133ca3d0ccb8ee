"""The plan: equal content is the same cell whatever it is called, and any setting that matters makes another cell."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from selfstudy import config
from selfstudy.methods.simclr import SimCLR
from selfstudy.study.material import decide_metric, gather
from selfstudy.study.plan import Cell, hash_of, plan
from selfstudy.study.settings import BUILT_IN, read, validate
from selfstudy.training import RunSettings

TINY = {
    "name": "tiny", "data": "digits", "image_size": 8, "backbone": "conv4", "views": ["affine"], "budget": {"epochs": 2},
    "methods": ["majority", "random", "supervised", "simclr", "autoencoder"], "labels": [1, "all"], "draws": 2, "seeds": 2,
    "metric": "accuracy",
}  # fmt: skip


def cells_of(**changes: object) -> list[Cell]:
    settings = validate({**TINY, **changes}, "test")
    return plan(settings, gather(settings, earlier=None))


def hashes(cells: list[Cell], **where: object) -> set[str]:
    return {cell.hash for cell in cells if all(getattr(cell, name) == value for name, value in where.items())}


@pytest.fixture(scope="module")
def tiny() -> list[Cell]:
    return cells_of()


def test_hash_is_of_canonical_json_and_stays_what_it_is():
    """Fails if the separators, the sorting or the digest change: every study on every disk would start anew."""
    assert hash_of({"b": 1, "a": [1.0, "é", {"d": None, "c": "x"}]}) == "a88459e959261993"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other", "question": "Why?"},
        {"max_hours": 1, "margin": 0.02},
        {"threads": 3, "device": "cpu"},
        {
            "methods": [
                "majority",
                {"random": {"as": "a"}},
                {"supervised": {"as": "b"}},
                {"simclr": {"as": "c d"}},
                {"autoencoder": {"as": "e"}},
            ]
        },
        {"methods": ["autoencoder", "simclr", "supervised", "random", "majority"]},
        {"methods": [*TINY["methods"], {"simclr": {"as": "again", "epochs": 2}}]},  # type: ignore[misc]
        {"labels": ["1", "all"], "draws": {"1": 2, "all": 1}},
    ],
)
def test_names_order_and_executor_change_no_hash(tiny, change):
    assert hashes(cells_of(**change)) == hashes(tiny)


def test_files_may_move_and_be_renamed(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        for number in range(8):
            picture = Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8))
            for place, name in (
                (tmp_path / "here", f"{number}.png"),
                (tmp_path / "there" / "deep", f"x{99 - number}.png"),
            ):
                (place / kind).mkdir(parents=True, exist_ok=True)
                picture.save(place / kind / name)
    small = {"methods": ["supervised", {"simclr": {"batch_size": 4}}], "labels": [1, "all"]}
    here, there = (cells_of(data=str(tmp_path / place), **small) for place in ("here", "there/deep"))
    assert hashes(here) == hashes(there)


def test_study_yaml_plans_the_same_cells(tiny):
    settings = validate(yaml.safe_load(validate(TINY, "test").write()), "study.yaml")
    assert settings == validate(TINY, "test")
    assert hashes(plan(settings, gather(settings, None))) == hashes(tiny)


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"budget": {"epochs": 3}}, {"simclr", "autoencoder"}),
        ({"backbone": "resnet18"}, {"random", "supervised", "simclr", "autoencoder"}),
        ({"views": [{"affine": {"degrees": 3}}]}, {"supervised", "simclr", "autoencoder"}),
        ({"split_seed": 1}, {"majority", "random", "supervised", "simclr", "autoencoder"}),
        ({"test": 100}, {"majority", "random", "supervised", "simclr", "autoencoder"}),
        ({"image_size": 9}, {"majority", "random", "supervised", "simclr", "autoencoder"}),
        ({"metric": "macro_f1"}, {"random", "supervised", "simclr", "autoencoder"}),  # it decides C, k and trials
        ({"methods": [*TINY["methods"][:3], {"simclr": {"method.temperature": 0.7}}, "autoencoder"]}, {"simclr"}),  # type: ignore[index]
        ({"methods": [*TINY["methods"][:3], {"simclr": {"batch_size": 32}}, "autoencoder"]}, {"simclr"}),  # type: ignore[index]
        ({"methods": ["majority", "random", {"supervised": {"lr": 0.5}}, "simclr", "autoencoder"]}, {"supervised"}),
    ],
)
def test_what_decides_a_result_changes_the_hashes_of_its_rows_and_of_no_other(tiny, change, rows):
    """Fails if a setting is left out of a cell's content, or the encoder's hash out of its evaluations'."""
    changed = cells_of(**change)
    for row in TINY["methods"]:  # type: ignore[union-attr]
        before, after = hashes(tiny, entry=row, kind="evaluate"), hashes(changed, entry=row, kind="evaluate")
        assert not before & after if row in rows else before == after, row


@pytest.mark.parametrize("change", [{"split_seed": 1}, {"test": 100}, {"image_size": 9}])
def test_on_other_images_it_is_another_encoder(tiny, change):
    """Fails if the pool's content is left out of an encoder's."""
    assert not hashes(tiny, kind="pretrain") & hashes(cells_of(**change), kind="pretrain")


def test_another_version_of_the_code_is_another_cell(tiny, monkeypatch):
    monkeypatch.setattr(SimCLR, "version", SimCLR.version + 1)
    changed = cells_of()
    assert not hashes(tiny, entry="simclr") & hashes(changed, entry="simclr")
    assert hashes(tiny, entry="autoencoder") == hashes(changed, entry="autoencoder")


def test_a_users_method_counts_by_its_content(tmp_path):
    text = "from selfstudy.methods.simclr import SimCLR\nclass Mine(SimCLR):\n    'My own.'\n"
    found = []
    for folder, content in (("a", text), ("b", text), ("c", text + "# changed\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(content, encoding="utf-8")
        found.append(hashes(cells_of(methods=[str(tmp_path / folder / "mine.py")])))
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_a_users_view_counts_by_its_content(tmp_path):
    """Mutation: its path in the hash, so that moving the file computes everything anew."""
    text = (
        "from dataclasses import dataclass\nfrom selfstudy.views.grey import Grey\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(Grey):\n    'My own.'\n"
    )
    found = []
    for folder, content in (("a", text), ("b", text), ("c", text + "# changed\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(content, encoding="utf-8")
        found.append(
            hashes(cells_of(methods=["supervised", "simclr"], views=[{str(tmp_path / folder / "mine.py"): {}}]))
        )
    assert found[0] == found[1]
    assert not found[0] & found[2]


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 3},
        {"draws": {1: 4, "all": 1}},
        {"labels": [1, 2, 0.5, "all"]},
        {"methods": [*TINY["methods"], "byol"]},  # type: ignore[misc]
        {"unlabelled": [0.25, 1.0]},
        {"protocols": ["knn", "linear", "finetune"]},
    ],
)
def test_an_extended_study_reuses_all_that_is_done(tiny, change):
    assert hashes(tiny) < hashes(cells_of(**change))


def test_trials_leave_every_other_hash_as_it_was(tiny):
    """Fails if anything of `tune` is in the content of a cell that it does not decide, or if trial 0 is not the row itself."""
    tuned = cells_of(tune={"trials": 3})
    for row in ("majority", "random", "simclr", "autoencoder"):
        assert hashes(tuned, entry=row, trial=0) == hashes(tiny, entry=row), row
    assert not hashes(tuned, entry="supervised") & hashes(tiny, entry="supervised"), "it searches inside its cells"
    assert len(hashes(tuned, kind="pretrain", entry="simclr")) == 3 * len(hashes(tiny, kind="pretrain", entry="simclr"))
    assert {cell.trial for cell in tuned if cell.entry in ("majority", "random", "supervised")} == {0}
    trained = {row: hashes(tuned, entry=row) for row in ("simclr", "autoencoder")}
    more = cells_of(tune={"trials": 5})
    assert all(found < hashes(more, entry=row) for row, found in trained.items())  # more trials begin with the same


def test_a_search_that_the_study_or_the_row_sets_is_kept():
    """Mutation: the study's trials laid over them."""
    methods = ["supervised", {"supervised": {"as": "own", "search": 5}}, "simclr"]
    cells = cells_of(
        methods=methods, protocols=["finetune", "head"], tune={"trials": 3}, evaluation={"head": {"search": 0}}
    )
    found = {
        (cell.entry, cell.protocol): cell.work.config.search  # type: ignore[union-attr]
        for cell in cells
        if cell.kind == "evaluate"
    }
    assert found == {
        ("supervised", "finetune"): 3, ("own", "finetune"): 5, ("simclr", "finetune"): 3, ("simclr", "head"): 0,
    }  # fmt: skip


def test_a_longer_search_knows_the_shorter_ones():
    """Their trials are its first. Mutation: hashes of other settings than the number of trials."""
    shorter, longer = (cells_of(methods=["supervised"], tune={"trials": count}) for count in (2, 4))
    for cell, other in zip(shorter, longer, strict=True):
        assert cell.hash == other.fewer_trials[1] and len(other.fewer_trials) == 3
        assert cell.fewer_trials == other.fewer_trials[:1]


@pytest.mark.parametrize("rate", [100.0, 250.0])
def test_a_budget_in_seconds_is_images_by_the_rate_of_each_row(rate):
    """Asked for what decides the rate alone: not for each seed, each trial or each fraction."""
    asked = []

    def measured(key: str, row: str, settings: RunSettings) -> float:
        asked.append((key, row))
        return rate

    methods = ["simclr", {"simclr": {"as": "faster", "lr": 9, "epochs": 3}}, "autoencoder"]
    changes = {"budget": {"seconds": 60}, "unlabelled": [0.5, 1.0], "tune": {"trials": 2}}
    settings = validate({**TINY, "methods": methods, **changes}, "test")
    cells = plan(settings, gather(settings, None), measured)
    runs = [(cell.entry, cell.work) for cell in cells if isinstance(cell.work, RunSettings)]
    assert len({key for key, _ in asked}) == 2 and {row for _, row in asked} == {"simclr", "autoencoder"}
    for entry, run in runs:
        assert entry == "faster" or run.images_seen == int(60 * rate / run.batch_size) * run.batch_size


def test_seeds_and_draws_of_the_built_in_study():
    settings = read("digits")
    cells = plan(settings, gather(settings, None))
    pairs = Counter((cell.entry, cell.protocol, cell.labels) for cell in cells if cell.kind == "evaluate")
    for row in ("random", "autoencoder", "simclr", "byol"):
        for protocol in ("linear", "knn"):
            assert [pairs[row, protocol, label] for label in (1, 4, 10, "all")] == [10, 10, 6, 2]
    assert [pairs["supervised", "finetune", label] for label in (1, 4, 10, "all")] == [5, 5, 3, 2]
    assert [pairs["majority", "majority", label] for label in (1, 4, 10, "all")] == [5, 5, 3, 1]
    assert len(hashes(cells)) == len(cells) == 261
    trained = [(cell.seed, cell.draw) for cell in cells if cell.entry == "supervised" and cell.labels == 4]
    assert trained == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)], "each draw has a training seed of its own"
    assert {(c.seed, c.draw) for c in cells if c.entry == "supervised" and c.labels == "all"} == {(0, 0), (1, 0)}


def test_every_row_has_its_first_encoder_before_any_has_its_second(tiny):
    encoders = [(cell.seed, cell.entry) for cell in tiny if cell.kind == "pretrain"]
    assert encoders == sorted(encoders, key=lambda found: found[0])
    done: set[str] = set()
    for cell in tiny:
        assert not cell.needs or cell.needs in done, "an encoder comes before what needs it"
        done.add(cell.hash)


def test_a_fraction_of_the_images_is_nested_and_sees_as_many():
    settings = validate({**TINY, "methods": ["simclr"], "unlabelled": [0.1, 0.5, 1.0], "seeds": 1}, "test")
    material = gather(settings, None)
    runs = [cell.work for cell in plan(settings, material) if isinstance(cell.work, RunSettings)]
    assert len({run.images_seen for run in runs}) == 1
    assert len({round(run.training.warmup, 9) for run in runs}) == 1
    tenth, half, whole = (set(material.pool_rows(fraction).tolist()) for fraction in (0.1, 0.5, 1.0))
    assert tenth < half < whole == set(range(len(material.pool)))


def test_methods_see_neither_test_images_nor_labels():
    settings = validate(TINY, "test")
    material = gather(settings, None)
    assert material.pool.labels is None and not material.pool.classes
    assert not set(material.pool.ids.tolist()) & set(material.images.ids[material.split.test_rows].tolist())


@pytest.mark.parametrize("grouped", [{"labelled"}, {"unlabelled"}, {"labelled", "unlabelled"}])
def test_separate_unlabelled_images_lose_the_copies_and_kin_of_test_images(tmp_path, grouped):
    """A source is a table that knows products of two pictures each, or a folder that does not.

    Fails if either source's groups are forgotten, or the pictures themselves.
    """
    rng = np.random.default_rng(0)
    lines = ["path,kind,product"]
    product = {}
    for number in range(20):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
        name = path.relative_to(tmp_path).as_posix()
        product[name] = number % 2 + number // 4 * 2  # both of one class
        lines.append(f"{name},{path.parent.name},{product[name]}")
    (tmp_path / "tags.csv").write_text("\n".join(lines), encoding="utf-8")
    table = {"table": str(tmp_path / "tags.csv"), "path": "path", "group": "product"}
    sources: dict[str, object] = {"unlabelled": str(tmp_path), "labelled": str(tmp_path)}
    sources |= {part: {**table, "label": "kind"} if part == "labelled" else table for part in grouped}
    settings = validate({**TINY, "data": sources}, "test")
    material = gather(settings, None)

    def products(paths: Iterable[str]) -> set[int]:
        return {product[Path(path).relative_to(tmp_path).as_posix()] for path in paths}

    tested = products(material.images.paths[material.split.test_rows])
    assert len(material.excluded) == 2 * len(tested) > 0
    assert not products(material.pool.paths) & tested


def test_metric_follows_the_balance_of_the_classes(tmp_path):
    rng = np.random.default_rng(0)
    for kind, count in (("many", 30), ("few", 10)):
        (tmp_path / kind).mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / kind / f"{number}.png")
    for data, expected in ((str(tmp_path), "macro_f1"), ("digits", "accuracy")):
        settings = validate({**TINY, "data": data, "metric": "by_balance"}, "test")
        assert decide_metric(settings, gather(settings, None)).metric == expected


def test_overrides_reach_settings_parts_of_settings_and_rows(tmp_path):
    study = tmp_path / "mine.yaml"
    study.write_text(yaml.safe_dump({key: value for key, value in TINY.items() if key != "name"}), encoding="utf-8")
    pairs = [
        "seeds=5",
        "budget.images_seen=900",
        "draws={1: 3, all: 1}",
        "simclr.method.temperature=0.3",
        "labels=1,all",
        "tune.trials=3",
    ]
    settings = read(str(study), config.parse_overrides(pairs))
    assert (settings.name, settings.seeds, settings.budget, settings.num_draws(1)) == (
        "mine",
        5,
        {"images_seen": 900},
        3,
    )
    assert settings.num_trials == 3 and validate(TINY, "test").num_trials == 1
    [simclr] = [entry for entry in settings.entries if entry.name == "simclr"]
    assert simclr.overrides == {"method.temperature": 0.3}


def test_the_built_in_studies_are_valid():
    for path in sorted(BUILT_IN.glob("*.yaml")):
        assert read(path.stem).entries
