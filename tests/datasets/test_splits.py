"""Splits by seed, on groups, stratified."""

import random

import pytest

from common.datasets.issues import DatasetIssues
from common.datasets.splits import cut_splits, repeat, repeat_unlabelled, seeded_order, split_groups, stratified_order
from common.errors import InputError

PATIENTS = [f"patient{number}" for number in range(20)]
STRATA = {f"nevus{number}": "nevus" for number in range(30)} | {f"melanoma{number}": "melanoma" for number in range(10)}


def test_split_is_the_same_for_any_order_of_input():
    shuffled = random.Random(1).sample(PATIENTS, len(PATIENTS))
    assert split_groups(PATIENTS, [5, 2], seed=3) == split_groups(shuffled * 2, [5, 2], seed=3)


def test_split_parts_are_disjoint_and_complete():
    parts = split_groups(PATIENTS, [5, 2], seed=0)
    assert [len(part) for part in parts] == [5, 2, 13]
    assert sorted(name for part in parts for name in part) == sorted(PATIENTS)


def test_split_depends_on_the_seed():
    assert split_groups(PATIENTS, [5], seed=0) != split_groups(PATIENTS, [5], seed=1)


def test_split_is_pinned():
    """Results that were published with a seed must stay reproducible."""
    assert seeded_order(["21", "22", "23", "24", "25", "26"], seed=0) == ["26", "24", "23", "25", "21", "22"]


def test_removing_a_group_keeps_the_order_of_the_others():
    order = seeded_order(PATIENTS, seed=0)
    assert seeded_order([p for p in PATIENTS if p != order[4]], seed=0) == order[:4] + order[5:]


def test_split_with_too_few_groups_says_how_many_are_needed():
    with pytest.raises(InputError, match="at least 4 groups, found 3"):
        split_groups(["a", "b", "c", "c"], [1, 2], seed=0)


@pytest.mark.parametrize("size", [0, -1])
def test_split_refuses_an_empty_part(size):
    with pytest.raises(InputError, match="at least one group"):
        split_groups(PATIENTS, [size], seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_stratified_order_gives_stratified_parts_wherever_it_is_cut(seed):
    order = stratified_order(STRATA, seed)
    assert sorted(order) == sorted(STRATA)
    for count in range(41):
        assert abs([STRATA[name] for name in order[:count]].count("melanoma") - count / 4) <= 1


def test_stratified_order_depends_on_the_names_and_the_seed_alone():
    shuffled = dict(random.Random(1).sample(list(STRATA.items()), len(STRATA)))
    assert stratified_order(STRATA, seed=3) == stratified_order(shuffled, seed=3)
    assert stratified_order(STRATA, seed=3) != stratified_order(STRATA, seed=4)


def test_stratified_order_of_one_stratum_is_the_seeded_order():
    assert stratified_order(dict.fromkeys(PATIENTS, ""), seed=0) == seeded_order(PATIENTS, seed=0)


def test_splits_are_cut_between_groups():
    issues = DatasetIssues("KidneyUS", "")
    groups = [["a2", "a1"], ["b"], ["c2", "c1"], ["e"], ["d"]]
    splits = cut_splits(groups, 3, 1, issues)
    assert splits == {"test": ["a1", "a2", "b"], "validation": ["c1", "c2"], "training": ["e", "d"]}
    assert cut_splits(groups, 0, 0, issues)["training"] == ["a2", "a1", "b", "c2", "c1", "e", "d"]
    assert not issues.messages


@pytest.mark.parametrize(("num_test", "num_validation"), [(5, 1), (3, 1), (1, 3), (0, 6)])
def test_too_few_groups_to_cut_says_what_is_needed(num_test, num_validation):
    issues = DatasetIssues("KidneyUS", "")
    splits = cut_splits([["a1", "a2"], ["b1", "b2"], ["c"]], num_test, num_validation, issues, "exams")
    assert splits == {"training": [], "validation": [], "test": []}
    (message,) = issues.messages
    assert f"{num_validation} for validation, 1 for training needed, found 5 images of 3 exams" in message
    assert ("for the test" in message) == (num_test > 0)
    assert message.endswith("; set num_validation lower or add images")


def test_repeat_cycles_and_cuts():
    assert repeat(["a", "b", "c"], 7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert repeat(["a", "b", "c"], 2) == ["a", "b"]


def test_images_without_labels_are_repeated_where_a_length_is_given():
    assert repeat_unlabelled(["a", "b"], None) == ["a", "b"]
    assert repeat_unlabelled([], None) == []
    assert repeat_unlabelled(["a", "b"], 3) == ["a", "b", "a"]
    with pytest.raises(InputError, match=r"^unlabelled_length 3: there are no images without labels"):
        repeat_unlabelled([], 3)


@pytest.mark.parametrize(("items", "length"), [([], 3), (["a"], 0)])
def test_repeat_refuses_nothing(items, length):
    with pytest.raises(ValueError, match=r"items must not be empty|length must be at least 1"):
        repeat(items, length)
