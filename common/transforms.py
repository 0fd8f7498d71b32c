"""Transforms that MONAI does not have."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, ScaleIntensityRangePercentiles


class FillMissingd(MapTransform):
    """Gives an image without a label, or without a field-of-view mask, one of a constant value.

    Args:
        keys: what may be missing.
        values: the constant for each key; what is filled in is shaped ``(1, *image.shape[1:])``.
        image_key: where the image ``(C, ...)`` is.
    """

    def __init__(self, keys: KeysCollection, values: list[float], image_key: str = "image") -> None:
        super().__init__(keys, allow_missing_keys=True)
        if len(self.keys) != len(values):
            raise ValueError(f"values must be one for each key, got {len(values)} for {len(self.keys)}")
        self.values = values
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with every key in place."""
        filled = dict(data)
        image = filled[self.image_key]
        for key, value in zip(self.keys, self.values, strict=True):
            if key not in filled:
                filled[key] = torch.full((1, *image.shape[1:]), float(value))
        return filled


class ScaleSlicesd(MapTransform):
    """Scales slices ``(1, W, H)``, or every slice of volumes ``(1, W, H, D)`` by itself, to [0, 1].

    A slice gets the same values alone and in its volume, so that a network trained on slices can be used on volumes.

    Args:
        keys: what to scale.
        modality: "ct" takes the window, any other the percentiles.
        window: Hounsfield units that become 0 and 1.
        percentiles: of a slice, that become 0 and 1.
    """

    def __init__(
        self, keys: KeysCollection, modality: str, window: Sequence[float], percentiles: Sequence[float]
    ) -> None:
        super().__init__(keys)
        if modality == "ct":
            self.scale = ScaleIntensityRange(*window, 0, 1, clip=True)
        else:
            self.scale = ScaleIntensityRangePercentiles(*percentiles, 0, 1, clip=True, channel_wise=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with scaled images."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            volume = scaled[key].ndim == 4
            slices = scaled[key].transpose(0, -1) if volume else scaled[key]  # (D, W, H, 1): slices as channels
            result = self.scale(slices)
            scaled[key] = result.transpose(0, -1) if volume else result
        return scaled
