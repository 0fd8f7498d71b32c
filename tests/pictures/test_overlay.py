"""Masks on their images: what is marked, in which colour, and whether it can be seen."""

from __future__ import annotations

import numpy as np
import pytest
from colour_vision import VISIONS, distance
from PIL import Image

from common.pictures.overlay import draw_comparison, draw_mask
from common.pictures.palette import AGREEMENT, DIFFERENCE, class_colours
from common.pictures.sheets import pictures_of

SIZE = 420  # as large as pictures are shown without being enlarged
GROUNDS = {
    "fundus": (200, 100, 50),
    "skin": (205, 160, 130),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (119, 119, 119),
    **{f"class {index}": colour for index, colour in enumerate(class_colours(8)[1:], start=1)},
}
NAMES = ["background", "lesion"]


def block(*edges: int, value: int = 1) -> np.ndarray:
    ids = np.zeros((SIZE, SIZE), np.uint8)
    top, bottom, left, right = edges
    ids[top:bottom, left:right] = value
    return ids


def vessels() -> np.ndarray:
    ids = np.zeros((SIZE, SIZE), np.uint8)
    for start in range(40, SIZE, 40):
        ids[start : start + 2] = ids[:, start : start + 3] = 1
    return ids


def ground(colour=(128, 128, 128)) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


def shown(sheet: Image.Image, name: str) -> np.ndarray:
    return np.asarray(pictures_of(sheet)[name])


def where(picture: np.ndarray, colour) -> np.ndarray:
    return (picture == colour).all(-1)


class TestSeen:
    @pytest.mark.parametrize("vision", VISIONS)
    @pytest.mark.parametrize("colour", GROUNDS.values(), ids=GROUNDS)
    def test_a_border_is_seen_on_any_ground(self, colour, vision):
        picture = shown(draw_mask(ground(colour), block(100, 300, 100, 300), NAMES), "mask")
        across = {tuple(map(int, pixel)) for pixel in picture[200, 90:120]}
        assert max(distance(pixel, colour, vision) for pixel in across) > 50

    @pytest.mark.parametrize("vision", VISIONS)
    @pytest.mark.parametrize("colour", GROUNDS.values(), ids=GROUNDS)
    def test_thin_structures_are_seen_on_any_ground(self, colour, vision):
        ids = vessels()
        picture = shown(draw_mask(ground(colour), ids, NAMES), "mask")
        around = picture[20, 20]
        assert distance(picture[60, 41], around, vision) > 20


class TestMask:
    def test_the_image_is_shown_as_it_is_beside_the_mask(self):
        image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE + 10, 3), np.uint8)
        sheet = draw_mask(image, np.zeros(image.shape[:2], np.uint8), NAMES, title="case")
        np.testing.assert_array_equal(shown(sheet, "image"), image)
        np.testing.assert_array_equal(shown(sheet, "mask"), image)

    def test_compact_structures_get_a_border_in_the_colour_of_their_class(self):
        ids = block(100, 200, 100, 200) + block(250, 350, 250, 350, value=2)
        picture = shown(draw_mask(ground(), ids, ["background", "liver", "spleen"]), "mask")
        assert (picture[150, 150] == 128).all(), "the inside is left to be seen"
        assert (picture[:80] == 128).all()
        for index, rows in ((1, slice(100, 200)), (2, slice(250, 350))):
            line = where(picture, class_colours(3)[index])
            assert line.any()
            assert not line[ids != index].any()
            assert line[rows].sum() == line.sum()

    def test_thin_structures_are_filled_and_a_part_is_enlarged(self):
        sheet = draw_mask(ground(), vessels(), NAMES)
        colour = class_colours(2)[1]
        marked = where(shown(sheet, "mask"), colour)
        assert not marked[vessels() == 0].any()
        assert marked[vessels() > 0].mean() > 0.99, "all but what is below the frame of the part"
        assert {"framed part", "framed part of the image"} <= pictures_of(sheet).keys()
        enlarged = where(shown(sheet, "framed part"), colour)
        assert 0.9 < enlarged.mean() / (vessels() > 0).mean() < 1.3
        assert "framed part" not in pictures_of(draw_mask(ground(), block(100, 300, 100, 300), NAMES))

    @pytest.mark.parametrize(("style", "inside"), [("area", False), ("border", True)])
    def test_a_style_that_is_asked_for_is_taken(self, style, inside):
        picture = shown(draw_mask(ground(), block(100, 300, 100, 300), NAMES, style=style), "mask")
        assert (picture[200, 200] == 128).all() == inside

    def test_small_images_are_enlarged_and_huge_ones_reduced(self):
        small = draw_mask(np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.uint8), NAMES)
        assert pictures_of(small)["image"].size == (448, 336)
        huge = draw_mask(np.zeros((3000, 6000), np.uint8), np.zeros((3000, 6000), np.uint8), NAMES)
        assert pictures_of(huge)["image"].size == (1600, 800)


class TestComparison:
    def test_one_structure_has_the_colours_of_agreement(self):
        prediction, label = block(100, 300, 100, 250), block(100, 300, 150, 300)
        picture = shown(draw_comparison(ground(), prediction, label, NAMES, style="area"), "comparison")
        marks = {name: where(picture, colour) for name, colour in AGREEMENT.items()}
        assert marks["both"][100, 200]
        assert marks["prediction only"][200, 100]
        assert marks["label only"][200, 299]
        assert not (marks["both"] & (prediction != label)).any()
        assert not (marks["prediction only"] & (label > 0)).any()
        assert not (marks["label only"] & (prediction > 0)).any()

    def test_borders_of_both_are_drawn_and_are_one_where_they_run_together(self):
        prediction, label = block(100, 300, 100, 300), block(100, 300, 100, 350)
        picture = shown(draw_comparison(ground(), prediction, label, NAMES), "comparison")
        assert where(picture, AGREEMENT["both"])[200, 100]
        assert where(picture, AGREEMENT["prediction only"])[200, 299]
        assert where(picture, AGREEMENT["label only"])[200, 349]
        assert (picture[200, 200] == 128).all()

    def test_several_structures_are_shown_by_class_and_where_they_differ(self):
        names = ["background", "liver", "kidney", "spleen"]
        prediction, label = block(100, 300, 100, 300), block(100, 200, 100, 300) + block(200, 300, 100, 300, value=3)
        sheet = draw_comparison(ground(), prediction, label, names)
        assert list(pictures_of(sheet)) == ["image", "label", "prediction", "comparison"]
        assert where(shown(sheet, "label"), class_colours(4)[3]).any()
        assert not where(shown(sheet, "prediction"), class_colours(4)[3]).any()
        picture = shown(sheet, "comparison")
        np.testing.assert_array_equal(where(picture, DIFFERENCE["same"]), (prediction == label) & (label > 0))
        np.testing.assert_array_equal(where(picture, DIFFERENCE["different"]), prediction != label)

    def test_a_prediction_in_bits_does_not_make_a_compact_structure_thin(self):
        specks = np.zeros((SIZE, SIZE), np.uint8)
        specks[::6, ::6] = 1
        sheet = draw_comparison(ground(), specks, block(100, 300, 100, 300), NAMES)
        assert list(pictures_of(sheet)) == ["image", "comparison"]

    def test_the_enlarged_part_is_where_they_differ(self):
        label = vessels()
        prediction = label.copy()
        prediction[:100, :100] = 0
        sheet = draw_comparison(ground(), prediction, label, NAMES)
        assert where(shown(sheet, "framed part"), AGREEMENT["label only"]).mean() > 0.05


class TestRefused:
    @pytest.mark.parametrize(
        ("image", "ids", "said"),
        [
            (np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), "class ids of 4 x 5 pixels"),
            (np.zeros((4, 5), np.uint8), np.full((4, 5), 2), "class ids from 0 to 1, got 2 to 2"),
            (np.zeros((4, 5), float), np.zeros((4, 5), np.uint8), "in uint8, got"),
            (np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5), np.uint8), r"got \(4, 5, 2\)"),
        ],
    )
    def test_what_does_not_fit(self, image, ids, said):
        with pytest.raises(ValueError, match=said):
            draw_mask(image, ids, NAMES)

    def test_an_unknown_style(self):
        with pytest.raises(ValueError, match="overlay_style must be one of auto, area, border, got 'outline'"):
            draw_mask(ground(), block(1, 2, 1, 2), NAMES, style="outline")
