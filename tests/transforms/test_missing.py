"""An entry gets what it lacks."""

from __future__ import annotations

import pytest
import torch

from common.transforms.missing import FillMissingd, TakeMissingd


def test_missing_keys_are_filled_in_the_images_size():
    image = torch.rand(3, 5, 7)
    filled = FillMissingd(["label", "fov"], [0, 1])({"image": image})
    assert torch.equal(filled["label"], torch.zeros(1, 5, 7))
    assert torch.equal(filled["fov"], torch.ones(1, 5, 7))
    assert filled["image"] is image


def test_keys_that_are_there_stay_as_they_are():
    label = torch.ones(1, 5, 7)
    data = {"image": torch.rand(3, 5, 7), "label": label, "name": "a"}
    filled = FillMissingd(["label", "fov"], [0, 1])(data)
    assert filled["label"] is label
    assert filled["name"] == "a"
    assert "fov" not in data, "the data given was changed"


def test_filled_labels_fit_into_a_batch_with_real_ones():
    real = {"image": torch.rand(1, 4, 4), "label": torch.rand(1, 4, 4)}
    filled = FillMissingd("label", [0], image_key="image")({"image": torch.rand(1, 4, 4)})
    assert filled["label"].dtype == real["label"].dtype
    assert torch.stack([real["label"], filled["label"]]).shape == (2, 1, 4, 4)


def test_values_must_be_one_for_each_key():
    with pytest.raises(ValueError, match="values must be one for each key, got 1 for 2"):
        FillMissingd(["label", "fov"], [0])


def test_what_is_missing_is_taken_from_elsewhere():
    take, label = TakeMissingd("label", "drawn_label"), torch.ones(1, 4, 4)
    data = {"drawn_label": label, "name": "a"}
    assert take(data) == {"label": label, "name": "a"}
    assert "label" not in data, "the data given was changed"
    own = torch.zeros(1, 4, 4)
    assert take({"label": own, "drawn_label": label}) == {"label": own}
    assert take({"name": "b"}) == {"name": "b"}
