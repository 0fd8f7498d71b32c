"""The table of what was chosen fits onto the screen."""

from __future__ import annotations

from common.creation.choices import Choice
from common.creation.table import draw_table

ROWS = [
    Choice("size", "256 x 256 pixels", "the usual size", "--size"),
    Choice(
        "mirrored",
        "no",
        "safe: nobody has said that a mirrored image is as likely as the image itself is",
        "--left_right same",
    ),
]


def test_a_wide_table_has_a_line_for_each_row():
    lines = draw_table(ROWS, 200).splitlines()
    assert [line.split()[0] for line in lines] == ["what", "--------", "size", "mirrored"]
    assert lines[2].endswith("--size")


def test_a_narrow_table_is_folded():
    text = draw_table(ROWS, 94)
    assert max(map(len, text.splitlines())) <= 94
    assert " ".join(text.split()).count("--left_right same") == 1


def test_the_name_of_a_teacher_is_never_broken():
    """It is to be copied, and is one character longer than the narrowest column."""
    long = Choice("images", "x" * 60, "y " * 60, "--images")
    text = draw_table([long, Choice("teacher", "facebook/sam-vit-base", "as --pretrained says")], 80)
    assert "facebook/sam-vit-base" in text
