"""Pictures of a case with prediction and label marked on it."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_erosion

from common.evaluation.overlays import draw_overlay, take_fullest_slice


def test_overlay_has_the_colours_of_agreement_and_disagreement():
    image = torch.full((3, 5, 4), 0.2)  # columns, rows
    prediction, label = torch.zeros(5, 4), torch.zeros(5, 4)
    prediction[0, 0] = label[0, 0] = 1  # both
    prediction[4, 0] = 1  # prediction only
    label[0, 3] = 1  # label only
    prediction[4, 3], label[4, 3] = 1, 2  # a wrong structure
    picture = np.asarray(draw_overlay(image, prediction, label)).astype(float)
    assert picture.shape == (4, 10, 3)
    assert (picture[:, :5] == 51).all(), "the left half is the image alone"
    right = picture[:, 5:]
    assert (right[1:3, 1:4] == 51).all()

    def hue(row, column):
        return ["red", "green", "blue"][int(right[row, column].argmax())]

    assert hue(0, 0) == "green"
    assert hue(0, 4) == "red"
    assert hue(3, 0) == "blue"
    assert hue(3, 4) == "red"


def test_overlay_has_the_images_orientation():
    """MONAI's PIL reader puts columns first; the picture is the right way up."""
    image = torch.zeros(1, 6, 4)
    image[0, 5, 1] = 1  # column 5, row 1
    picture = np.asarray(draw_overlay(image, torch.zeros(6, 4), torch.zeros(6, 4)))
    assert picture.shape == (4, 12, 3)
    assert [tuple(place) for place in np.argwhere(picture.sum(-1))] == [(1, 5), (1, 11)]
    assert (picture[1, 5] == 255).all()


def test_border_overlay_marks_outlines_and_leaves_the_inside():
    image = torch.full((3, 40, 30), 0.2)  # columns, rows
    prediction, label = torch.zeros(40, 30), torch.zeros(40, 30)
    prediction[5:15, 5:25] = label[5:20, 5:25] = 1
    right = np.asarray(draw_overlay(image, prediction, label, style="border")).astype(float)[:, 40:]
    marked = (right != 51).any(-1)
    predicted, expected = (mask.bool().numpy().T for mask in (prediction, label))
    outlines = [mask & ~binary_erosion(mask) for mask in (predicted, expected)]
    np.testing.assert_array_equal(marked, outlines[0] | outlines[1])
    hue = right.argmax(-1)
    assert (hue[outlines[0] & outlines[1]] == 1).all(), "both: green"
    assert (hue[outlines[0] & ~outlines[1]] == 0).all(), "prediction only: red"
    assert (hue[outlines[1] & ~outlines[0]] == 2).all(), "label only: blue"


def test_border_is_drawn_around_every_class_and_not_along_the_rim_of_the_image():
    label = torch.zeros(40, 30)
    label[:10, :], label[10:20, :] = 1, 2  # two bands that touch each other and the rim
    right = np.asarray(draw_overlay(torch.zeros(1, 40, 30), torch.zeros(40, 30), label, style="border"))[:, 40:]
    assert sorted(set(np.nonzero(right.any(-1))[1])) == [9, 10, 19]


def test_border_is_wider_on_larger_images():
    label = torch.zeros(900, 600)
    label[:450] = 1
    right = np.asarray(draw_overlay(torch.zeros(1, 900, 600), torch.zeros(900, 600), label, style="border"))[:, 900:]
    assert sorted(set(np.nonzero(right.any(-1))[1])) == [447, 448, 449]


def test_overlay_of_a_volume_shows_the_slice_with_most_label():
    label = torch.zeros(5, 4, 3)
    label[0, 0, 0], label[:2, 0, 1], label[0, :, 2] = 4, 1, 1
    image, prediction = torch.rand(1, 5, 4, 3), torch.rand(5, 4, 3)
    taken = take_fullest_slice(image, prediction, label)
    for given, expected in zip(taken, (image[..., 2], prediction[..., 2], label[..., 2]), strict=True):
        assert torch.equal(given, expected)
