"""Intensities are scaled as by MONAI's transforms, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import ScaleIntensityRange

from common.prediction import intensity
from common.prediction.intensity import scale
from common.transforms.intensity import ScaleSlicesd


@pytest.mark.parametrize("pair", [(0, 255), (10, 200)])
def test_pictures(pair):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = ScaleIntensityRange(*pair, 0, 1, clip=True)(torch.from_numpy(values.astype(np.float32)))
    np.testing.assert_array_equal(scale(values, {"range": pair}), expected.numpy())


@pytest.mark.parametrize("modality", ["ct", "t2"])
@pytest.mark.parametrize("most", [100, 1_000_000], ids=["large slices", "small slices"])
def test_slices(modality, most, monkeypatch):
    monkeypatch.setattr(intensity, "_MOST", most)
    monkeypatch.setattr("monai.transforms.utils_pytorch_numpy_unification.torch.numel", lambda x: 10**6 + (most == 100))
    values = (300 * np.random.default_rng(0).normal(size=(40, 33))).astype(np.float32)
    expected = ScaleSlicesd("image", modality, (-160, 240), (0.5, 99))({"image": torch.from_numpy(values)[None]})
    pair = {"window": (-160, 240)} if modality == "ct" else {"percentiles": (0.5, 99)}
    np.testing.assert_array_equal(scale(values, pair), expected["image"][0].numpy())


@pytest.mark.filterwarnings("ignore:Divide by zero")
def test_a_slice_where_nothing_is_to_be_seen():
    values = np.full((4, 4), 7, np.float32)
    expected = ScaleSlicesd("image", "t2", (0, 1), (1, 99))({"image": torch.from_numpy(values)[None]})
    np.testing.assert_array_equal(scale(values, {"percentiles": (1, 99)}), expected["image"][0].numpy())


def test_the_values_that_are_given_stay_as_they_are():
    values = np.full((2, 2), 7, np.float32)
    scale(values, {"range": (0, 10)})
    assert (values == 7).all()
