"""Slices are scaled alike, alone and in their volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms.intensity import ScaleSlicesd


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


@pytest.mark.parametrize("modality", ["ct", "t2"])
def test_a_slice_of_one_value_with_a_few_others_stays_in_range(modality):
    image = torch.zeros(1, 64, 64)
    image[0, :5, :5] = 900
    scaled = ScaleSlicesd("image", modality, window=[-160, 240], percentiles=[1, 99])({"image": image})["image"]
    assert scaled[0, :5, :5].min() == 1
    assert scaled[0, 5:].unique().numel() == 1
    assert 0 <= scaled.min() < scaled.max() <= 1
