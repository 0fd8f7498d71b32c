"""Colours that anybody can tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from colour_vision import VISIONS, least_distance
from PIL import Image

from common.pictures.palette import AGREEMENT, DIFFERENCE, class_colours, mask_palette


def test_the_measure_finds_red_and_green_alike_for_the_colour_blind_alone():
    red, green = (235, 70, 60), (120, 130, 20)
    assert least_distance([red, green], "deuteranopia") < 0.5 * least_distance([red, green], "normal")


@pytest.mark.parametrize("vision", VISIONS)
def test_classes_look_different_whatever_the_colour_vision(vision):
    assert least_distance(class_colours(8), vision) > 15


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("kinds", [AGREEMENT, DIFFERENCE])
def test_kinds_of_agreement_look_very_different_whatever_the_colour_vision(kinds, vision):
    assert least_distance(kinds.values(), vision) > 40


def test_the_background_is_black_and_the_first_structures_are_all_different():
    colours = class_colours(22)
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 22
    assert class_colours(3) == colours[:3], "a class keeps its colour, however many there are"


@pytest.mark.parametrize("count", [0, 257])
def test_more_classes_than_a_picture_holds_are_refused(count):
    with pytest.raises(ValueError, match=f"num_classes must be from 1 to 256, got {count}"):
        class_colours(count)


def test_a_palette_shows_a_mask_and_leaves_its_ids():
    ids = np.array([[0, 1], [2, 9]], np.uint8)
    mask = Image.fromarray(ids)
    mask.putpalette(mask_palette(3))
    np.testing.assert_array_equal(np.asarray(mask), ids)
    shown = np.asarray(mask.convert("RGB")).reshape(-1, 3)
    assert [tuple(map(int, colour)) for colour in shown] == [*class_colours(3), (128, 128, 128)]
