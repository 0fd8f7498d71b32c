"""The names of labels are understood, or asked about."""

from __future__ import annotations

import pytest
from integration import refused

from common.creation.stems import Endings, read_endings, split_one_folder

TWO, THREE = ("background", "wound"), ("background", "wound", "skin")


@pytest.mark.parametrize(
    ("counts", "classes", "endings"),
    [
        ({"": 60}, TWO, Endings("")),
        ({"_mask": 60}, TWO, Endings("_mask")),
        ({"_mask": 60, "_mask_1": 3, "_mask_2": 1}, TWO, Endings("_mask", united=True)),
        ({"_wound": 60}, TWO, Endings("_wound")),
        ({"_wound": 60, "_skin": 58}, THREE, Endings("", {"wound": "_wound", "skin": "_skin"})),
        ({"_wound_m": 60, "_skin_m": 58}, THREE, Endings("", {"wound": "_wound_m", "skin": "_skin_m"})),
        ({"-Wound": 60, "-Skin": 60}, THREE, Endings("", {"wound": "-Wound", "skin": "-Skin"})),
        ({"wound/": 60, "skin/": 60}, THREE, Endings("", {"wound": "wound/", "skin": "skin/"})),
        ({"?": 60}, TWO, Endings("")),
    ],
)
def test_labels_in_a_folder_of_their_own(counts, classes, endings):
    assert read_endings(counts, classes) == endings


def test_several_endings_are_a_question():
    with refused(
        r"which files are the labels\? Their names end in _edge \(60 files\), _mask \(58 files\): give --label"
    ):
        read_endings({"_edge": 60, "_mask": 58}, TWO)


def test_a_class_without_files_is_a_question():
    with refused("which files are the labels"):
        read_endings({"_wound": 60, "_bone": 60}, THREE)


@pytest.mark.parametrize(
    ("stems", "classes", "endings"),
    [
        (["a", "a_mask", "b", "b_mask"], TWO, Endings("_mask")),
        (["1", "1_mask", "10", "10_mask"], TWO, Endings("_mask")),
        (["benign (1)", "benign (1)_mask", "benign (1)_mask_1"], TWO, Endings("_mask", united=True)),
        (["x/a", "x/a_label", "y/a", "y/a_label"], TWO, Endings("_label")),
        (["a", "a_wound_m", "a_skin_m"], THREE, Endings("", {"wound": "_wound_m", "skin": "_skin_m"})),
        (["a", "a_wound", "a_skin", "b", "b_skin"], THREE, Endings("", {"skin": "_skin", "wound": "_wound"})),
    ],
)
def test_labels_among_their_images(stems, classes, endings):
    assert split_one_folder(stems, classes) == endings


def test_a_folder_of_images_alone():
    with refused("--labels is missing: give the folder of the labels, or --label_suffix"):
        split_one_folder(["a", "b", "c_1", "d_mask"], TWO)
