"""The picture of labelled images shows what differs most."""

from __future__ import annotations

import numpy as np

from common.creation.picture import most_telling

IMAGE = np.zeros((20, 20, 3), np.uint8)


def labelled(pixels: int, classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return an image whose label has so many pixels and structures."""
    ids = np.zeros((20, 20), np.uint8)
    ids.flat[:pixels] = 1 + np.arange(pixels) % classes
    return IMAGE, ids


def test_labels_of_all_sizes_are_shown_from_small_to_large():
    pairs = [labelled(pixels) for pixels in (90, 10, 80, 20, 70, 30, 60, 40)]
    shown = most_telling(pairs, [(None, None)] * 8)
    assert [int((pairs[place][1] > 0).sum()) for place in shown] == [20, 40, 70, 90]


def test_images_with_all_classes_come_first():
    pairs = [labelled(10), labelled(20, 2), labelled(30), labelled(40, 2), labelled(50, 2), labelled(60, 2)]
    assert most_telling(pairs, [(None, None)] * 6) == [1, 3, 4, 5]


def test_those_shown_are_of_different_strata_and_patients():
    pairs = [labelled(pixels) for pixels in range(10, 90, 10)]
    kinds = [("benign", "A")] * 5 + [("odd", "B"), ("odd", "C"), ("benign", "D")]
    shown = most_telling(pairs, kinds)
    assert sorted(kinds[place][0] for place in shown) == ["benign", "benign", "odd", "odd"]
    assert len({kinds[place][1] for place in shown}) == 3
    assert most_telling(pairs[:2], kinds[:2]) == [0, 1]
