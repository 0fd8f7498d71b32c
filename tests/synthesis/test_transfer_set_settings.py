from __future__ import annotations

import pytest

from common.errors import InputError
from common.synthesis.settings import TransferSetSettings


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_images", 0, "a whole number of at least 1"),
        ("num_images", 2.5, "a whole number of at least 1"),
        ("num_inference_steps", 0, "a whole number of at least 1"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("seed", -1, "a whole number from 0 to "),
        ("copy_threshold", -0.1, "a number of at least 0 and of at most 1"),
        ("copy_threshold", 1.1, "a number of at least 0 and of at most 1"),
        ("copy_threshold", float("nan"), "a number of at least 0 and of at most 1"),
        ("min_confidence", 80, "a number of at least 0 and of at most 1, or null"),
    ],
)
def test_numbers_out_of_range_are_refused_by_the_key_of_the_config(key, value, expected):
    with pytest.raises(InputError, match=f"{key}: expected {expected}.*, got {value}"):
        TransferSetSettings(**{"num_images": 2, key: value})


def test_the_ends_of_the_ranges_are_allowed():
    TransferSetSettings(num_images=1, num_inference_steps=1, batch_size=1, seed=0, copy_threshold=0, min_confidence=1)
