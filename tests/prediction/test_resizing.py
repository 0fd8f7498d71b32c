"""Resizing agrees with MONAI's, in one piece and by bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import Resize

from common.prediction import resizing
from common.prediction.resizing import bands, enlarge, shrink

SIZES = [(76, 57), (20, 61), (32, 32), (33, 31), (1, 5), (300, 17)]


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_images_are_shrunk_and_enlarged_as_by_resize_with_anti_aliasing(width, height):
    image = random(3, width, height)
    expected = Resize((32, 32), mode="bilinear", anti_aliasing=True)(torch.from_numpy(image)).numpy()
    found = shrink(lambda start, end: image[:, :, start:end], width, height, 32, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_logits_are_resized_back_as_by_the_inverse_of_resize(width, height):
    logits = 8 * random(4, 32, 32)
    expected = Resize((width, height), mode="bilinear")(torch.from_numpy(logits)).numpy()
    found = enlarge(logits, width, height, 0, height)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(0), expected.argmax(0))


def test_bands_make_no_difference(monkeypatch):
    image, logits = random(3, 40, 50), random(2, 16, 16)
    whole = shrink(lambda start, end: image[:, :, start:end], 40, 50, 16, 3)
    monkeypatch.setattr(resizing, "_BAND", 40 * 3 * 7)
    rows = []

    def read(start, end):
        rows.append((start, end))
        return image[:, :, start:end]

    np.testing.assert_allclose(shrink(read, 40, 50, 16, 3), whole, atol=1e-6)
    assert rows == [(0, 7), (7, 14), (14, 21), (21, 28), (28, 35), (35, 42), (42, 49), (49, 50)]
    parts = [enlarge(logits, 40, 50, start, end) for start, end in bands(40, 50, 3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=2), enlarge(logits, 40, 50, 0, 50))


def test_an_image_of_the_right_size_stays_as_it_is():
    image = random(1, 16, 16)
    np.testing.assert_array_equal(shrink(lambda start, end: image[:, :, start:end], 16, 16, 16, 1), image)
    np.testing.assert_array_equal(enlarge(image, 16, 16, 0, 16), image)
