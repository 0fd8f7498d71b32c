"""Images that are in a dataset more than once."""

import numpy as np

from common.datasets.copies import describe_copies, digest_of

SPLITS = {"training": ["a", "b", "c"], "validation": ["d"], "test": ["e", "f"]}


def test_only_equal_pixels_of_equal_shape_share_a_digest():
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    same = np.asfortranarray(pixels)
    others = [pixels.reshape(6, 4), pixels.astype(np.uint16), pixels + 1, pixels[::-1]]
    assert digest_of(same) == digest_of(pixels)
    assert digest_of(pixels) not in [digest_of(other) for other in others]


def test_pixels_of_one_value_say_nothing():
    assert digest_of(np.full((4, 6), 7)) is None


def test_images_that_differ_are_no_copies():
    assert describe_copies({name: name for names in SPLITS.values() for name in names}, SPLITS) == []


def test_copies_across_splits_are_counted_by_split_and_named():
    digests = {"a": "1", "b": "2", "c": "3", "d": "2", "e": "1", "f": "1"}
    (remark,) = describe_copies(digests, SPLITS)
    assert remark.startswith(
        "the same images are in several splits, 2 of 3 in training, 1 of 1 in validation, 2 of 2 in test "
        "(a (training) = e (test) = f (test), b (training) = d (validation)): results on them count for nothing"
    )


def test_copies_within_a_split_and_different_labels_are_named():
    digests = {"a": "1", "b": "1", "e": "2", "f": "2"}
    within, disputed = describe_copies(digests, SPLITS, disputed=["2"])
    shown = "a (training) = b (training), e (test) = f (test)"
    assert within == f"2 images are there more than once within a split ({shown}); keep one of each"
    assert disputed.startswith("1 image is there more than once with different labels (e (test) = f (test))")


def test_a_line_stays_short_however_many_there_are():
    splits = {"training": [f"a{i}" for i in range(500)], "test": [f"b{i}" for i in range(500)]}
    digests = {f"{letter}{i}": str(i) for i in range(500) for letter in "ab"}
    (remark,) = describe_copies(digests, splits)
    assert "500 of 500 in training, 500 of 500 in test" in remark
    assert ", and 497 more)" in remark
    assert len(remark) < 400


def test_images_in_no_split_do_not_count():
    assert describe_copies({"a": "1", "left out": "1"}, SPLITS) == []
