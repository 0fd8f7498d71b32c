"""Borders of structures, and which structures are thin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from common.pictures.contours import around, borders, is_thin


def disc(size: int, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return np.hypot(rows - size / 2, columns - size / 2) < radius


def tree(size: int) -> np.ndarray:
    """Return lines two pixels wide, as vessels are."""
    structure = np.zeros((size, size), bool)
    for start in range(size // 10, size, size // 10):
        structure[start : start + 2] = structure[:, start : start + 2] = True
    return structure


@pytest.mark.parametrize("width", [1, 3])
def test_a_border_is_what_an_erosion_takes_away(width):
    structure = disc(60, 20)
    inside = binary_erosion(structure, np.ones((3, 3)), iterations=width)
    np.testing.assert_array_equal(borders(structure.astype(np.uint8), width) > 0, structure & ~inside)


def test_touching_structures_both_have_a_border_and_the_rim_of_the_image_is_none():
    ids = np.zeros((30, 40), np.uint8)
    ids[:, :10], ids[:, 10:20] = 1, 2
    found = borders(ids, 1)
    assert sorted(set(np.nonzero(found)[1])) == [9, 10, 19]
    assert set(found[:, 9]) == {1}
    assert set(found[:, 10]) == set(found[:, 19]) == {2}


def test_what_is_around_is_near_and_not_marked():
    marked = np.zeros((9, 9), bool)
    marked[4, 4] = True
    expected = np.zeros((9, 9), bool)
    expected[2:7, 2:7] = True
    expected[4, 4] = False
    np.testing.assert_array_equal(around(marked, 2), expected)


def test_vessels_are_thin_and_lesions_of_any_size_are_not():
    assert is_thin(tree(500))
    assert not any(is_thin(disc(500, radius)) for radius in (3, 30, 200))
    assert not is_thin(np.zeros((50, 50), bool))
    assert not is_thin(np.ones((50, 50), bool))
