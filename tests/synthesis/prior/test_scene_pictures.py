"""The pictures that the prior is pre-trained on."""

from __future__ import annotations

import numpy as np
import pytest

from common.synthesis.prior.scene_pictures import ScenePictures

KINDS = ScenePictures.kinds
SIZE = 32


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Two of each kind."""
    dataset = ScenePictures(2 * len(KINDS), SIZE)
    return [dataset[index] for index in range(len(dataset))]


def test_pictures_are_columns_by_rows_in_colour(pictures):
    assert all(picture.shape == (3, SIZE, SIZE) and picture.dtype == np.uint8 for picture in pictures)


def test_no_two_are_alike_and_none_is_blank(pictures):
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert min(picture.std() for picture in pictures) > 1


@pytest.mark.parametrize("kind", ["kidney", "breast", "abdomen"])
def test_scans_are_grey(pictures, kind):
    picture = pictures[KINDS.index(kind)]
    assert np.array_equal(picture[0], picture[1])
    assert np.array_equal(picture[0], picture[2])


def test_ultrasound_fans_out_downwards(pictures):
    """Rows are the last axis: the first ones show the narrow end of the fan."""
    picture = pictures[KINDS.index("kidney")][0]
    assert (picture[:, 4] > 20).sum() < (picture[:, SIZE * 3 // 4] > 20).sum()


def test_a_seed_and_number_are_a_picture(pictures):
    again = ScenePictures(1000, SIZE)
    assert np.array_equal(again[3], pictures[3])
    assert not np.array_equal(ScenePictures(1000, SIZE, seed=1)[3], pictures[3])
