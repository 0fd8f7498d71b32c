"""Class ids, and grey values that stand for them, in pictures."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_labels import IDS, save, source
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from integration import refused
from PIL import Image

from common.datasets.readers.folder_labels import read_folder_label
from common.datasets.readers.label_formats.ids import to_ids

THREE, TWO = source("ids"), source("ids", ["background", "wound"])


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.int32), ("a.gif", np.uint8)]
)
def test_ids_come_back_as_they_were_written(tmp_path, name, dtype):
    path = save(tmp_path / name, IDS.astype(dtype))
    ids = read_folder_label(path, THREE)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8


def test_ids_in_three_equal_channels_or_with_a_full_alpha_are_read(tmp_path):
    for channels in ([IDS] * 3, [IDS, np.full_like(IDS, 255)]):
        np.testing.assert_array_equal(read_folder_label(save(tmp_path / "a.png", np.dstack(channels)), THREE), IDS)


def test_palettes_count_by_their_indices(tmp_path):
    picture = Image.fromarray(IDS).convert("P")
    picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_folder_label(str(tmp_path / "a.png"), THREE), IDS)


def test_grey_values_stand_for_ids_and_black_is_background(tmp_path):
    path = save(tmp_path / "a.png", np.array([0, 85, 170], np.uint8)[IDS])
    np.testing.assert_array_equal(read_folder_label(path, source("ids", values={85: 1, 170: 2})), IDS)
    np.testing.assert_array_equal(read_folder_label(path, source("ids", values={85: 2, 170: 2})), 2 * (IDS > 0))
    turned = read_folder_label(path, source("ids", values={0: 1, 85: 0, 170: 0}))
    np.testing.assert_array_equal(turned, IDS == 0)


def test_values_that_are_no_class_are_counted(tmp_path):
    wrong = IDS.copy()
    wrong[0, :5], wrong[1, 0] = 7, 9
    with refused(r"a\.png: has 6 pixels of 2 values that are no class \(7, 9\); expected class ids from 0 to 2$"):
        read_folder_label(save(tmp_path / "a.png", wrong), THREE)
    with refused(r"has 24 pixels of the value 1, which is no class; expected 0, 2, 9$"):
        read_folder_label(save(tmp_path / "a.png", IDS), source("ids", values={2: 1, 9: 2}))


def test_white_is_no_class_id_and_the_message_says_what_it_may_be(tmp_path):
    path = save(tmp_path / "a.png", np.where(IDS > 0, np.uint8(255), np.uint8(0)))
    with refused("of the value 255, which is no class; .* white is the structure, give label_format black_white$"):
        read_folder_label(path, TWO)
    mixed = save(tmp_path / "b.png", np.where(IDS == 2, np.uint8(255), IDS))
    with refused("expected class ids from 0 to 1$"):
        read_folder_label(mixed, TWO)


def test_colours_are_no_class_ids(tmp_path):
    path = save(tmp_path / "a.png", np.dstack([IDS * np.uint8(100), 0 * IDS, 0 * IDS]))
    with refused(r"a\.png: has 44 pixels of colours, first \(100, 0, 0\); .* label_format colours"):
        read_folder_label(path, THREE)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_formats_that_alter_values_are_refused_even_where_they_did_not(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", 0 * IDS)
    with refused(rf"a\.{suffix}: is a label stored as .*, which alters class ids; save the original as PNG"):
        read_folder_label(path, THREE)


@given(arrays(np.uint8, (5, 6), elements=st.integers(0, 255)), st.permutations(range(256)))
@settings(max_examples=30, deadline=None)
def test_any_assignment_of_values_to_ids_can_be_undone(ids, order):
    values = {value: index for index, value in enumerate(order)}
    stored = np.array(order, np.uint8)[ids]
    np.testing.assert_array_equal(to_ids(stored, "a.png", 256, values), ids)
