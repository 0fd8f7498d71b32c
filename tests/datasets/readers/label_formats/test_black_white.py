"""Masks in which white is the structure."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_labels import save, source
from integration import refused
from PIL import Image, ImageFilter

from common.datasets.readers.folder_labels import read_folder_label

SOURCE = source("black_white", ["background", "wound"])
INSIDE = np.zeros((40, 64), bool)
INSIDE[10:30, 13:45] = True
WHITE = INSIDE * np.uint8(255)


def read(path) -> np.ndarray:
    return read_folder_label(str(path), SOURCE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("white", [1, 255, 65535])
def test_white_is_one_or_the_brightest_there_is(tmp_path, dtype, white):
    if white <= np.iinfo(dtype).max:
        path = save(tmp_path / "a.png" if dtype != np.int32 else tmp_path / "a.tif", INSIDE * dtype(white))
        np.testing.assert_array_equal(read(path), INSIDE)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_any_mode_of_a_picture_is_read(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(WHITE).convert(mode).save(path)
    np.testing.assert_array_equal(read(path), INSIDE)


def test_whole_and_empty_masks_are_read(tmp_path):
    for value, inside in ((0, False), (1, True), (255, True)):
        assert (read(save(tmp_path / "a.png", np.full((4, 5), value, np.uint8))) == inside).all()
    Image.new("1", (5, 4)).save(tmp_path / "b.png")
    assert not read(tmp_path / "b.png").any()


def test_a_palette_of_two_colours_is_one_bit_and_of_greys_is_what_it_shows(tmp_path):
    picture = Image.fromarray(INSIDE.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(tmp_path / "red.png")
    np.testing.assert_array_equal(read(tmp_path / "red.png"), INSIDE)
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "inverted.png")
    with refused(r"inverted\.png: its palette is inverted: value 0 is shown brighter than 1"):
        read(tmp_path / "inverted.png")
    greys = Image.fromarray(INSIDE.astype(np.uint8) + 2).convert("P")
    greys.putpalette([9, 0, 0, 0, 9, 0, 0, 0, 0, 255, 255, 255])
    greys.save(tmp_path / "greys.png")
    np.testing.assert_array_equal(read(tmp_path / "greys.png"), INSIDE)


def test_smoothed_borders_count_by_whether_they_are_above_half(tmp_path):
    smooth = Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(1))
    path = save(tmp_path / "a.png", np.asarray(smooth))
    assert len(np.unique(np.asarray(smooth))) > 6
    np.testing.assert_array_equal(read(path), np.asarray(smooth) > 127)
    assert (read(path) != INSIDE).sum() <= 4  # the corners


def test_shades_of_their_own_are_refused(tmp_path):
    shades = WHITE.copy()
    shades[12:22, 15:30] = 128
    with refused(r"a\.png: has \d+ pixels of the value 128 away from any border .* else give label_format ids$"):
        read(save(tmp_path / "a.png", shades))
    stripe = WHITE.copy()
    stripe[10:15, 13:45] = 128  # as near to black and white as a smooth border is, and flat
    with refused(r"a\.png: has 90 pixels of the value 128 away from any border"):
        read(save(tmp_path / "a.png", stripe))
    with refused("has nothing white, its brightest value is 2; expected 0 and 1, or black and white"):
        read(save(tmp_path / "a.png", INSIDE * np.uint8(2)))
    ids_and_white = INSIDE.astype(np.uint8)
    ids_and_white[0] = 255
    with refused("of the value 1 away from any border"):
        read(save(tmp_path / "a.png", ids_and_white))


def test_colours_are_refused(tmp_path):
    path = save(tmp_path / "a.png", np.dstack([WHITE, WHITE, 0 * WHITE]))
    with refused(
        r"has 640 pixels of colours, first \(255, 255, 0\); expected black and white, .* label_format colours"
    ):
        read(path)


def test_jpegs_are_taken_whose_every_pixel_is_near_black_or_white(tmp_path):
    for mode in ("L", "RGB"):
        Image.fromarray(WHITE).convert(mode).save(tmp_path / "a.jpg", quality=75)
        assert len(np.unique(np.asarray(Image.open(tmp_path / "a.jpg")))) > 2
        np.testing.assert_array_equal(read(tmp_path / "a.jpg"), INSIDE)


def test_other_jpegs_are_refused(tmp_path):
    smooth = np.asarray(Image.fromarray(WHITE).filter(ImageFilter.GaussianBlur(2)))
    with refused(
        r"a\.jpg: has \d+ pixels of the values \d+ to \d+ that are neither black nor white, as JPEG alters them"
    ):
        read(save(tmp_path / "a.jpg", smooth))
    with refused("has nothing white, its brightest value is"):  # 0 and 1, which would look like nothing but black
        read(save(tmp_path / "a.jpg", INSIDE * np.uint8(8)))


def test_hidden_pixels_and_several_pages_are_refused(tmp_path):
    with refused("has pixels that are not opaque"):
        read(save(tmp_path / "a.png", np.dstack([WHITE, WHITE])))
    with refused("holds 2 images"):
        first, second = Image.fromarray(WHITE), Image.fromarray(WHITE[::-1])
        first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
        read(tmp_path / "a.tif")
