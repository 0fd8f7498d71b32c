from __future__ import annotations

import pytest

from common.errors import InputError
from common.synthesis.settings import TransferSetSettings


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_images", 0, "at least 1"),
        ("num_inference_steps", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("copy_threshold", -0.1, "between 0 and 1"),
        ("copy_threshold", 1.1, "between 0 and 1"),
        ("min_confidence", 80, "between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused_by_the_key_of_the_config(key, value, expected):
    with pytest.raises(InputError, match=f"{key} must be {expected}, got {value}"):
        TransferSetSettings(**{"num_images": 2, key: value})


def test_the_ends_of_the_ranges_are_allowed():
    TransferSetSettings(num_images=1, num_inference_steps=1, batch_size=1, seed=0, copy_threshold=0, min_confidence=1)
