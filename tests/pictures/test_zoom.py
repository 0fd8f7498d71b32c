"""Which part of an image is enlarged."""

from __future__ import annotations

import numpy as np

from common.pictures.zoom import fullest_part


def test_the_part_with_most_weight_is_taken():
    weights = np.zeros((80, 120))
    weights[60:70, 90:100] = 1
    weights[5, 5] = 20
    left, top, right, bottom = fullest_part(weights)
    assert (right - left, bottom - top) == (20, 20)
    assert weights[top:bottom, left:right].sum() == 100


def test_of_equal_parts_the_middle_one_is_taken():
    assert fullest_part(np.zeros((80, 120))) == (50, 30, 70, 50)
