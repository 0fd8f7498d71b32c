"""Prompts that ask for what is inside a mask."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import find_objects
from torch.testing import assert_close

from common.teachers.stand_in.prompts import bounding_boxes, prompt_inputs, sample_points


@pytest.fixture
def masks() -> torch.Tensor:
    """Rectangles of different sizes at different places, on a canvas that is not square."""
    masks = torch.zeros(2, 3, 40, 56)
    for index, (top, left, height, width) in enumerate(
        [(0, 0, 4, 9), (5, 20, 30, 8), (36, 50, 4, 6), (10, 3, 1, 40), (2, 2, 37, 1), (12, 30, 12, 12)]
    ):
        masks.view(6, 40, 56)[index, top : top + height, left : left + width] = 1
    return masks


def test_boxes_are_the_extent_of_their_masks(masks):
    boxes = bounding_boxes(masks, jitter=0).view(6, 4).numpy()
    for box, mask in zip(boxes, masks.view(6, 40, 56).numpy(), strict=True):
        rows, columns = find_objects(mask.astype(int))[0]
        assert box.tolist() == [columns.start, rows.start, columns.stop - 1, rows.stop - 1]


def test_boxes_move_in_proportion_to_their_sides_and_never_far(masks):
    exact = bounding_boxes(masks, jitter=0)
    moves = torch.stack([bounding_boxes(masks) - exact for _ in range(400)])
    sides = (exact[..., 2:] - exact[..., :2]).repeat(1, 1, 2)
    long = sides > 5
    assert_close((moves.std(0) / sides)[long], torch.full((int(long.sum()),), 0.1), rtol=0.15, atol=0)
    wild = torch.stack([bounding_boxes(masks, jitter=5) - exact for _ in range(50)])
    assert wild.abs().max() == 20


def test_points_lie_inside_their_masks_and_reach_all_of_them(masks):
    points = sample_points(masks, 300)
    assert points.shape == (2, 3, 300, 2)
    x, y = points.long().unbind(-1)
    image, mask = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    assert (masks[image[..., None], mask[..., None], y, x] == 1).all()
    reached = {tuple(point) for point in points[0, 0].tolist()}
    assert len(reached) > 30  # of 36 pixels


@pytest.mark.parametrize(("prompt", "labels"), [("point", [1]), ("points", [1, 1, 1, 0, 0])])
def test_points_ask_for_what_is_inside_and_against_what_is_outside(masks, prompt, labels):
    inputs = prompt_inputs(masks, prompt)
    assert inputs["input_labels"].tolist() == [[labels] * 3] * 2
    points = inputs["input_points"].long()
    for image in range(2):
        for index in range(3):
            x, y = points[image, index].unbind(-1)
            assert masks[image, index, y, x].tolist() == labels


def test_box_asks_without_points(masks):
    assert prompt_inputs(masks, "box").keys() == {"input_boxes"}
