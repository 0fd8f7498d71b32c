"""Labels in which each class has a colour of its own."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_labels import COLOURS, IDS, in_colours, save, source
from hypothesis import given, settings
from hypothesis import strategies as st
from integration import refused
from PIL import Image, ImageFilter

from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.label_formats.colours import colour_numbers, colour_of

SOURCE = source("colours", colours={name: list(colour) for name, colour in COLOURS.items()})


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_ids_come_back_from_their_colours(tmp_path, suffix):
    ids = read_folder_label(save(tmp_path / f"a.{suffix}", in_colours(IDS)), SOURCE)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8


def test_palettes_count_by_what_they_show(tmp_path):
    picture = Image.fromarray(2 - IDS).convert("P")  # indices in another order than the classes
    picture.putpalette([part for colour in reversed(COLOURS.values()) for part in colour])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_folder_label(str(tmp_path / "a.png"), SOURCE), IDS)


def test_background_is_black_unless_it_has_a_colour(tmp_path):
    path = save(tmp_path / "a.png", in_colours(IDS))
    without = source("colours", colours={"wound": [255, 0, 0], "scar": [0, 128, 255]})
    np.testing.assert_array_equal(read_folder_label(path, without), IDS)
    white = np.where(IDS[..., None] == 0, np.uint8(255), in_colours(IDS))
    own = source("colours", colours={"background": [255] * 3, "wound": [255, 0, 0], "scar": [0, 128, 255]})
    np.testing.assert_array_equal(read_folder_label(save(tmp_path / "b.png", white), own), IDS)
    with refused(r"pixels of the colour \(0, 0, 0\), which is no class"):
        read_folder_label(path, own)


def test_colours_of_smoothed_borders_are_counted_and_not_guessed(tmp_path):
    smooth = np.asarray(Image.fromarray(in_colours(IDS)).filter(ImageFilter.GaussianBlur(1)))
    known = np.array([tuple(colour) in set(COLOURS.values()) for colour in smooth.reshape(-1, 3).tolist()])
    different = len(np.unique(smooth.reshape(-1, 3)[~known], axis=0))
    with refused(
        rf"a\.png: has {(~known).sum()} pixels of {different} colours that are no class \(most of them .*\); expected "
        r"background \(0, 0, 0\), wound \(255, 0, 0\), scar \(0, 128, 255\); save it without smoothed borders"
    ):
        read_folder_label(save(tmp_path / "a.png", smooth), SOURCE)


def test_more_colours_than_classes_are_named(tmp_path):
    pixels = in_colours(IDS)
    pixels[0, :3] = (0, 255, 0)
    with refused(r"has 3 pixels of the colour \(0, 255, 0\), which is no class; expected background .*scar .*\)$"):
        read_folder_label(save(tmp_path / "a.png", pixels), SOURCE)


def test_jpegs_deep_and_hidden_pixels_are_refused(tmp_path):
    with refused("is a label stored as JPEG, which alters colours; save the original as PNG"):
        read_folder_label(save(tmp_path / "a.jpg", in_colours(IDS)), SOURCE)
    with refused(r"has more than 8 bits a channel \(Pillow mode I;16\)"):
        read_folder_label(save(tmp_path / "a.png", IDS.astype(np.uint16)), SOURCE)
    with refused("has pixels that are not opaque"):
        hidden = np.dstack([in_colours(IDS), IDS * np.uint8(127)])
        read_folder_label(save(tmp_path / "a.png", hidden), SOURCE)


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=30, deadline=None)
def test_every_colour_has_a_number_of_its_own(colour):
    picture = Image.new("RGB", (1, 1), colour)
    assert colour_of(int(colour_numbers(picture, "a.png")[0, 0])) == colour
