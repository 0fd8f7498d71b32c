"""Fill in what an entry of a datalist lacks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform


class FillMissingd(MapTransform):
    """Gives an image without a label, or without a field-of-view mask, one of a constant value.

    Args:
        keys: what may be missing.
        values: the constant for each key; what is filled in is shaped ``(1, *image.shape[1:])``.
        image_key: where the image ``(C, ...)`` is.

    Raises:
        ValueError: if there is not one value for each key.
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


class TakeMissingd(MapTransform):
    """Takes what an entry lacks from another key, where it has that, and removes that key.

    Args:
        keys: what may be missing.
        source_key: where it is taken from.
    """

    def __init__(self, keys: KeysCollection, source_key: str) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data, with every key in place where the source was."""
        taken = dict(data)
        if self.source_key in taken:
            source = taken.pop(self.source_key)
            for key in self.keys:
                taken.setdefault(key, source)
        return taken
