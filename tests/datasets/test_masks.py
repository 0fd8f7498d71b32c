"""What a mask may look like."""

import numpy as np
import pytest
from PIL import Image

from common.datasets.masks import class_id_issue, mask_issue
from common.datasets.readers.labels import LoadLabeld
from common.errors import InputError

GREY = np.array([[0, 0], [0, 200]], np.uint8)


def test_mask_in_colour_is_accepted_only_where_it_is_asked_for():
    mask = Image.fromarray(GREY).convert("RGB")
    assert mask_issue(mask) == "expected one grey channel, got Pillow mode RGB"
    assert mask_issue(mask, colour=True) is None
    red = Image.fromarray(np.stack([GREY, GREY * 0, GREY * 0], axis=-1))
    assert mask_issue(red, colour=True) == "expected shades of grey, got colours"


def test_mask_that_fills_the_image_is_accepted_only_where_it_is_asked_for():
    full, empty = Image.new("L", (4, 4), 255), Image.new("L", (4, 4), 0)
    assert mask_issue(full) == "expected background 0 and a foreground above, but every pixel is 255"
    assert mask_issue(full, fill=True) is None
    assert mask_issue(empty, fill=True) == "expected background 0 and a foreground above, but every pixel is 0"


@pytest.mark.parametrize(("foreground", "accepted"), [(1, True), (2, False), (127, False), (128, True), (255, True)])
def test_what_is_a_mask_to_the_checks_is_one_to_the_training(foreground, accepted, tmp_path):
    mask = Image.fromarray(np.eye(4, dtype=np.uint8) * foreground)
    full = Image.new("L", (4, 4), foreground)
    mask.save(tmp_path / "mask.png")
    if accepted:
        assert mask_issue(mask) is None
        assert mask_issue(full, fill=True) is None
        label = LoadLabeld(num_classes=2)({"label": str(tmp_path / "mask.png")})["label"]
        assert np.array_equal(label[0], np.eye(4))
    else:
        expected = f"expected 1 or white (at least 128) for the foreground, got {foreground}, a class of its own"
        assert mask_issue(mask) == expected
        assert mask_issue(full, fill=True) == expected
        with pytest.raises(InputError, match=f"has pixels of class {foreground}, which the model does not have"):
            LoadLabeld(num_classes=2)({"label": str(tmp_path / "mask.png")})


@pytest.mark.parametrize(("mode", "accepted"), [("1", True), ("L", True), ("RGB", False)])
def test_mask_of_class_ids_has_one_channel(mode, accepted):
    reason = class_id_issue(Image.new(mode, (4, 4)), highest=3)
    assert reason == (None if accepted else "expected one grey channel, got Pillow mode RGB")


def test_class_ids_beyond_the_highest_are_named():
    mask = Image.fromarray(np.array([[0, 3], [4, 255]], np.uint8))
    assert class_id_issue(mask, highest=255) is None
    assert class_id_issue(mask, highest=3) == "expected grey values from 0 to 3, got 4, 255"
