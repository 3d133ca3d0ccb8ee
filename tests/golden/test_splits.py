"""Splits and draws: exact, stratified, nested, by group, and never moved by what is added."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selfstudy.errors import UserError
from selfstudy.images import ImageSet, Split, draw_labels, draw_unlabelled, load, split
from selfstudy.rng import Rng

RNG = Rng.from_seed(0)
CLASSES = ("a", "b", "c")


def toy(labels, groups=None, ids=None, parts=None) -> ImageSet:
    """A set whose pictures do not matter."""
    ids = [f"row {number}" for number in range(len(labels))] if ids is None else ids
    return ImageSet(
        name="toy",
        images=torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8),
        image_size=2,
        ids=np.array(ids),
        groups=np.array(ids if groups is None else groups),
        paths=np.array(ids),
        labels=torch.tensor(labels),
        classes=CLASSES,
        parts=None if parts is None else np.array(parts),
    )


def ids_of(images: ImageSet, rows: np.ndarray) -> set[str]:
    return set(images.ids[rows].tolist())


some_labels = st.lists(st.sampled_from([-1, 0, 1, 2]), min_size=12, max_size=60).filter(
    lambda labels: all(labels.count(number) >= 3 for number in range(3))
)
some_seed = st.integers(0, 2**32)
quick = settings(max_examples=60, deadline=None)


def test_mnist5k_gives_400_and_100_of_each_digit():
    images = load("mnist5k", image_size=28, labelled=True)
    for test in (1000, 1000.0, 0.2):
        found = split(images, test=test, rng=RNG)
        assert images.labels[found.train_rows].bincount().tolist() == [400] * 10
        assert images.labels[found.test_rows].bincount().tolist() == [100] * 10


@quick
@given(some_labels, some_seed, st.integers(3, 9))
def test_a_split_is_exact_disjoint_and_proportional(labels, seed, test):
    """Mutation: take `order[:quota + 1]`, or forget the largest remainders."""
    assume(test <= sum(labels.count(number) - 1 for number in range(3)))
    images = toy(labels)
    found = split(images, test=test, rng=Rng.from_seed(seed))
    assert len(found.test_rows) == test
    assert sorted([*found.train_rows, *found.test_rows]) == list(range(len(labels)))
    assert set(found.train_rows[found.arrivals == -1]) == {row for row, label in enumerate(labels) if label == -1}
    labelled = len(labels) - labels.count(-1)
    for number in range(3):
        share = test * labels.count(number) / labelled
        drawn = sum(labels[row] == number for row in found.test_rows)
        assert 1 <= drawn < labels.count(number)
        assert abs(drawn - max(share, 1)) < 2


def test_largest_remainders_by_hand():
    """7 of 10, 5, 5 rows: exact shares 3.5, 1.75, 1.75. The two largest remainders are those of b and c."""
    found = split(toy([0] * 10 + [1] * 5 + [2] * 5), test=7, rng=RNG)
    assert Counter((found.test_rows >= 10).tolist()) == {False: 3, True: 4}
    assert sum(10 <= row < 15 for row in found.test_rows) == 2


@quick
@given(some_labels, some_seed, st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(labels, seed, random):
    """Mutation: draw by position instead of by name."""
    images, rng = toy(labels), Rng.from_seed(seed)
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = toy([labels[row] for row in order], ids=images.ids[order])
    first, second = split(images, test=0.3, rng=rng), split(shuffled, test=0.3, rng=rng)
    assert ids_of(images, first.test_rows) == ids_of(shuffled, second.test_rows)
    for amount in (1, 0.5, "total:4", "all"):
        one, other = (draw_labels(*pair, amount, 3, rng) for pair in ((images, first), (shuffled, second)))
        assert ids_of(images, one.rows) == ids_of(shuffled, other.rows)


@quick
@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1, 2]), st.integers(0, 14)), min_size=20, max_size=80), some_seed)
def test_groups_never_straddle(rows, seed):
    """Mutation: use ids for groups. Groups may hold several classes, and unlabelled rows."""
    labels, groups = [label for label, _ in rows], [f"group {group}" for _, group in rows]
    images = toy(labels, groups)
    try:
        found = split(images, test=0.3, rng=Rng.from_seed(seed))
    except UserError:
        assume(False)
    train, test = (set(images.groups[part].tolist()) for part in (found.train_rows, found.test_rows))
    assert train.isdisjoint(test)
    assert all(labels[row] >= 0 for row in found.test_rows)
    left_out = set(range(len(labels))) - {*found.train_rows.tolist(), *found.test_rows.tolist()}
    assert all(labels[row] == -1 and groups[row] in test for row in left_out)
    drawn = draw_labels(images, found, 0.5, 0, RNG).rows
    in_part = [row for row in found.train_rows if labels[row] >= 0 and images.groups[row] in images.groups[drawn]]
    assert drawn.tolist() == in_part  # groups are drawn whole


def test_a_class_of_two_large_groups_is_in_both_parts():
    """Mutation: without `at_least_one`, a group of 10 is too large for a share of 4."""
    labels = [0] * 20 + [1] * 20 + [2] * 5
    groups = [f"a{row // 10}" for row in range(20)] + [f"b{row}" for row in range(20)] + ["c"] * 5
    found = split(toy(labels, groups), test=0.2, rng=RNG)
    assert Counter(labels[row] for row in found.test_rows)[0] == 10
    assert Counter(labels[row] for row in found.train_rows) == {
        0: 10,
        1: 20 - Counter(found.test_rows >= 20)[True],
        2: 5,
    }


def test_one_group_of_every_class_stays_to_learn_from():
    """Two groups of 3, a share of 5: each brings the sum nearer. Mutation: offer all groups to the test part."""
    labels = [0] * 6 + [1] * 20 + [2] * 20
    groups = [f"a{row // 3}" for row in range(6)] + [f"row {row}" for row in range(40)]
    found = split(toy(labels, groups), test=0.8, rng=RNG)
    assert Counter(labels[row] for row in found.train_rows)[0] == 3


def test_a_group_too_large_for_the_share_is_left_out():
    """Mutation: take groups in order until there are enough."""
    labels = [0] * 40 + [1] * 40 + [2] * 40
    groups = ["large"] * 30 + [f"row {row}" for row in range(90)]
    for seed in range(10):
        found = split(toy(labels, groups), test=24, rng=Rng.from_seed(seed))
        assert Counter(labels[row] for row in found.test_rows) == {0: 8, 1: 8, 2: 8}


def test_a_group_counts_for_its_commonest_label():
    """Of 3 groups of class a two hold some b. Mutation: the rarest label, or the last."""
    labels = [0, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    groups = ["a0"] * 3 + ["a1"] * 3 + ["a2"] * 2 + ["b0", "b1", "b2", "c0", "c1", "c2"]
    images = toy(labels, groups)
    found = split(images, test=3, rng=RNG)
    for draw in range(10):
        drawn = draw_labels(images, found, 1, draw, RNG)
        assert sorted(name[0] for name in set(images.groups[drawn.rows].tolist())) == ["a", "b", "c"]


def test_new_labels_do_not_change_what_a_group_counts_for():
    """Mutation: count all labels of a group, not those it came with."""
    groups = [f"group {row // 3}" for row in range(36)]
    old = toy([row // 3 % 3 if row % 3 == 0 else -1 for row in range(36)], groups)
    before = split(old, test=3, rng=RNG)
    new = toy(
        [min(row // 3 % 3, 1) if row % 3 else row // 3 % 3 for row in range(36)], groups
    )  # 1 beside each 2, twice
    after = split(new, test=3, rng=RNG, earlier=before.to_json(old))
    for amount in (1, 2):
        one, other = draw_labels(old, before, amount, 0, RNG), draw_labels(new, after, amount, 0, RNG)
        assert set(old.groups[one.rows].tolist()) == set(new.groups[other.rows].tolist())


@quick
@given(some_labels, st.lists(st.sampled_from([-1, 0, 1, 2]), max_size=30), some_seed, st.data())
def test_added_images_and_labels_never_move_an_old_one(labels, added, seed, data):
    """Mutation: sort draws without arrivals, or ignore `earlier`."""
    rng = Rng.from_seed(seed)
    old = toy(labels)
    before = split(old, test=0.25, rng=rng)
    record = json.loads(json.dumps(before.to_json(old)))
    now_labelled = [data.draw(st.sampled_from([-1, 0, 1, 2])) if label == -1 else label for label in labels]
    new = toy(now_labelled + added)
    after = split(new, test=0.25, rng=rng, earlier=record)
    assert ids_of(old, before.train_rows) <= ids_of(new, after.train_rows)
    assert ids_of(old, before.test_rows) <= ids_of(new, after.test_rows)
    fewest = min(sum(labels[row] == number for row in before.train_rows) for number in range(3))
    for amount in range(1, fewest + 1):
        one, other = draw_labels(old, before, amount, 1, rng), draw_labels(new, after, amount, 1, rng)
        assert ids_of(old, one.rows) == ids_of(new, other.rows)
    num_labelled = int((before.arrivals >= 0).sum())
    one, other = (draw_labels(*pair, f"total:{num_labelled}", 1, rng) for pair in ((old, before), (new, after)))
    assert ids_of(old, one.rows) == ids_of(new, other.rows)


def test_a_second_extension_keeps_the_first():
    """Mutation: number every arrival after the first alike."""
    rng = Rng.from_seed(3)
    drawn = []
    record = None
    for size in (30, 60, 90):  # 9, 19 and 29 of each class to learn from
        images = toy([row % 3 for row in range(size)])
        found = split(images, test=3, rng=rng, earlier=record)
        record = found.to_json(images)
        drawn.append([ids_of(images, draw_labels(images, found, n, 0, rng).rows) for n in (9, 19) if n < size // 3])
    assert sorted(set(record["arrivals"])) == [0, 1, 2]
    assert drawn[0][0] == drawn[1][0] == drawn[2][0]
    assert drawn[1][1] == drawn[2][1]


def test_a_new_picture_of_an_old_group_joins_it():
    groups = [f"group {row // 2}" for row in range(24)]
    old = toy([row // 2 % 3 for row in range(24)], groups)
    before = split(old, test=6, rng=RNG)
    new = toy(
        [*old.labels.tolist(), *[row % 3 for row in range(12)]], [*groups, *(f"group {row}" for row in range(12))]
    )
    after = split(new, test=6, rng=RNG, earlier=before.to_json(old))
    test_groups = set(old.groups[before.test_rows].tolist())
    assert set(new.groups[after.test_rows].tolist()) == test_groups
    assert len(after.test_rows) == 9


def test_regrouping_across_a_saved_split_is_refused():
    old = toy([0, 1, 2] * 4)
    record = split(old, test=3, rng=RNG).to_json(old)
    with pytest.raises(UserError, match='the group "one" has images in both parts'):
        split(toy([0, 1, 2] * 4, groups=["one"] * 12), test=3, rng=RNG, earlier=record)


@quick
@given(some_labels, some_seed, st.integers(0, 5))
def test_draws_are_nested(labels, seed, draw):
    """Mutation: fork the stream with the amount. Fractions and totals are nested among themselves, too."""
    images, rng = toy(labels), Rng.from_seed(seed)
    found = split(images, test=3, rng=rng)
    labelled = set(found.train_rows[found.arrivals >= 0].tolist())
    classes = Counter(labels[row] for row in labelled)
    for amounts in ([1, 2], [0.1, 0.3, 0.7, 0.99], [f"total:{number}" for number in range(1, len(labelled) + 1)]):
        previous: set[int] = set()
        for amount in amounts:
            if isinstance(amount, int) and amount > max(classes.values()):
                continue
            rows = set(draw_labels(images, found, amount, draw, rng).rows.tolist())
            assert previous <= rows <= labelled
            previous = rows
    assert set(draw_labels(images, found, "all", draw, rng).rows.tolist()) == labelled


@quick
@given(some_labels, some_seed)
def test_draws_are_stratified(labels, seed):
    """Mutation: `total` by plain random order; a fraction that may give a class nothing."""
    images, rng = toy(labels), Rng.from_seed(seed)
    found = split(images, test=3, rng=rng)
    have = Counter(labels[row] for row in found.train_rows if labels[row] >= 0)
    each = Counter(labels[row] for row in draw_labels(images, found, 1, 0, rng).rows)
    assert each == {0: 1, 1: 1, 2: 1}
    third = Counter(labels[row] for row in draw_labels(images, found, 1 / 3, 0, rng).rows)
    assert third == {number: max(1, round(count / 3)) for number, count in have.items()}
    tiny = Counter(labels[row] for row in draw_labels(images, found, 0.01, 0, rng).rows)
    assert tiny == each
    for total in range(1, sum(have.values()) + 1):
        drawn = Counter(labels[row] for row in draw_labels(images, found, f"total:{total}", 0, rng).rows)
        assert sum(drawn.values()) == total
        assert all(abs(drawn[number] - total * count / sum(have.values())) <= 1.5 for number, count in have.items())


def test_natural_frequencies_by_hand():
    """8, 2 and 2 rows at (rank + 1/2) / size: a .06, a .19, b and c .25, a .31. Mutation: rank / size draws b or c first."""
    labels = [0] * 8 + [1] * 2 + [2] * 2
    images = toy([*labels, 0], parts=["train"] * 12 + ["test"])
    found = split(images, test=1, rng=RNG)
    for draw in range(10):
        drawn = [
            Counter(images.labels[draw_labels(images, found, f"total:{n}", draw, RNG).rows].tolist()) for n in (2, 4, 6)
        ]
        assert drawn == [{0: 2}, {0: 2, 1: 1, 2: 1}, {0: 4, 1: 1, 2: 1}]


def test_every_row_is_drawn_equally_often():
    """Chi-square with 9 degrees of freedom; 33.7 is passed once in 10,000. Mutation: a key that ignores the draw."""
    images = toy([row % 3 for row in range(33)])
    found = split(images, test=3, rng=RNG)
    counts = Counter(row for draw in range(600) for row in draw_labels(images, found, 1, draw, RNG).rows.tolist())
    for number in range(3):
        observed = [counts[row] for row in found.train_rows.tolist() if row % 3 == number]
        assert len(observed) == 10
        assert sum((count - 60) ** 2 / 60 for count in observed) < 33.7


def test_seeds_and_draws_differ_but_repeat():
    images = toy([row % 3 for row in range(300)])
    first, again, other = (split(images, test=60, rng=Rng.from_seed(seed)) for seed in (1, 1, 2))
    assert first.test_rows.tolist() == again.test_rows.tolist() != other.test_rows.tolist()
    drawn = [draw_labels(images, first, 5, draw, RNG).rows.tolist() for draw in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_class_that_is_short_gives_all_it_has_and_is_named():
    images = toy([0] * 30 + [1] * 10 + [2] * 4)
    found = split(images, test=0.25, rng=RNG)
    have = Counter(images.labels[found.train_rows].tolist())
    drawn = draw_labels(images, found, 10, 0, RNG)
    assert drawn.short == {"b": have[1], "c": have[2]}
    assert Counter(images.labels[drawn.rows].tolist()) == {0: 10, 1: have[1], 2: have[2]}
    with pytest.raises(UserError, match=r'50 labels per class are asked for.*"a" has most, 22'):
        draw_labels(images, found, 50, 0, RNG)


@pytest.mark.parametrize(
    "amount", [0, -1, 1.5, 1.0, True, "some", "total:", "total:0", "10", "total:999", float("nan")]
)
def test_amounts_that_mean_nothing_are_refused(amount):
    images = toy([0, 1, 2] * 5)
    with pytest.raises(UserError, match="labels"):
        draw_labels(images, split(images, test=3, rng=RNG), amount, 0, RNG)


@pytest.mark.parametrize("test", [0, -3, 1.5, 15, 13, 0.999, 0.01, float("nan"), float("inf")])
def test_test_sizes_that_cannot_be_met_are_refused(test):
    with pytest.raises(UserError, match="test"):
        split(toy([0, 1, 2] * 5), test=test, rng=RNG)


def test_the_split_of_the_source_is_taken():
    """Mutation: draw although the source dictates. The unlabelled test row is in neither part."""
    images = toy([0, 1, 0, 1, -1, -1], parts=["train", "train", "test", "test", "train", "test"])
    found = split(images, test=1, rng=RNG)
    assert found.train_rows.tolist() == [0, 1, 4]
    assert found.test_rows.tolist() == [2, 3]
    with pytest.raises(UserError, match="no labelled image to test with"):
        split(toy([0, 1], parts=["train", "train"]), test=1, rng=RNG)


def test_a_saved_split_comes_back():
    images = toy([row % 4 - 1 for row in range(40)], groups=[f"group {row // 4}-{row % 2}" for row in range(40)])
    found = split(images, test=0.2, rng=RNG)
    back = Split.from_json(json.loads(json.dumps(found.to_json(images))), images)
    for name in ("train_rows", "test_rows", "arrivals"):
        assert getattr(back, name).tolist() == getattr(found, name).tolist()
    fewer = images.select(np.setdiff1d(np.arange(40), found.test_rows[:1]))
    with pytest.raises(UserError, match="1 images of the saved split are no longer in toy"):
        Split.from_json(found.to_json(images), fewer)


@quick
@given(st.integers(1, 200), some_seed)
def test_fractions_of_the_unlabelled_are_nested_and_exact(size, seed):
    """Mutation: floor instead of round, or an order that depends on the fraction."""
    images, rows = toy([0] * size), np.arange(size)
    previous: set[int] = set()
    for fraction in (0.01, 0.1, 0.5, 1.0):
        found = draw_unlabelled(images, rows, fraction, Rng.from_seed(seed))
        assert len(found) == max(1, round(fraction * size))
        assert found.tolist() == sorted(found.tolist())
        assert previous <= set(found.tolist())
        previous = set(found.tolist())
    with pytest.raises(UserError, match="unlabelled is 0"):
        draw_unlabelled(images, rows, 0, RNG)


def test_a_set_without_labels_has_no_split():
    images = load("digits", image_size=8)
    with pytest.raises(UserError, match="digits has no labels"):
        split(images, test=0.2, rng=RNG)
