"""Transforms that MONAI does not have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms import FillMissingd, ScaleSlicesd


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


@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_a_slice_is_scaled_alike_alone_and_in_its_volume(modality):
    affine = torch.diag(torch.tensor([1.5, 1.5, 6.0, 1.0], dtype=torch.float64))
    levels = torch.tensor([100.0, 1000.0, 10.0])  # slices of one volume differ in brightness
    volume = MetaTensor(torch.rand(1, 20, 30, 3) * levels, affine=affine)
    scale = ScaleSlicesd("image", modality, window=[-160, 240], percentiles=[1, 99])
    scaled = scale({"image": volume})["image"]
    assert scaled.shape == volume.shape
    assert torch.equal(scaled.affine, affine)
    for index in range(3):
        alone = scale({"image": volume[..., index]})["image"]
        assert torch.equal(scaled[..., index].as_tensor(), alone.as_tensor())


def test_ct_is_scaled_by_the_window_and_mr_by_the_percentiles_of_a_slice():
    image = torch.linspace(-1000, 1000, 20 * 30).reshape(1, 20, 30)
    keys = {"window": [-160, 240], "percentiles": [5, 90]}
    ct = ScaleSlicesd("image", "ct", **keys)({"image": image})["image"]
    np.testing.assert_allclose(ct, ((image + 160) / 400).clamp(0, 1), atol=1e-6)
    mr = ScaleSlicesd("image", "t1_in", **keys)({"image": image})["image"]
    low, high = np.percentile(image, (5, 90))
    np.testing.assert_allclose(mr, ((image - low) / (high - low)).clamp(0, 1), atol=1e-5)
