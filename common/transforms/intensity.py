"""Scale the intensities of slices, alone or in their volume."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, ScaleIntensityRange, ScaleIntensityRangePercentiles
from torch import Tensor


class ScaleSlicesd(MapTransform):
    """Scales slices ``(1, W, H)``, or every slice of volumes ``(1, W, H, D)`` by itself, to [0, 1].

    A slice gets the same values alone and in its volume, so that a network trained on slices can be used on volumes.

    Args:
        keys: of the images.
        modality: "ct" uses the window, any other the percentiles; None uses the window if there is one.
        window: values, such as Hounsfield units, that become 0 and 1.
        percentiles: of a slice, that become 0 and 1.

    Raises:
        ValueError: if what would be used is not given.
    """

    def __init__(
        self,
        keys: KeysCollection,
        modality: str | None = None,
        window: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
    ) -> None:
        super().__init__(keys)
        windowed = modality == "ct" or (modality is None and window is not None)
        limits = window if windowed else percentiles
        if limits is None:
            raise ValueError(f"{'window' if windowed else 'percentiles'} is missing: give two numbers")
        low, high = limits
        self.scale: Callable[[Tensor], Any]
        if windowed:
            self.scale = ScaleIntensityRange(low, high, 0, 1, clip=True)
        else:
            self.scale = ScaleIntensityRangePercentiles(low, high, 0, 1, clip=True, channel_wise=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with scaled images."""
        scaled = dict(data)
        for key in self.key_iterator(scaled):
            volume = scaled[key].ndim == 4
            slices = scaled[key].transpose(0, -1) if volume else scaled[key]  # (D, W, H, 1): slices as channels
            result = self.scale(slices).clamp(0, 1)  # MONAI leaves values as they are where the percentiles are equal
            scaled[key] = result.transpose(0, -1) if volume else result
        return scaled
