"""Which images a contact sheet shows, and how labels are marked."""

from __future__ import annotations

import numpy as np
from PIL import Image

from common.datasets.contact_sheet import choose_cases, mark_label


def test_label_is_tinted_and_bordered_in_the_colour_of_its_class():
    picture = np.full((12, 16, 3), 100, np.uint8)
    label = np.zeros((12, 16), np.uint8)
    label[2:8, 3:9] = 1
    label[2:8, 9:14] = 2
    marked = np.asarray(mark_label(Image.fromarray(picture), Image.fromarray(label)))
    assert (marked[label == 0] == 100).all()
    first, second = marked[2, 3].astype(int), marked[2, 13].astype(int)
    assert not np.array_equal(first, second)
    for colour, index in ((first, 1), (second, 2)):
        inside = np.zeros(label.shape, bool)
        inside[3:7, 4:8] = index == 1
        inside[3:7, 10:13] = index == 2
        assert (marked[(label == index) & ~inside] == colour).all()
        assert (marked[inside] == np.round(0.6 * 100 + 0.4 * colour)).all()


def test_each_class_is_shown_about_equally_often():
    pixels = np.zeros((100, 4), int)
    pixels[:, :2] = 1  # one class everywhere
    pixels[40:44, 2] = 1
    pixels[97:, 3] = 1
    chosen = choose_cases(pixels, [str(index) for index in range(100)], 9)
    assert len(set(chosen)) == 9
    assert chosen == sorted(chosen)
    assert (pixels[chosen, 2:] > 0).sum(axis=0).tolist() == [4, 3]


def test_each_group_is_shown_about_equally_often():
    groups = ["large"] * 90 + ["small"] * 5 + ["tiny"] * 5
    chosen = choose_cases(np.ones((100, 2), int), groups, 12)
    assert [[groups[index] for index in chosen].count(group) for group in ("large", "small", "tiny")] == [4, 4, 4]


def test_images_without_any_structure_are_left_out():
    pixels = np.array([[9, 0], [8, 1], [9, 0], [7, 2]])
    assert choose_cases(pixels, list("abcd"), 12) == [1, 3]


def test_images_without_any_structure_are_shown_if_there_are_no_others():
    assert choose_cases(np.array([[9, 0], [9, 0], [9, 0]]), list("abc"), 2) == [0, 1]
