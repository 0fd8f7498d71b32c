"""Masks of COCO: the runs and the pixels of pycocotools 2.0.11, which made the numbers here."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_labels import compress, runs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from common.datasets.readers.polygons.rle import counts_from_text, mask_from_counts, mask_from_polygon

STAR = [(1.2, 0.6), (9.4, 2.3), (6.5, 7.8), (3.1, 3.9), (0.4, 6.7)]
STAR_MASK = """
...........
.####......
.########..
.########..
.##.####...
.#...###...
#.....#....
......#....
"""
STAR_TEXT = "61241O1O1100O2NN2N`0"


def as_mask(rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows.split()])


def test_a_polygon_is_filled_as_pycocotools_does():
    np.testing.assert_array_equal(mask_from_polygon(STAR, (11, 8)), as_mask(STAR_MASK))


def test_corners_lie_between_pixels():
    mask = mask_from_polygon([(3, 2), (9, 2), (9, 6), (3, 6)], (12, 8))
    expected = np.zeros((8, 12), bool)
    expected[2:6, 3:9] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_polygon_that_fills_the_image_or_ends_where_it_began_is_filled():
    assert mask_from_polygon([(0, 0), (5, 0), (5, 4), (0, 4), (0, 0)], (5, 4)).all()


def test_compressed_runs_are_those_of_pycocotools():
    np.testing.assert_array_equal(mask_from_counts(counts_from_text(STAR_TEXT), (11, 8)), as_mask(STAR_MASK))
    assert compress(runs_of(as_mask(STAR_MASK))) == STAR_TEXT


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=70)))
@settings(max_examples=60, deadline=None)
def test_any_mask_comes_back_from_its_runs_and_their_text(mask):
    runs = runs_of(mask)
    assert counts_from_text(compress(runs)) == runs
    np.testing.assert_array_equal(mask_from_counts(runs, mask.shape[::-1]), mask)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_runs_of_any_length_come_back_from_their_text(runs):
    assert counts_from_text(compress(runs)) == runs


@pytest.mark.parametrize("runs", [[3, 4], [12, 1], [-1, 13], [6.0, 6], [True, 11], []])
def test_runs_that_do_not_fill_the_image_are_refused(runs):
    with pytest.raises(ValueError, match="expected runs of pixels that add up to 4 x 3"):
        mask_from_counts(runs, (4, 3))


def test_texts_that_are_no_runs_are_refused():
    with pytest.raises(ValueError, match="got the character '!'"):
        counts_from_text("6!")
    with pytest.raises(ValueError, match="a text that was cut off"):
        counts_from_text("6P")
