"""Pictures of a case: the right way up, with the right slice, and marked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.evaluation.overlays import dice, draw_overlay, take_fullest_slice
from common.pictures.palette import AGREEMENT
from common.pictures.sheets import pictures_of

NAMES = ["background", "vessel"]
COLUMNS, ROWS = 500, 400


def blank() -> torch.Tensor:
    return torch.zeros(COLUMNS, ROWS)


def test_the_picture_has_the_images_orientation():
    """MONAI's PIL reader puts columns first; the picture is the right way up."""
    image = torch.zeros(1, COLUMNS, ROWS)
    image[0, 450, 30] = 1  # column 450, row 30
    sheet = draw_overlay(MetaTensor(image), blank(), blank(), NAMES)
    for picture in pictures_of(sheet).values():
        assert picture.size == (COLUMNS, ROWS)
        assert [tuple(place) for place in np.argwhere(np.asarray(picture).sum(-1))] == [(30, 450)]


def test_agreement_and_disagreement_have_their_colours():
    prediction, label = blank(), blank()
    prediction[100:200, 50:150], label[150:250, 50:150] = 1, 1
    sheet = draw_overlay(torch.full((3, COLUMNS, ROWS), 0.2), prediction, label, NAMES, style="area")
    picture = np.asarray(pictures_of(sheet)["comparison"])
    for column, name in ((100, "prediction only"), (150, "both"), (249, "label only")):
        assert tuple(map(int, picture[100, column])) == AGREEMENT[name]


def test_overlay_of_a_volume_shows_the_slice_with_most_label():
    label = torch.zeros(5, 4, 3)
    label[0, 0, 0], label[:2, 0, 1], label[0, :, 2] = 4, 1, 1
    image, prediction = torch.rand(1, 5, 4, 3), torch.rand(5, 4, 3)
    index, *taken = take_fullest_slice(image, prediction, label)
    assert index == 2
    for given, expected in zip(taken, (image[..., 2], prediction[..., 2], label[..., 2]), strict=True):
        assert torch.equal(given, expected)


def test_dice_is_the_mean_over_the_structures_that_the_label_has():
    label = torch.tensor([[1, 1, 2, 0]])
    prediction = torch.tensor([[1, 0, 2, 3]])
    assert dice(prediction, label) == pytest.approx((2 / 3 + 1) / 2)
    assert dice(prediction, torch.zeros(1, 4)) is None
