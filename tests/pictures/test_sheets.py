"""Pictures on a sheet can be read, and found again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from common.pictures.lettering import shorten
from common.pictures.sheets import draw_sheet, pictures_of, save_sheet

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(width: int, height: int, colour=RED) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def ink(sheet: Image.Image) -> np.ndarray:
    """Return which pixels are not white."""
    return (np.asarray(sheet) < 250).any(-1)


def test_pictures_of_different_sizes_lie_in_rows_and_do_not_overlap():
    sheet = draw_sheet([picture(300, 50), picture(200, 80, BLUE), picture(100, 60)], ["a", "b", "c"], columns=2)
    pixels = np.asarray(sheet)
    assert (pixels == RED).all(-1).sum() == 300 * 50 + 100 * 60
    assert (pixels == BLUE).all(-1).sum() == 200 * 80


def test_pictures_are_found_again_in_the_file(tmp_path):
    sheet = draw_sheet([picture(300, 50), picture(200, 80, BLUE)], ["one", "zwölf"], "title", {"x": RED})
    save_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as saved:
        found = pictures_of(saved)
    assert {name: (each.size, each.getpixel((9, 9))) for name, each in found.items()} == {
        "one": ((300, 50), RED),
        "zwölf": ((200, 80), BLUE),
    }


def test_a_picture_that_is_no_sheet_has_no_pictures_on_it(tmp_path):
    picture(30, 30).save(tmp_path / "other.png")
    with Image.open(tmp_path / "other.png") as other:
        assert pictures_of(other) == {}


def test_a_title_is_whole_above_small_pictures():
    title = "16 samples of the diffusion model after epoch 14"
    small = draw_sheet([picture(200, 200)], ["a"], title=title)
    large = draw_sheet([picture(900, 200)], ["a"], title=title)
    ends = [np.flatnonzero(ink(sheet)[:40].any(axis=0))[-1] for sheet in (small, large)]
    assert ends[0] == ends[1] < small.width


def test_title_and_legend_take_room_of_their_own():
    plain = draw_sheet([picture(500, 50)], ["a"])
    titled = draw_sheet([picture(500, 50)], ["a"], title="What is shown")
    with_legend = draw_sheet([picture(500, 50)], ["a"], legend={"vessel": BLUE})
    assert ink(titled)[: titled.height - plain.height].any()
    below = np.asarray(with_legend)[plain.height - 8 :]
    assert (below == BLUE).all(-1).sum() > 100


def test_a_legend_that_is_too_long_goes_on_in_the_next_line():
    few = draw_sheet([picture(400, 50)], ["a"], legend={"vessel": RED})
    many = draw_sheet([picture(400, 50)], ["a"], legend={f"structure number {n}": RED for n in range(12)})
    assert many.width == few.width
    assert many.height > few.height + 3 * 20
    rim = ink(many)
    assert not rim[:, -4:].any()


def test_letters_grow_with_the_sheet():
    heights = []
    for width in (800, 3200):
        sheet = draw_sheet([picture(width, 50)], ["a"], title="HHH")
        rows = np.nonzero(ink(sheet)[: pictures_top(sheet)].any(1))[0]
        heights.append(rows[-1] - rows[0])
    assert heights[1] > 2.5 * heights[0]


def pictures_top(sheet: Image.Image) -> int:
    return int(np.nonzero((np.asarray(sheet) == RED).all(-1).any(1))[0][0]) - 1


def test_a_long_caption_keeps_both_ends_and_its_room():
    font = ImageFont.load_default(14)
    shown = shorten("patient 0012, a very long name of an image indeed_0001.png", 150, font)
    assert font.getlength(shown) <= 150
    assert shown.startswith("patient")
    assert shown.endswith(".png")
    assert shorten("two\nlines", 150, font) == "two lines"


def test_captions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one caption for each picture, got 1 and 2"):
        draw_sheet([picture(9, 9)], ["a", "b"])
